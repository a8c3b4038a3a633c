"""A logout of disks that somebody uses: refused, by name and without a trace; or, where that is not wanted, done."""

import collections
import ctypes
import errno
import fcntl
import os
import threading
import time

from guest import MIB, Disk, Guest, check, need, scenarios
from lab import check_same

TARGET = "iqn.2026-01.org.example:in-use"
SECOND = "iqn.2026-01.org.example:in-use-2"
SIZE = 64 * MIB
BUSY = 28


def _start(guest, *targets):
    """LIO with a disk for each target, all logged in; their devices and their files."""
    lio = guest.lio()
    files = {target: guest.disk(f"disk{number}", SIZE) for number, target in enumerate(targets)}
    for target, file in files.items():
        lio.add(target, [Disk(path=file)])
    guest.start_daemon()
    guest.discover(lio.portal)
    guest.login()
    return [guest.device(target, 0, lio.portal) for target in targets], list(files.values())


def _check_works(guest, device):
    guest.run("dd", f"if={device}", "of=/dev/null", "bs=1M", "count=4", "iflag=direct", "status=none", quiet=True)


def _check_refused(guest, device, *said):
    """Each of `said` is part of what iscsiadm says; and nothing has changed."""
    guest.run("udevadm", "settle", "-t", "60")  # what a device is used for changes its links
    before = guest.block_nodes()
    done = guest.logout(ok=BUSY)
    for text in said:
        check(text in done.err, f"iscsiadm does not say '{text}'")
    changed = guest.block_nodes() ^ before
    check(not changed, f"a logout that was refused changed {sorted(changed)}")
    guest.logged_in(1)
    _check_works(guest, device)


def _partition(guest, device):
    path = os.path.join(guest.data, "table")
    with open(path, "w", encoding="ascii") as table:
        table.write("label: gpt\nsize=24MiB\n")
    with open(path, encoding="ascii") as table:
        guest.run("sfdisk", "-q", device, stdin=table)
    part = f"{device}p1"
    guest.wait_for(f"/dev/disk/by-path/{_by_path(device)}-part1")
    return part


def _by_path(device):
    names = [link for link in Guest.links_to(device) if "/by-path/" in link]
    return os.path.basename(names[0])


def users_are_named():
    """Mounts, of partitions too, swaps, device mapper, exclusive opens. Then, with nobody left, the logout is done."""
    with Guest() as guest:
        mark = guest.mark()
        [device], _ = _start(guest, TARGET)

        guest.mkfs("ext4", device)
        place = guest.mount(device)
        _check_refused(guest, device, f"{device} is mounted on {place}")
        with open(os.path.join(place, "file"), "wb") as file:
            file.write(os.urandom(MIB))
            os.fsync(file.fileno())
        guest.unmount(place)
        guest.fsck("ext4", device)

        guest.run("mkswap", "-q", device)
        guest.run("swapon", device)
        _check_refused(guest, device, f"{device} is swapped on")
        guest.run("swapoff", device)

        guest.run("modprobe", "dm_mod")
        guest.run("dmsetup", "create", "in-use", "--table", f"0 2048 linear {device} 0")
        holder = os.path.basename(os.path.realpath("/dev/mapper/in-use"))
        _check_refused(guest, device, f"{device} is held by {holder} (in-use)")
        guest.run("dmsetup", "remove", "in-use")

        opened = os.open(device, os.O_RDONLY | os.O_EXCL)
        _check_refused(guest, device, f"{device} is opened by ", f"(pid {os.getpid()})")
        os.close(opened)

        guest.run("wipefs", "-q", "-a", device)
        part = _partition(guest, device)
        guest.mkfs("ext4", part)
        place = guest.mount(part)
        _check_refused(guest, device, f"{part} is mounted on {place}")
        guest.unmount(place)
        guest.fsck("ext4", part)

        before = guest.block_nodes()
        guest.logout()
        left = {name for name in guest.block_nodes() & before if os.path.basename(device) in name}
        check(not left, f"the logout left {sorted(left)}")
        guest.check_no_errors(mark)


def one_of_two_sessions():
    """The one that nobody uses is logged out of; the exit code is that of the other."""
    with Guest() as guest:
        mark = guest.mark()
        devices, _ = _start(guest, TARGET, SECOND)
        guest.mkfs("ext4", devices[0])
        place = guest.mount(devices[0])
        done = guest.logout(ok=BUSY)
        check(f"is mounted on {place}" in done.err, "iscsiadm does not say who uses the device")
        check(not os.path.exists(devices[1]), f"{devices[1]} is still there")
        sessions = guest.adm("-m", "session").out
        check(TARGET + " " in sessions and SECOND not in sessions, "which session is left")
        _check_works(guest, devices[0])
        guest.unmount(place)
        guest.fsck("ext4", devices[0])
        guest.logout()
        check(not os.path.exists(devices[0]), f"{devices[0]} is still there")
        guest.check_no_errors(mark)


def unsafe_logout():
    """With iscsid.safe_logout = No it is done all the same, also of a mounted disk: its user gets errors, no hang."""
    with Guest() as guest:
        guest.configure({"iscsid.safe_logout": "No"})
        [device], _ = _start(guest, TARGET)
        guest.mkfs("ext4", device)
        place = guest.mount(device)
        done = guest.logout()
        check(done.seconds < 30, "it took too long")
        check(guest.adm("-m", "session", ok=None).status == 21, "the session is still there")
        if guest.backend == "ublk":  # an nbd device goes when its last user does
            check(not [link for link in guest.block_nodes() if TARGET in link], "the disk still has its names")
        read = guest.run("dd", f"if={device}", "of=/dev/null", "bs=1M", "count=1", "iflag=direct", ok=None, seconds=30)
        check(read.status != 0, "the device still reads")
        guest.run("umount", place, ok=None, seconds=60)
        check(not os.path.ismount(place), "it is still mounted")
        guest.wait_gone(device)
        guest.wait_gone(guest.by_path(TARGET, 0, "127.0.0.1:3260"))
        guest.configure({})
        guest.login()
        guest.fsck("ext4", guest.device(TARGET, 0, "127.0.0.1:3260"))
        guest.logout()


def written_and_never_synced():
    """What was written to the device alone is on the target when the logout returns, also what nobody has sent there yet.
    Who closes a device as the last one does that: so a reader keeps it open, which is no reason to refuse a logout."""
    with Guest() as guest:
        mark = guest.mark()
        [device], [file] = _start(guest, TARGET)
        image = guest.random_image("image", SIZE)
        for name, value in {"dirty_writeback_centisecs": 0, "dirty_expire_centisecs": 360000,
                            "dirty_background_ratio": 90, "dirty_ratio": 95}.items():
            before = guest.run("sysctl", "-n", f"vm.{name}", quiet=True).out.strip()
            guest.run("sysctl", "-q", "-w", f"vm.{name}={value}", quiet=True)
            guest.undo.append(lambda name=name, value=before: guest.run("sysctl", "-q", "-w", f"vm.{name}={value}"))
        reader = os.open(device, os.O_RDONLY)
        fcntl.flock(reader, fcntl.LOCK_SH)  # else udev reads the partition table again after dd, which writes all first
        try:
            guest.run("dd", f"if={image}", f"of={device}", "bs=1M", "status=none")
            with open(image, "rb") as wanted, open(file, "rb") as there:
                check(wanted.read() != there.read(), "all of it is on the target before the logout: this shows nothing")
            guest.logout()
        finally:
            os.close(reader)
        check_same(image, file, SIZE, "the target's file after the logout")
        guest.check_no_errors(mark)


def logical_volume():
    """On the disk; while it is active the disk is in use, mounted or not."""
    need("pvcreate", "vgcreate", "lvcreate", "vgchange")
    with Guest() as guest:
        mark = guest.mark()
        [device], _ = _start(guest, TARGET)
        guest.run("modprobe", "dm_mod")
        guest.run("pvcreate", "-q", device)
        guest.run("vgcreate", "-q", "group", device)
        guest.undo.append(lambda: guest.run("vgchange", "-q", "-an", "group", ok=None))
        guest.run("lvcreate", "-q", "-n", "volume", "-l", "8", "-Wn", "group")
        volume = "/dev/group/volume"
        guest.mkfs("ext4", volume)
        place = guest.mount(volume)
        text = os.urandom(4 * MIB)
        with open(os.path.join(place, "file"), "wb") as file:
            file.write(text)
        holder = os.path.basename(os.path.realpath(volume))
        held = f"{device} is held by {holder} (group-volume)"
        _check_refused(guest, device, held, f"{holder} (group-volume) is mounted on {place}")
        guest.unmount(place)
        _check_refused(guest, device, held)
        guest.run("vgchange", "-q", "-an", "group")
        guest.logout()
        check(not os.path.exists(f"/sys/block/{holder}"), "the volume outlives its disk")
        guest.login()
        guest.run("vgchange", "-q", "-ay", "group")
        place = guest.mount(volume)
        with open(os.path.join(place, "file"), "rb") as file:
            check(file.read() == text, "a file on the volume is another one after the next login")
        guest.unmount(place)
        guest.fsck("ext4", volume)
        guest.run("vgchange", "-q", "-an", "group")
        guest.logout()
        guest.check_no_errors(mark)


class _Mounts(threading.Thread):
    """Tries to mount a device, over and over from when `begun` says so, until that goes well or stop is set."""

    def __init__(self, device, place, begun):
        super().__init__(daemon=True)
        self.device, self.place, self.begun, self.stop = device.encode(), place.encode(), begun, False
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.errors, self.mounted = collections.Counter(), False
        self.start()

    def run(self):
        while not self.begun() and not self.stop:
            time.sleep(0.001)
        while not self.stop and not self.mounted:
            self.mounted = self.libc.mount(self.device, self.place, b"ext4", 0, None) == 0
            if not self.mounted:
                self.errors[errno.errorcode[ctypes.get_errno()]] += 1


def mounted_during_a_logout():
    """Whoever succeeds in mounting a disk of the session while it is logged out of keeps it: the logout is refused then."""
    count = 16  # the more disks, the longer is the time between the first claim's end and the first disk's
    with Guest() as guest:
        lio = guest.lio()
        files = [guest.disk(f"disk{number}", 16 * MIB) for number in range(count)]
        guest.run("modprobe", "ext4")  # or the first mount waits for that
        for file in files:
            guest.run("mkfs.ext4", "-q", "-F", file, quiet=True)
        lio.add(TARGET, [Disk(number=number, path=file) for number, file in enumerate(files)])
        guest.start_daemon()
        guest.discover(lio.portal)
        place, log = os.path.join(guest.root, "place"), os.path.join(guest.root, "iscsid.log")
        os.mkdir(place)
        guest.undo.append(lambda: guest.run("umount", place) if os.path.ismount(place) else None)

        def logs_out():
            with open(log, "rb") as file:
                return b": logging out of " in file.read()

        guest.login()
        device = guest.device(TARGET, 0, lio.portal)
        # All claims are held when the log says it, and this device's is the first to be given up.
        mark, mounts = guest.mark(), _Mounts(device, place, logs_out)
        done = guest.logout(ok=None)
        mounts.stop = True
        mounts.join()
        print(f"mounted: {mounts.mounted}; {mounts.errors}", flush=True)
        check(mounts.errors["EBUSY"], "nobody tried to mount anything while it was claimed")
        check(done.status in (0, BUSY), f"the logout ended with {done.status}")
        check(not mounts.mounted or done.status == BUSY, "a disk was logged out of that somebody had mounted")
        check(mounts.mounted or done.status == 0, "a logout was refused, and nobody had mounted anything")
        if mounts.mounted:
            with open(os.path.join(place, "file"), "wb") as file:
                file.write(os.urandom(MIB))
            guest.unmount(place)
            guest.check_no_errors(mark)
            guest.logout()
        guest.fsck("ext4", files[0])


scenarios(globals())
