#!/usr/bin/env python3
"""What must not lose a byte: daemons that are killed, restarted or replaced, targets that go and come back. What becomes of
units is in units.py, what a machine can lack in machine.py.

Runs in a guest: tests/guest/run --udev 'python3 faults.py NAME...'. ISCSI_GUEST_BLOCK chooses the kind of device."""

import errno
import hashlib
import mmap
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time

from guest import BLOCK, KERNEL, MIB, PATIENCE, TREE, Disk, Guest, Lun, check, need, scenarios, wait_until
from lab import Failure

sys.path.append(os.path.join(TREE, "tests", "faults"))

from faultlab import Oracle  # noqa: E402  pylint: disable=C0413

TARGET = "iqn.2026-01.org.example:faults"
IS_NBD = BLOCK == "nbd" or KERNEL == "6.1"
LONG = 600  # for fio that is stopped when everything has happened
SEED = int(os.environ.get("ISCSI_SEED", "20"))
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

    def shows_its_waits(self, process):
        print("the daemon takes long to end:", flush=True)
        show_waits(process.pid)

    def _end_daemon(self, number):
        try:
            super()._end_daemon(number)
        except subprocess.TimeoutExpired:
            show_waits(self.daemon.pid)
            self.show_logs()
            raise Failure("a daemon that was killed does not end") from None

    def crash_daemon(self):
        self._end_daemon(signal.SIGSEGV)

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

    def oracle(self, device, *options):
        """A load whose every sector is judged (write-oracle --help)."""
        command = [self.program("tests/faults/write-oracle"), "--seed", str(SEED), *options, device]
        return Oracle(self, f"oracle-{os.path.basename(device)}", command)

    def sectors(self, device, written_only=False):
        """Read and written so far, by the kernel's count."""
        with open(f"/sys/class/block/{os.path.basename(device)}/stat", encoding="ascii") as file:
            words = file.read().split()
        return int(words[6]) + (0 if written_only else int(words[2]))

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


def flush(device):
    """Of the device's cache. Gives an errno, or 0."""
    fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        return error.errno
    finally:
        os.close(fd)
    return 0


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
    """One read or write past the page cache, on a thread of its own: it may take for ever. device: its node, or the
    descriptor of one that was opened so (and stays open)."""

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
            fd = self.device
            if isinstance(fd, str):
                fd = os.open(fd, (os.O_RDONLY if self.write is None else os.O_WRONLY) | DIRECT)
            try:
                if self.write is None:
                    os.preadv(fd, [buffer], self.offset)
                    self.data = bytes(buffer)
                else:
                    buffer[:] = self.write
                    os.pwritev(fd, [buffer], self.offset)
            finally:
                if fd != self.device:
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


def left_behind():
    """Devices and files of sessions that are nobody's once there is no session."""
    out = []
    for folder in ("/sys/class/ublk-char", "/run/iscsid/sessions", "/run/iscsid/udev"):
        out += [f"{folder}/{name}" for name in os.listdir(folder)] if os.path.isdir(folder) else []
    return out + [f"/sys/block/{name}" for name in os.listdir("/sys/block") if os.path.exists(f"/sys/block/{name}/pid")]


# Daemons that die


def killed_twenty_times():
    """At moments that have nothing to do with what the daemon, or the one before it, is at."""
    kills, mean = 20, 2.4 if IS_NBD else 2.0  # seconds
    moments = random.Random(SEED)
    need("fio")
    with Faults() as guest:
        disks = [Disk(number=n, path=guest.disk(f"disk{n}", size * MIB)) for n, size in enumerate((96, 32))]
        guest.served(disks)
        devices = [guest.lun(n) for n in range(2)]
        guest.mkfs("ext4", devices[0])
        place = guest.mount(devices[0])
        mark = guest.mark()
        fio, oracle = guest.fio_verify(f"{place}/file", seconds=LONG, size="64m"), guest.oracle(devices[1])
        oracle.fill()
        oracle.go()
        early, begun = 0, time.monotonic()
        for number, moment in enumerate(sorted(moments.uniform(0, kills * mean) for _ in range(kills))):
            before = guest.log().count(" is back after ")
            time.sleep(max(0.05, begun + moment - time.monotonic()))
            early += number > 0 and guest.log().count(" is back after ") == before
            oracle.say("epoch")
            guest.kill_daemon()
            guest.launch()
            check(fio.running(), f"fio ended at kill {number + 1}")
        print(f"{early} of {kills} daemons were killed before they had brought the session back", flush=True)
        guest.logged_in(1)
        for device in devices:
            guest.goes_on(device)
        oracle.goes_on()
        fio.stop()
        oracle.settle(disks[1].path)
        guest.end(oracle.process)  # it has the device open
        check("not taken back" not in guest.log(), "a daemon has not taken back a device")
        check(len(left_behind()) == 5, f"two devices of a session are {left_behind()}")
        guest.unmount(place)
        guest.fsck("ext4", devices[0])
        for number, device in enumerate(devices):
            guest.same_as_file(device, disks[number].path, f"LUN {number}")
        guest.logout()
        for number, device in enumerate(devices):
            check(not os.path.exists(f"/sys/block/{os.path.basename(device)}/pid"), f"{device} is still there")
        guest.check_no_errors(mark, devices)


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
        guest.wait_log("devices of the iscsid before are served with it")  # and nothing was made to test it
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
    """tgtd ends in the middle of what it is doing, and knows nothing of its sessions afterwards. It has a write cache, which
    may have gone with it: that is told once, to who asks for a flush."""
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
            before = guest.sectors(device, written_only=True)
            wait_until(lambda b=before: guest.sectors(device, written_only=True) > b + 512, 30, "writes")
            target.process.expected_end = True
            target.process.kill()
            target.process.wait()
            guest.wait_log(" lost: ", number + 1)
            check(fio.running(), "fio ended with the target")
            refused = guest.log().count("Connection refused")
            guest.wait_log("Connection refused", refused + 1)  # the daemon has seen that nobody is there
            guest.start_tgtd_again(target, lun)
        guest.goes_on(device)
        fio.stop()
        guest.same_as_file(device, lun.path, "after the target was killed")
        guest.check_no_errors(mark)
        error = flush(device)
        check(error == (errno.EIO if IS_NBD else errno.EREMOTEIO), f"the first flush ended with {os.strerror(error)}")
        error = flush(device)
        check(error == 0, f"the second flush ended with {os.strerror(error)}")
        guest.logout()


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


# Daemons that die while they make or take away devices


def _is_consistent(guest, what):
    """There is a session with its two devices, or there is nothing. True: the first."""
    def settled():
        text = guest.adm("-m", "session", "-P", "3", ok=None, quiet=True)
        return text.status == 21 or "iSCSI Connection State: LOGGED IN" in text.out

    wait_until(settled, 90, f"{what}: the session to be back or gone")
    if guest.adm("-m", "session", ok=None, quiet=True).status == 21:
        left = left_behind()
        check(not left, f"{what}: no session, but {left}")
        return False

    def has_links():
        return all(os.path.exists(guest.by_path(TARGET, n, "127.0.0.1:3260")) for n in range(2))

    wait_until(has_links, 60, f"{what}: both devices of the session")
    for number in range(2):
        Access(guest.lun(number)).well(30, f"{what}: a read of LUN {number}")
    found = len(left_behind())
    check(found == 2 + 1 + 2, f"{what}: a session and two devices make {found}: {left_behind()}")
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
        check(not left_behind(), f"left behind: {left_behind()}")


if __name__ == "__main__":
    scenarios(globals())
