"""What the block layer is told of a LUN, and what of its requests reaches the target; which backend does it."""

import os
import re
import time

from guest import KERNEL, MIB, Disk, Guest, Lun, check, need, scenarios, wait_until
from lab import check_same

TARGET = "iqn.2026-01.org.example:storage"
SIZE = 64 * MIB
TRACING = "/sys/kernel/debug/tracing"
WRITES, WRITE_SAME, UNMAP, SYNCHRONIZE_CACHE = {0x2A, 0x8A}, {0x41, 0x93}, {0x42}, {0x35, 0x91}
SHORT = 128  # blocks; the longest command of a LUN that says so
FUA = 8  # in the second byte of a write's CDB


def _queue(device, name):
    with open(f"/sys/class/block/{os.path.basename(device)}/queue/{name}", encoding="ascii") as file:
        return file.read().strip()


def _check_queue(device, **wanted):
    for name, value in wanted.items():
        found = _queue(device, name)
        good = value(found) if callable(value) else found == str(value)
        check(good, f"{device}: queue/{name} is {found}")


def _log_in(guest, disks):
    """A target of LIO with the daemon and a session to it; its devices by their numbers."""
    target = guest.lio()
    target.add(TARGET, disks)
    guest.start_daemon()
    guest.discover(target.portal)
    guest.login()
    return {disk.number: guest.device(TARGET, disk.number, target.portal) for disk in disks}


class _Commands:
    """The commands that LIO is given while the block lasts, as its own trace point sees them: CDBs in their order."""

    EVENT = f"{TRACING}/events/target/target_sequencer_start/enable"

    def __enter__(self):
        self._write(self.EVENT, "1")
        return self

    def __exit__(self, *_):
        self._write(self.EVENT, "0")

    def __call__(self):
        """Those since the last call."""
        with open(f"{TRACING}/trace", encoding="ascii") as file:
            found = re.findall(r"LUN (\d+) .*? CDB ((?:[0-9a-f]{2} ?)+)", file.read())
        self._write(f"{TRACING}/trace", "")
        cdbs = [(int(lun), bytes.fromhex(cdb)) for lun, cdb in found]
        for lun, cdb in cdbs:
            print(f"  LUN {lun}: {cdb[:16].hex(' ')}")
        return cdbs

    @staticmethod
    def _write(path, text):
        with open(path, "w", encoding="ascii") as file:
            file.write(text)


def _of(cdbs, lun, codes):
    return [cdb for number, cdb in cdbs if number == lun and cdb[0] in codes]


def _dd(guest, device, *options, source="/dev/urandom"):
    guest.run("dd", f"if={source}", f"of={device}", "status=none", *options)


def _disk_with_short_commands(guest):
    """A disk in memory that takes SHORT blocks at a time; LIO tells its initiators."""
    folder = "/sys/kernel/config/nullb/short"
    guest.run("modprobe", "null_blk", "nr_devices=0")
    before = set(os.listdir("/sys/block"))
    os.mkdir(folder)
    guest.undo.insert(0, lambda: os.rmdir(folder))  # after LIO, which has it open
    for key, value in {"size": SIZE // MIB, "memory_backed": 1, "blocksize": 512, "max_sectors": SHORT, "power": 1}.items():
        with open(f"{folder}/{key}", "w", encoding="ascii") as file:
            file.write(str(value))
    [name] = set(os.listdir("/sys/block")) - before
    guest.wait_for(f"/dev/{name}")
    return f"/dev/{name}"


def _check_lengths(guest, device):
    """A long request becomes commands that the LUN takes, and its data arrives."""
    image = guest.random_image("long", 2 * MIB)
    with _Commands() as commands:
        _dd(guest, device, "bs=1M", "oflag=direct", source=image)
        lengths = [int.from_bytes(cdb[7:9], "big") for cdb in _of(commands(), 4, {0x2A})]
        check(sum(lengths) == 4096 and max(lengths) == SHORT, f"writes of {lengths} blocks, {SHORT} is the LUN's most")
    guest.run("cmp", "-n", str(2 * MIB), image, device)


def attributes():
    """Sizes, cache, FUA, discard, write zeroes, read-only, longest command: of five LUNs that differ in these."""
    with Guest() as guest:
        optimal = {"optimal_sectors": 512, "is_nonrot": 1}
        disks = [Disk(number=0, attributes={"is_nonrot": 0}),
                 Disk(number=1, path=guest.disk("a", SIZE), cache=True, unmap=True, attributes=optimal),
                 Disk(number=2, block_bytes=4096), Disk(number=3, read_only=True)]
        disks.append(Disk(number=4, path=_disk_with_short_commands(guest)))
        devices = _log_in(guest, disks)
        ublk, nbd = guest.backend == "ublk", guest.backend == "nbd"
        check(all(os.path.basename(d).startswith("ublkb" if ublk else "nbd") for d in devices.values()),
              f"{guest.backend} was to be used, not {devices}")
        for number, device in devices.items():
            check(guest.size_of(device) == SIZE, f"{device} has {guest.size_of(device)} bytes")
            _check_queue(device, logical_block_size=4096 if number == 2 else 512,
                         scheduler=lambda text: text in ("none", "[none]") or "[none]" in text,
                         write_cache="write back" if number == 1 else "write through", fua=int(number == 1),
                         max_sectors_kb=lambda text: int(text) >= 1024)
            if number < 2:
                _check_queue(device, rotational=1 - number)
            read_only = guest.run("blockdev", "--getro", device).out.strip()
            check(read_only == str(int(number == 3)), f"LUN {number}: blockdev --getro says {read_only}")
            discards = int(_queue(device, "discard_max_bytes"))
            check((discards > 0) == (number == 1), f"LUN {number}: discards of {discards} bytes")
            if ublk or KERNEL != "6.1":
                zeroes = int(_queue(device, "write_zeroes_max_bytes"))
                check(zeroes > 0 or number == 3, f"LUN {number}: {zeroes} zeroes are written at once")
        check(nbd or _queue(devices[1], "optimal_io_size") == str(512 * 512), "optimal_io_size")
        _check_lengths(guest, devices[4])
        # A block is the least that can be asked for.
        odd = guest.run("dd", f"if={devices[2]}", "of=/dev/null", "bs=512", "count=1", "iflag=direct", ok=None)
        check(odd.status != 0 and "Invalid argument" in odd.err, "512 bytes of a LUN with blocks of 4096 were read")
        refused = guest.run("dd", "if=/dev/zero", f"of={devices[3]}", "bs=4k", "count=1", "conv=fsync", ok=None)
        check(refused.status != 0, "a read-only LUN was written to")
        refused = guest.run("blkdiscard", "-z", "-l", "4096", devices[3], ok=None)
        check(refused.status != 0, "zeroes were written to a read-only LUN")
        guest.logout()


def blocks_of_4096():
    """A file system on them, and the target's file is what was written."""
    with Guest() as guest:
        mark = guest.mark()
        file = guest.disk("disk", SIZE)
        device = _log_in(guest, [Disk(path=file, block_bytes=4096)])[0]
        image = guest.random_image("image", SIZE)
        _dd(guest, device, "bs=1M", "oflag=direct", source=image)
        check_same(image, file, SIZE, "the target's file")
        guest.mkfs("ext4", device)
        place = guest.mount(device)
        guest.fio_verify(os.path.join(place, "file"), size="16m").wait()
        guest.unmount(place)
        guest.fsck("ext4", device)
        guest.logout()
        guest.check_no_errors(mark)


def read_only():
    """A file system that was made while the LUN could be written can be read, and nothing else."""
    with Guest() as guest:
        file = guest.disk("disk", SIZE)
        guest.mkfs("ext4", file)
        mark = guest.mark()
        device = _log_in(guest, [Disk(path=file, read_only=True)])[0]
        place = guest.mount(device)  # mount(8) falls back to read-only by itself
        check(not os.access(place, os.W_OK), "a read-only LUN was mounted for writing")
        guest.unmount(place)
        place = guest.mount(device, "-o", "ro")
        check("lost+found" in os.listdir(place), "the file system cannot be read")
        guest.unmount(place)
        guest.logout()
        guest.check_no_errors(mark)


def sixteen_luns():
    """All of them are there when the login returns, each under its own name, and gone when the logout does."""
    with Guest() as guest:
        target = guest.lio()
        target.add(TARGET, [Disk(number=number, size=(number + 1) * MIB) for number in range(16)])
        guest.start_daemon()
        guest.discover(target.portal)
        before = guest.block_nodes()
        guest.login()
        present = guest.block_nodes()
        for number in range(16):
            device = guest.device(TARGET, number, target.portal)
            check(any(f"scsi-3{target.naa(TARGET, number)} -> " in link for link in present), f"LUN {number} by-id")
            check(guest.size_of(device) == (number + 1) * MIB, f"LUN {number} is {device}")
        guest.logout()
        left = guest.block_nodes() ^ before
        check(not left, f"the logout left {sorted(left)}")


def discard():
    """UNMAP gives the target's memory back; zeroes are zeroes, and not sent as data."""
    with Guest() as guest:
        mark = guest.mark()
        file = guest.disk("disk", SIZE)
        device = _log_in(guest, [Disk(path=file, unmap=True)])[0]
        image = guest.random_image("image", SIZE)
        _dd(guest, device, "bs=1M", "oflag=direct", source=image)
        used = os.stat(file).st_blocks * 512
        check(used >= SIZE, f"the target's file uses {used} bytes")
        with _Commands() as commands:
            guest.run("blkdiscard", "-o", str(16 * MIB), "-l", str(32 * MIB), device)
            check(_of(commands(), 0, UNMAP), "no UNMAP came")
            used -= os.stat(file).st_blocks * 512
            check(used == 32 * MIB, f"{used} bytes were given back of {32 * MIB}")
            guest.run("blkdiscard", "-z", "-o", "0", "-l", str(8 * MIB), device)
            cdbs = commands()
            if KERNEL != "6.1":  # whose nbd cannot say it
                check(_of(cdbs, 0, WRITE_SAME) and not _of(cdbs, 0, WRITES), "zeroes came as data")
        for path, offset, length in ((image, 0, 8), (image, 16, 32)):
            with open(path, "r+b") as wanted:
                wanted.seek(offset * MIB)
                wanted.write(bytes(length * MIB))
        check_same(image, file, SIZE, "the target's file")
        guest.logout()
        guest.check_no_errors(mark)


def flush_and_fua():
    """LIO is given what the block layer asked for, in its order: a LUN with a cache alone, then one with FUA too."""
    with Guest() as guest:
        disks = [Disk(number=number, path=guest.disk(f"disk{number}", SIZE), cache=True,
                      attributes={"emulate_fua_write": number}) for number in (0, 1)]
        devices = _log_in(guest, disks)
        for number, device in devices.items():
            with _Commands() as commands:
                _dd(guest, device, "bs=64k", "count=4", "oflag=direct")
                cdbs = commands()
                writes = _of(cdbs, number, WRITES)
                check(len(writes) == 4 and not any(cdb[1] & FUA for cdb in writes), "plain writes")
                check(not _of(cdbs, number, SYNCHRONIZE_CACHE), "a flush that nobody asked for")
                _dd(guest, device, "bs=64k", "count=4", "oflag=direct", "conv=fsync")
                cdbs = commands()
                both = _of(cdbs, number, WRITES | SYNCHRONIZE_CACHE)
                check(len(_of(cdbs, number, WRITES)) == 4 and both[-1][0] in SYNCHRONIZE_CACHE, "no flush after writes")
                _dd(guest, device, "bs=64k", "count=4", "oflag=direct,dsync")
                cdbs = commands()
                kept = [cdb for cdb in _of(cdbs, number, WRITES) if cdb[1] & FUA]
                check(len(kept) == 4 * number, f"LUN {number}: {len(kept)} of 4 writes had the FUA bit")
                check(number == 1 or len(_of(cdbs, number, SYNCHRONIZE_CACHE)) >= 4, "no flush in place of FUA")
                _dd(guest, device, "bs=64k", "count=4")
                check(not _of(commands(), number, SYNCHRONIZE_CACHE), "a flush before the end")
        with _Commands() as commands:
            guest.logout()
            cdbs = commands()
        for number in devices:
            both = _of(cdbs, number, WRITES | SYNCHRONIZE_CACHE)
            check(both and both[-1][0] in SYNCHRONIZE_CACHE, f"LUN {number}: no flush at the logout")


def cache_turned_on():
    """The block layer was told that there is no cache and flushes nothing: so every write is durable by itself, now and
    with the next daemon."""
    with Guest() as guest:
        disk = Disk(path=guest.disk("disk", SIZE), name="late", attributes={"emulate_fua_write": 1})
        device = _log_in(guest, [disk])[0]
        _check_queue(device, write_cache="write through")

        def fua_bits():
            with _Commands() as commands:
                _dd(guest, device, "bs=64k", "count=4", "oflag=direct", "conv=fsync")
                return [bool(cdb[1] & FUA) for cdb in _of(commands(), 0, WRITES)]

        check(fua_bits() == [False] * 4, "writes to a LUN without a cache")
        with open("/sys/kernel/config/target/core/fileio_0/late/attrib/emulate_write_cache", "w", encoding="ascii") as file:
            file.write("1")
        guest.adm("-m", "session", "-R")
        check(fua_bits() == [True] * 4, "writes after the cache was turned on")
        guest.kill_daemon()
        guest.start_daemon()
        guest.logged_in(1)
        check(fua_bits() == [True] * 4, "writes through the next daemon")
        _check_queue(device, write_cache="write through")
        guest.logout()


def flush_at_tgtd():
    """What it does for a flush is a system call: so that is what is looked for."""
    need("strace")
    with Guest() as guest:
        target = guest.tgtd()
        target.add(TARGET, [Lun(guest.disk("disk", SIZE))])
        guest.start_daemon()
        guest.discover(target.portal)
        guest.login()
        device = guest.device(TARGET, 1, target.portal)
        log = os.path.join(guest.root, "calls")
        tracer = guest.start("strace", ["strace", "-f", "-e", "trace=pwrite64,fsync,fdatasync", "-o", log,
                                        "-p", str(target.process.pid)])
        tracer.expected_end = True

        def calls():
            """Those of the target since the last call of this, by their names."""
            found = re.findall(r"^\d+ +(?:<\.\.\. )?(\w+).*= \d+$", _new_text(log), re.M)
            print(f"  tgtd: {found}")
            return found

        _wait_for_tracer(target.process.pid)
        _dd(guest, device, "bs=64k", "count=4", "oflag=direct")
        found = calls()
        check("pwrite64" in found and not {"fsync", "fdatasync"} & set(found), "plain writes")
        _dd(guest, device, "bs=64k", "count=4", "oflag=direct", "conv=fsync")
        found = calls()
        check("pwrite64" in found and found[-1] in ("fsync", "fdatasync"), "no flush after the writes")
        _dd(guest, device, "bs=64k", "count=4", "oflag=direct,dsync")
        found = calls()
        check(sum(call in ("fsync", "fdatasync") for call in found) >= 4, "no flush for each write with FUA")
        guest.logout()
        check({"fsync", "fdatasync"} & set(calls()), "no flush at the logout")
        guest.end(tracer)


def _new_text(path, places={}):  # pylint: disable=W0102
    """What was added to a file since the last call."""
    with open(path, encoding="ascii", errors="replace") as file:
        file.seek(places.get(path, 0))
        text = file.read()
        places[path] = file.tell()
    return text


def _wait_for_tracer(pid):
    def traced():
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as file:
                if "TracerPid:\t0\n" in file.read():
                    return False
        return True

    wait_until(traced, 20, "strace to look at all threads")


def choice_of_backend():
    """What `iscsid.block` says is done or refused, and the log says why."""
    with Guest() as guest:
        target = guest.lio()
        target.add(TARGET, [Disk()])
        has_ublk = KERNEL != "6.1"
        for wanted, used in (("auto", "ublk" if has_ublk else "nbd"), ("nbd", "nbd"), ("socket", "socket"),
                             ("ublk", "ublk" if has_ublk else None)):
            guest.configure({"iscsid.block": wanted})
            os.path.exists(f"{guest.root}/iscsid.log") and os.unlink(f"{guest.root}/iscsid.log")
            guest.start_daemon()
            guest.discover(target.portal)
            before = guest.block_nodes()
            done = guest.login(ok=None)
            with open(f"{guest.root}/iscsid.log", encoding="utf-8") as file:
                log = file.read()
            print(log)
            check(used is None or f"block devices are made with {used}: " in log, "the log does not say what is used")
            if not has_ublk and wanted in ("auto", "ublk"):
                check(re.search(r"ublk does not work here: .*\w{3}", log), "the log does not say why ublk is not used")
            if used is None:
                check("ublk does not work here" in done.out + done.err, "iscsiadm does not say why there is no device")
                check(done.status != 0, "a login without a device that was asked for is a success")
            else:
                check(done.status == 0, f"the login ended with {done.status}")
                prefix = {"ublk": "device: /dev/ublkb", "nbd": "device: /dev/nbd", "socket": "nbd+unix:"}[used]
                check(prefix in done.out, f"the login does not name a '{prefix}'")
                guest.logout()
            check(guest.block_nodes() == before, "something is left")
            guest.stop_daemon()


def _state_of(pid):
    """Open files and resident memory in KiB of a process."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        resident = int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))
    return len(os.listdir(f"/proc/{pid}/fd")), resident


def cycles():
    """Twenty sessions one after another leave nothing, in the kernel, in /run, or in the daemon."""
    with Guest() as guest:
        target = guest.lio()
        target.add(TARGET, [Disk(number=0), Disk(number=1)])
        daemon = guest.start_daemon()
        guest.discover(target.portal)
        before = guest.block_nodes()
        seen = []
        for _ in range(20):
            begun = time.monotonic()
            guest.login(quiet=True)
            guest.logout(quiet=True)
            # What iscsiadm has left is closed by the daemon a moment later.
            wait_until(lambda: len(seen) < 3 or _state_of(daemon.pid)[0] <= seen[2][0], 5, "the daemon's files to be as few")
            seen.append((*_state_of(daemon.pid), round(time.monotonic() - begun, 1)))
            left = guest.block_nodes() ^ before
            check(not {name for name in left if "ublkc" not in name}, f"a logout left {sorted(left)}")
        print(f"open files, resident KiB, seconds: {seen}")
        wait_until(lambda: guest.block_nodes() == before, 5, "the nodes that only the daemon uses to go away")
        for folder in ("sessions", "udev"):
            check(not os.listdir(f"/run/iscsid/{folder}"), f"/run/iscsid/{folder} is not empty")
        (_, first_size, _), (_, last_size, _) = seen[2], seen[-1]
        check(last_size <= first_size + 256, f"the daemon had {first_size} KiB, now {last_size}")


scenarios(globals())
