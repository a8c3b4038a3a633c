#!/usr/bin/env python3
"""What must not lose a byte: daemons that are killed, restarted or replaced, targets that go and come back, units that
change, a /run that is full, a machine without memory.

Runs in a guest: tests/guest/run --udev 'python3 faults.py NAME...'. ISCSI_GUEST_BLOCK chooses the kind of device."""

import errno
import hashlib
import mmap
import os
import random
import re
import resource
import shutil
import stat
import subprocess
import threading
import time

from guest import BLOCK, KERNEL, MIB, PATIENCE, Disk, Guest, Lun, check, need, scenarios, wait_until
from lab import Failure

TARGET = "iqn.2026-01.org.example:faults"
IS_NBD = BLOCK == "nbd" or KERNEL == "6.1"
LONG = 600  # for fio that is stopped when everything has happened
DIRECT = os.O_DIRECT | os.O_CLOEXEC


class Faults(Guest):
    """A guest with its daemon, and what the scenarios here do to it."""

    def log_in(self, portal, **settings):
        self.discover(portal)
        if settings:
            self.update(TARGET, {f"node.session.{key}": value for key, value in settings.items()})
        self.login(TARGET)
        self.logged_in(1)

    def served(self, disks, **settings):
        """A target of LIO with these disks, a daemon, and a session of theirs."""
        lio = self.lio()
        lio.add(TARGET, disks)
        self.iscsid()
        self.log_in(lio.portal, **settings)
        return lio

    def logout(self, target=None, **options):
        # A probe of udev's that the logout overtakes is an I/O error in the kernel's messages.
        self.run("udevadm", "settle", "-t", "30", quiet=True)
        return super().logout(target, **options)

    def lun(self, number, portal="127.0.0.1:3260"):
        return self.device(TARGET, number, portal)

    def _end_daemon(self, number):
        try:
            super()._end_daemon(number)
        except subprocess.TimeoutExpired:
            show_waits(self.daemon.pid)
            self.show_logs()
            raise Failure("a daemon that was killed does not end") from None

    def log(self):
        with open(os.path.join(self.root, "iscsid.log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_log(self, pattern, count=1, seconds=30):
        wait_until(lambda: len(re.findall(pattern, self.log())) >= count, seconds, f"'{pattern}' in the log")

    def forget_daemon(self):
        """It was killed, and was meant to be."""
        self.processes = [(n, p) for n, p in self.processes if p is not self.daemon]

    def same_as_file(self, device, path, what):
        """Read from the target, not from the page cache."""
        self.run("blockdev", "--flushbufs", device)
        check(digest(device) == digest(path), f"{what}: the device and the target's file differ")

    def sectors(self, device):
        """Read and written so far, by the kernel's count."""
        with open(f"/sys/class/block/{os.path.basename(device)}/stat", encoding="ascii") as file:
            words = file.read().split()
        return int(words[2]) + int(words[6])

    def start_tgtd_again(self, target, lun):
        command = ["tgtd", "-f", "-C", "0", "--iscsi", f"portal={target.portal}"]
        target.process = self.start(f"tgtd{target.port}", command, env=target.env)
        target.process.heeds_nothing = True
        wait_until(lambda: target.admin("--op", "show", "--mode", "sys", ok=None).status == 0, 10, "tgtd")
        target.targets.clear()
        target.add(TARGET, [lun])

    def goes_on(self, device, seconds=30):
        before = self.sectors(device)
        wait_until(lambda: self.sectors(device) > before + 2048, seconds, f"I/O of {device} to go on")


def show_waits(process):
    """Where in the kernel the threads of a process that does not end are, and everybody who cannot be interrupted."""
    for task in sorted(os.listdir(f"/proc/{process}/task")):
        for name in ("status", "wchan", "stack"):
            with open(f"/proc/{process}/task/{task}/{name}", encoding="ascii", errors="replace") as file:
                text = file.read()
            print("\n".join(text.splitlines()[:3]) if name == "status" else text, flush=True)
    subprocess.run("echo w >/proc/sysrq-trigger; dmesg | tail -n 150", shell=True, check=False)


def digest(path):
    total = hashlib.sha256()
    buffer = mmap.mmap(-1, MIB)
    is_device = stat.S_ISBLK(os.stat(path).st_mode)
    fd = os.open(path, os.O_RDONLY | (DIRECT if is_device else 0))
    try:
        while count := os.readv(fd, [buffer]):
            total.update(memoryview(buffer)[:count])
    finally:
        os.close(fd)
    return total.hexdigest()


def pattern(number, length=4096):
    return hashlib.sha256(str(number).encode()).digest() * (length // 32)


class Access(threading.Thread):
    """One read or write past the page cache, on a thread of its own: it may take for ever."""

    def __init__(self, device, write=None, offset=0):
        super().__init__(daemon=True)
        self.device, self.write, self.offset = device, write, offset
        self.error, self.seconds, self.data = None, None, None  # error: 0 when it went well, else an errno
        self.begun = time.monotonic()
        self.start()

    def run(self):
        buffer = mmap.mmap(-1, 4096)
        error = 0
        try:
            fd = os.open(self.device, (os.O_RDONLY if self.write is None else os.O_WRONLY) | DIRECT)
            try:
                if self.write is None:
                    os.preadv(fd, [buffer], self.offset)
                    self.data = bytes(buffer)
                else:
                    buffer[:] = self.write
                    os.pwritev(fd, [buffer], self.offset)
            finally:
                os.close(fd)
        except OSError as failure:
            error = failure.errno
        self.seconds = time.monotonic() - self.begun
        self.error = error

    def ended(self, seconds, what):
        wait_until(lambda: self.error is not None, seconds, what)
        return self

    def well(self, seconds, what):
        self.ended(seconds, what)
        check(self.error == 0, f"{what}: {os.strerror(self.error)} after {self.seconds:.1f} s")
        return self


# Daemons that die


def killed_twenty_times():
    """At moments that have nothing to do with what the daemon, or the one before it, is at."""
    kills, mean = 20, 2.4 if IS_NBD else 2.0  # seconds
    moments = random.Random(int(os.environ.get("ISCSI_SEED", "20")))
    need("fio")
    with Faults() as guest:
        disks = [Disk(number=n, path=guest.disk(f"disk{n}", 96 * MIB)) for n in range(2)]
        guest.served(disks)
        devices = [guest.lun(n) for n in range(2)]
        guest.mkfs("ext4", devices[0])
        place = guest.mount(devices[0])
        mark = guest.mark()
        loads = [guest.fio_verify(f"{place}/file", seconds=LONG, size="64m"),
                 guest.fio_verify(devices[1], seconds=LONG)]
        early, begun = 0, time.monotonic()
        for number, moment in enumerate(sorted(moments.uniform(0, kills * mean) for _ in range(kills))):
            before = guest.log().count(" is back after ")
            time.sleep(max(0.05, begun + moment - time.monotonic()))
            early += number > 0 and guest.log().count(" is back after ") == before
            guest.kill_daemon()
            guest.launch()
            check(all(load.running() for load in loads), f"fio ended at kill {number + 1}")
        print(f"{early} of {kills} daemons were killed before they had brought the session back", flush=True)
        guest.logged_in(1)
        for device in devices:
            guest.goes_on(device)
        for load in loads:
            load.stop()
        check("not taken back" not in guest.log(), "a daemon has not taken back a device")
        check(len(_left_behind()) == 5, f"two devices of a session are {_left_behind()}")
        guest.unmount(place)
        guest.fsck("ext4", devices[0])
        for number, device in enumerate(devices):
            guest.same_as_file(device, disks[number].path, f"LUN {number}")
        guest.logout()
        for number, device in enumerate(devices):
            check(not os.path.exists(f"/sys/block/{os.path.basename(device)}/pid"), f"{device} is still there")
        guest.check_no_errors(mark)


def service_restarted():
    """SIGTERM and start, as the service does it; and an upgrade, whose new file is there before the old daemon ends."""
    need("fio")
    with Faults() as guest:
        program, newer = f"{guest.root}/iscsid", f"{guest.root}/newer"
        for path in (program, newer):
            shutil.copy(guest.program("iscsid"), path)
        disk = Disk(path=guest.disk("disk", 96 * MIB))
        guest.served([disk])
        device, mark = guest.lun(0), guest.mark()
        fio = guest.fio_verify(device, seconds=LONG)
        guest.stop_daemon()
        guest.launch(program=program)
        guest.wait_log(" is back after ", 1)
        guest.goes_on(device)
        os.rename(newer, program)
        guest.stop_daemon()
        guest.launch(program=program)
        guest.wait_log(" is back after ", 2)
        guest.goes_on(device)
        check(os.path.samefile(f"/proc/{guest.daemon.pid}/exe", program), "the old program runs")
        time.sleep(1)
        guest.stop_daemon()
        time.sleep(2)  # an administrator looks at a file first
        check(fio.running(), "fio ended while no daemon was there")
        guest.iscsid()
        guest.wait_log(" is back after ", 3)
        fio.stop()
        guest.same_as_file(device, disk.path, "after three restarts")
        guest.logout()
        guest.check_no_errors(mark)


# Units that change


def lun_grows():
    """READ CAPACITY says it, so a rescan finds it. ublk before Linux 6.16 cannot take another size: the log says so."""
    can = IS_NBD or KERNEL == "new"
    need("fio")
    with Faults() as guest:
        path, mark = guest.disk("disk", 64 * MIB), guest.mark()
        lio = guest.served([Disk(path=path)])
        device = guest.lun(0)
        fio = guest.fio_verify(device, seconds=LONG, size="64m")
        guest.goes_on(device)
        lio.grow(TARGET, 0, 96 * MIB)
        guest.adm("-m", "session", "-R")
        if can:
            wait_until(lambda: guest.size_of(device) == 96 * MIB, 10, f"{device} to grow")
        else:
            guest.wait_log(r"cannot change the size of a ublk device in use")
            check(guest.size_of(device) == 64 * MIB, "a size that was not to change did")
        check(fio.running(), "fio ended early")
        guest.goes_on(device)
        guest.kill_daemon()
        guest.iscsid()
        guest.logged_in(1)
        fio.stop()
        check(guest.size_of(device) == (96 if can else 64) * MIB, "the next daemon changed the size")
        if not can:
            guest.logout()
            guest.login(TARGET)
            device = guest.lun(0)
        check(guest.size_of(device) == 96 * MIB, "the new size after a login")
        Access(device, write=pattern(1), offset=80 * MIB).well(20, "a write behind the old end")
        guest.same_as_file(device, path, "a LUN that has grown")
        guest.logout()
        guest.check_no_errors(mark)


def lun_added():
    need("fio")
    with Faults() as guest:
        disks, mark = [Disk(number=n, path=guest.disk(f"disk{n}", 64 * MIB)) for n in range(2)], guest.mark()
        lio = guest.served(disks[:1])
        fio = guest.fio_verify(guest.lun(0), seconds=LONG)
        guest.goes_on(guest.lun(0))
        lio.add_lun(TARGET, disks[1])
        check(not os.path.exists(guest.by_path(TARGET, 1, lio.portal)), "a LUN is there that nobody has asked for")
        guest.adm("-m", "session", "-R")
        second = guest.lun(1)
        guest.fio_verify(second, size="8m").wait()
        guest.kill_daemon()
        guest.iscsid()
        guest.logged_in(1)
        fio.stop()
        for number, disk in enumerate(disks):
            guest.same_as_file(guest.lun(number), disk.path, f"LUN {number}")
        guest.logout()
        check(not os.path.exists(second) or IS_NBD, f"{second} outlives its session")
        guest.check_no_errors(mark)


# Targets that go


def target_drops_sessions():
    need("fio")
    with Faults() as guest:
        path, mark = guest.disk("disk", 96 * MIB), guest.mark()
        lio = guest.served([Disk(path=path)])
        device = guest.lun(0)
        fio = guest.fio_verify(device, seconds=LONG)
        for away in (0, 3):
            time.sleep(1)
            lio.enable(TARGET, False)
            time.sleep(away)
            check(fio.running(), "fio ended with the target")
            lio.enable(TARGET)
            guest.goes_on(device)
        fio.stop()
        guest.same_as_file(device, path, "after the target was away")
        guest.logout()
        guest.check_no_errors(mark)


def target_killed():
    """tgtd ends in the middle of what it is doing, and knows nothing of its sessions afterwards."""
    need("fio")
    with Faults() as guest:
        lun, mark = Lun(guest.disk("disk", 96 * MIB)), guest.mark()
        target = guest.tgtd()
        target.add(TARGET, [lun])
        guest.iscsid()
        guest.log_in(target.portal)
        device = guest.lun(lun.number, target.portal)
        fio = guest.fio_verify(device, seconds=LONG)
        for number in range(2):
            guest.goes_on(device)
            target.process.expected_end = True
            target.process.kill()
            target.process.wait()
            guest.wait_log(" lost: ", number + 1)
            check(fio.running(), "fio ended with the target")
            guest.start_tgtd_again(target, lun)
        guest.goes_on(device)
        fio.stop()
        guest.same_as_file(device, lun.path, "after the target was killed")
        guest.logout()
        guest.check_no_errors(mark)


def killed_while_the_target_is_gone():
    """The replacement timeout counts from the drop, however many daemons have seen it."""
    limit, restart_at = 12, 6
    with Faults() as guest:
        path = guest.disk("disk", 32 * MIB)
        lio = guest.served([Disk(path=path)], **{"timeo.replacement_timeout": limit})
        device = guest.lun(0)
        Access(device, write=pattern(1)).well(20, "a write before")
        dropped = time.monotonic()
        lio.enable(TARGET, False)
        guest.wait_log(" lost: ")
        first = Access(device, write=pattern(2))
        time.sleep(max(0, dropped + restart_at - time.monotonic()))
        check(first.error is None, f"a write did not wait: {first.error}")
        guest.kill_daemon()
        guest.iscsid()
        first.ended(60, "the write to fail")
        down_for = time.monotonic() - dropped
        print(f"the write failed {down_for:.1f} s after the drop: {os.strerror(first.error)}", flush=True)
        check(first.error == (errno.EIO if IS_NBD else errno.ENOLINK), f"it failed with {os.strerror(first.error)}")
        check(limit - 1 < down_for < restart_at + limit - 0.5, f"it failed {down_for:.1f} s after the drop")
        guest.wait_log(rf"not back within {limit} s")
        second = Access(device).ended(20, "a read to fail")
        check(second.error == first.error and second.seconds < 3, f"{second.error} after {second.seconds} s")
        lio.enable(TARGET)
        guest.logged_in(1)
        Access(device, write=pattern(3)).well(20, "a write after the return")
        guest.same_as_file(device, path, "after the target's return")
        guest.logout()


def waits_for_ever():
    """With a replacement timeout of -1 nothing fails, whatever the daemon and the target do."""
    with Faults() as guest:
        path, mark = guest.disk("disk", 32 * MIB), guest.mark()
        lio = guest.served([Disk(path=path)], **{"timeo.replacement_timeout": -1})
        device = guest.lun(0)
        lio.enable(TARGET, False)
        guest.wait_log(" lost: ")
        before = Access(device, write=pattern(4))
        time.sleep(3)
        guest.kill_daemon()
        between = Access(device, write=pattern(5), offset=MIB)
        time.sleep(1)
        guest.iscsid()
        after = Access(device, write=pattern(6), offset=2 * MIB)
        time.sleep(8)
        for number, access in enumerate((before, between, after)):
            check(access.error is None, f"write {number} did not wait: {access.error}")
        lio.enable(TARGET)
        for number, access in enumerate((before, between, after)):
            access.well(30, f"write {number}, which waited")
        guest.same_as_file(device, path, "after the target's return")
        guest.logout()
        guest.check_no_errors(mark)


def another_disk_behind_the_lun():
    """While nobody looks, the number of a unit is given to another one. What waits for the first must not reach it."""
    with Faults() as guest:
        right = Disk(path=guest.disk("right", 32 * MIB))
        wrong = Disk(path=guest.random_image("wrong", 32 * MIB), name="wrong")
        untouched = digest(wrong.path)
        lio = guest.served([right], **{"timeo.replacement_timeout": 6})
        device = guest.lun(0)
        Access(device, write=pattern(1)).well(20, "a write before")
        guest.kill_daemon()
        waiting = Access(device, write=pattern(2))
        lio.remove_lun(TARGET, 0)
        lio.add_lun(TARGET, wrong)
        guest.iscsid()
        guest.wait_log(r"was .*, is now .*no I/O is sent to it")
        waiting.ended(60, "a write that waited to fail")
        check(waiting.error != 0, "a write went to another disk")
        print(f"the write failed: {os.strerror(waiting.error)}", flush=True)
        barred = errno.EIO if IS_NBD else errno.ENODEV
        wait_until(lambda: Access(device).ended(30, "a read to fail").error == barred, 30, "the unit to be barred")
        for access in (Access(device), Access(device, write=pattern(3), offset=MIB)):
            access.ended(30, "I/O to fail")
            check(access.error != 0 and access.seconds < 3, f"{access.error} after {access.seconds:.1f} s")
        guest.kill_daemon()
        late = Access(device, write=pattern(4))
        guest.iscsid()
        late.ended(60, "a write to the next daemon to fail")
        check(late.error != 0, "a write went to another disk")
        check(digest(wrong.path) == untouched, "the other disk was written to")
        lio.remove_lun(TARGET, 0)
        lio.add_lun(TARGET, right)
        guest.adm("-m", "session", "-R", ok=None)
        wait_until(lambda: Access(device, write=pattern(5)).ended(30, "a write").error == 0, 60, "the right disk")
        guest.same_as_file(device, right.path, "the right disk")
        guest.logout()
        check(digest(wrong.path) == untouched, "the other disk was written to")


# Daemons that die while they make or take away devices


def _left_behind():
    """Devices and files of sessions that are nobody's once there is no session."""
    out = []
    for folder in ("/sys/class/ublk-char", "/run/iscsid/sessions", "/run/iscsid/udev"):
        out += [f"{folder}/{name}" for name in os.listdir(folder)] if os.path.isdir(folder) else []
    return out + [f"/sys/block/{name}" for name in os.listdir("/sys/block") if os.path.exists(f"/sys/block/{name}/pid")]


def _is_consistent(guest, what):
    """There is a session with its two devices, or there is nothing. True: the first."""
    def settled():
        text = guest.adm("-m", "session", "-P", "3", ok=None, quiet=True)
        return text.status == 21 or "iSCSI Connection State: LOGGED IN" in text.out

    wait_until(settled, 90, f"{what}: the session to be back or gone")
    if guest.adm("-m", "session", ok=None, quiet=True).status == 21:
        left = _left_behind()
        check(not left, f"{what}: no session, but {left}")
        return False

    def has_links():
        return all(os.path.exists(guest.by_path(TARGET, n, "127.0.0.1:3260")) for n in range(2))

    wait_until(has_links, 60, f"{what}: both devices of the session")
    for number in range(2):
        Access(guest.lun(number)).well(30, f"{what}: a read of LUN {number}")
    found = len(_left_behind())
    check(found == 2 + 1 + 2, f"{what}: a session and two devices make {found}: {_left_behind()}")
    return True


def _killed_during(guest, action, moment, what):
    process = guest.start("iscsiadm", [guest.program("iscsiadm"), "-m", "node", "-T", TARGET, action])
    time.sleep(moment)
    guest.kill_daemon()
    process.wait(60 * PATIENCE)
    guest.processes = [(n, p) for n, p in guest.processes if p is not process]
    guest.iscsid()
    there = _is_consistent(guest, what)
    print(f"{what}, iscsiadm said {process.returncode}: the session is {'there' if there else 'not there'}", flush=True)
    return there


def killed_in_the_middle():
    """Of a login and of a logout, at moments all over them."""
    times, moments = 6, random.Random(int(os.environ.get("ISCSI_SEED", "5")))
    with Faults() as guest:
        disks = [Disk(number=n, path=guest.disk(f"disk{n}", 16 * MIB)) for n in range(2)]
        guest.served(disks)
        logout = guest.logout().seconds
        login = guest.login().seconds
        there = True
        for action, length in (("-u", logout), ("-l", login)) * times:
            what = f"killed in the {'login' if action == '-l' else 'logout'}"
            if action == "-l" and there:
                guest.logout()
            elif action == "-u" and not there:
                guest.login()
            moment = moments.uniform(0.05, 1.0) * length
            there = _killed_during(guest, action, moment, f"{what} after {moment:.2f} of {length:.2f} s")
        if there:
            guest.logout()
        check(not _left_behind(), f"left behind: {_left_behind()}")


# /run


def damaged_state():
    """A file that cannot be understood costs its own session only, and nothing for good."""
    other = TARGET + "2"
    with Faults() as guest:
        disk, second = Disk(path=guest.disk("disk", 32 * MIB)), Disk(path=guest.disk("second", 32 * MIB))
        lio = guest.served([disk])
        lio.add(other, [second])
        guest.discover(lio.portal)
        guest.login(other)
        device, lost = guest.lun(0), guest.device(other, 0, lio.portal)
        Access(lost, write=pattern(1)).well(20, "a write before")
        guest.kill_daemon()
        path = "/run/iscsid/sessions/2.json"
        with open(path, encoding="utf-8") as file:
            good = file.read()
        for name, text in (("2.json", good[: len(good) // 2]), ("7.json", "\0" * 5000), ("8.json", "[" * 100000),
                           ("2.json~", good), ("9.json", good)):
            with open(f"/run/iscsid/sessions/{name}", "w", encoding="utf-8") as file:
                file.write(text)
        os.mkdir("/run/iscsid/sessions/10.json")
        guest.iscsid()
        guest.logged_in(1)
        for name in ("2", "7", "8", "9", "10"):
            guest.wait_log(rf"sessions/{name}\.json: ", seconds=5)
        Access(device, write=pattern(2)).well(20, "a write to the session whose file is sound")
        waiting = Access(lost, write=pattern(3))
        time.sleep(2)
        check(waiting.error is None, f"I/O of a device that waits failed: {waiting.error}")
        guest.kill_daemon()
        for name in ("7.json", "8.json", "9.json", "2.json~"):
            os.unlink(f"/run/iscsid/sessions/{name}")
        os.rmdir("/run/iscsid/sessions/10.json")
        with open(path, "w", encoding="utf-8") as file:
            file.write(good)
        guest.iscsid()
        guest.logged_in(2)
        waiting.well(30, "the write that waited")
        guest.same_as_file(lost, second.path, "the session whose file was damaged")
        guest.logout()
        check(not _left_behind(), f"left behind: {_left_behind()}")


def _fill(path):
    with open(path, "ab", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError as full:
            check(full.errno == errno.ENOSPC, str(full))


def full_run():
    """Sessions that are there go on; new ones are refused, or work; nothing is half there."""
    other = TARGET + "2"
    need("fio")
    with Faults() as guest:
        disk, second = Disk(path=guest.disk("disk", 64 * MIB)), Disk(path=guest.disk("second", 32 * MIB))
        mark = guest.mark()
        lio = guest.served([disk])
        lio.add(other, [second])
        guest.discover(lio.portal)
        device = guest.lun(0)
        fio = guest.fio_verify(device, seconds=LONG, size="64m")
        used = os.statvfs("/run")
        guest.run("mount", "-o", f"remount,size={(used.f_blocks - used.f_bfree) * used.f_frsize + 65536}", "/run")
        guest.undo.append(lambda: guest.run("mount", "-o", "remount,size=50%", "/run"))
        _fill("/run/filler")
        guest.kill_daemon()
        guest.iscsid()
        guest.logged_in(1)
        guest.goes_on(device)
        lio.drop_sessions(TARGET)
        guest.wait_log("No space left on device")
        guest.goes_on(device)
        before = _left_behind()
        _fill("/run/filler")
        answer = guest.login(other, ok=None)
        text = guest.adm("-m", "session").out
        print(f"a login on a full /run: {answer.status}", flush=True)
        shown = re.search(r"device: (/dev/\w+)", answer.out)
        if shown:
            # Who was told of a disk has one that outlives the daemon.
            guest.kill_daemon()
            guest.iscsid()
            guest.logged_in(2)
            Access(shown.group(1), write=pattern(2)).well(30, "a write to a device that was shown on a full /run")
        else:
            check("/run" in answer.out + answer.err, "nobody was told why there is no disk")
            # A session without disks is a session: whether its file found room is chance.
            left = {name for name in set(_left_behind()) - set(before) if not name.startswith("/run/iscsid/sessions/")}
            check(not left, f"without a disk there is {left}")
        check((answer.status == 0) == (f" {other} " in text), "a login that failed has left a session, or the reverse")
        if answer.status == 0:
            guest.logout(other)
        os.unlink("/run/filler")
        guest.run("mount", "-o", "remount,size=50%", "/run")
        guest.login(other, ok=None)
        Access(guest.device(other, 0, lio.portal), write=pattern(1)).well(20, "a write when there is room again")
        guest.kill_daemon()
        guest.iscsid()
        guest.logged_in(2)
        fio.stop()
        guest.same_as_file(device, disk.path, "through a full /run")
        guest.logout()
        check(not _left_behind(), f"left behind: {_left_behind()}")
        guest.check_no_errors(mark)


# Memory


def _status(process, name):
    with open(f"/proc/{process}/status", encoding="ascii") as file:
        return next(line.split()[1] for line in file if line.startswith(f"{name}:"))


def memory_is_protected():
    """Of every thread: what the kernel shows of mlockall, PR_SET_IO_FLUSHER, the OOM killer and core dumps."""
    io_flusher = 0x00080000 | 0x00100000  # PF_MEMALLOC_NOIO, PF_LOCAL_THROTTLE; linux/sched.h
    with Faults() as guest:
        guest.served([Disk(path=guest.disk("disk", 32 * MIB))])
        guest.fio_verify(guest.lun(0), size="8m").wait()
        for turn in range(2):
            process = guest.daemon.pid
            check(int(_status(process, "VmLck")) > 8192, f"locked: {_status(process, 'VmLck')} KiB")
            check(int(_status(process, "VmSwap")) == 0, "some of it is swapped out")
            with open(f"/proc/{process}/oom_score_adj", encoding="ascii") as file:
                check(int(file.read()) == -1000, "oom_score_adj")
            check(resource.prlimit(process, resource.RLIMIT_CORE) == (0, 0), "RLIMIT_CORE")
            tasks = os.listdir(f"/proc/{process}/task")
            check(len(tasks) >= 2, f"control and shards make {len(tasks)} threads")
            for task in tasks:
                with open(f"/proc/{process}/task/{task}/stat", encoding="ascii") as file:
                    flags = int(file.read().rpartition(")")[2].split()[6])
                check(flags & io_flusher == io_flusher, f"thread {task} has flags {flags:#x}")
            if turn == 0:
                guest.kill_daemon()
                guest.iscsid()
                guest.logged_in(1)
        guest.logout()


def memory_pressure():
    """A machine with less memory than is written: its dirty pages can only go through the daemon."""
    size, written = 1024, 600  # MiB
    with Faults() as guest:
        with open("/proc/meminfo", encoding="ascii") as file:
            total = int(file.readline().split()[1]) // 1024
        check(total < written, f"this machine has {total} MiB of memory: that is no pressure")
        guest.run("modprobe", "zram", "num_devices=1")
        with open("/sys/block/zram0/disksize", "w", encoding="ascii") as file:
            file.write(f"{size}M")
        guest.served([Disk(path="/dev/zram0")])
        device, mark = guest.lun(0), guest.mark()
        guest.run("mkfs.ext4", "-q", "-F", "-O", "^has_journal", device)
        place = guest.mount(device)
        begun = time.monotonic()
        # What compresses well, and is different everywhere.
        with open(f"{place}/file", "wb", buffering=0) as file:
            for number in range(written):
                file.write(number.to_bytes(8, "little") * (MIB // 8))
        guest.run("sync", "-f", place)
        print(f"{written} MiB in {time.monotonic() - begun:.1f} s on {total} MiB of memory", flush=True)
        guest.unmount(place)
        place = guest.mount(device)
        with open(f"{place}/file", "rb", buffering=0) as file:
            for number in range(0, written, 10):
                file.seek(number * MIB)
                check(file.read(MIB) == number.to_bytes(8, "little") * (MIB // 8), f"MiB {number} differs")
        guest.unmount(place)
        guest.fsck("ext4", device)
        check(guest.daemon.poll() is None, "the daemon has ended")
        check(not [line for line in guest.dmesg(mark) if "Out of memory" in line or "oom-kill" in line], "an OOM kill")
        guest.check_no_errors(mark)
        guest.logout()


if __name__ == "__main__":
    scenarios(globals())
