#!/usr/bin/env python3
"""A daemon that is killed while the kernel waits for I/O which only that daemon serves: it must end at once, and the
next one must get the devices.

Runs in a guest: tests/guest/run --udev 'python3 no_deadlock.py NAME...'. ISCSI_GUEST_BLOCK chooses the kind of device."""

import contextlib
import os
import signal
import subprocess
import time

from guest import MIB, Disk, Lun, check, need, scenarios, wait_until
from faults import Access, Faults, pattern, show_waits
from lab import Failure

A, B = "iqn.2026-01.org.example:a", "iqn.2026-01.org.example:b"
DEATH_MAX = 2  # seconds; of a process with locked memory, on an emulated machine
TABLE_SECTORS = 131072
STEP = 8192  # sectors, by which a disk grows


class Deadlock(Faults):
    def kill_at_once(self):
        process = self.daemon
        begun = time.monotonic()
        process.send_signal(signal.SIGKILL)
        try:
            process.wait(DEATH_MAX)
        except subprocess.TimeoutExpired:
            show_waits(process.pid)
            raise
        print(f"the daemon ended within {time.monotonic() - begun:.2f} s", flush=True)
        self.forget_daemon()

    def in_background(self, *words):
        process = self.start("iscsiadm", [self.program("iscsiadm"), *words])
        process.expected_end = True
        return process

    def helper_waits(self, place, seconds=20):
        """Until a helper of the daemon stands in the kernel at a function whose name has `place` in it."""

        def stands():
            return any(place in stack for stack in stacks(self.daemon.pid))

        try:
            wait_until(stands, seconds, f"a helper in {place}")
        except Exception:
            print("\n".join(stacks(self.daemon.pid)), flush=True)
            raise

    def slow_disk(self, number=0):
        """Of LIO; what it is asked for waits between hold() and let_go()."""
        self.run("modprobe", "-a", "loop", "dm_mod", "dm_delay")
        image = self.disk("slow", 128 * MIB)
        with open(f"{self.root}/table", "w", encoding="ascii") as file:
            file.write("label: gpt\nsize=24MiB\n")
        self.run("sh", "-c", f"sfdisk -q {image} <{self.root}/table")
        loop = self.run("losetup", "--show", "-f", image).out.strip()
        self.undo.append(lambda: self.run("losetup", "-d", loop))
        self.run("dmsetup", "create", "slow", "--table", f"0 {TABLE_SECTORS} linear {loop} 0")
        self.undo.append(lambda: self.run("dmsetup", "remove", "-f", "slow", ok=None))
        self.loop = loop
        return Disk(number=number, path="/dev/mapper/slow")

    def grow(self, kind=" linear", more="", sectors=65536):
        table = f"0 {TABLE_SECTORS + sectors}{kind} {self.loop} 0{more}"
        self.run("dmsetup", "reload", "slow", "--table", table)
        self.run("dmsetup", "resume", "slow")

    def until_the_kernel_waits(self, slow):
        """Grows and looks until nbd's change of the size has requests to wait for: that takes one that came between our own
        wait for those before it and the change, and on a busy machine none may have come. Gives how many sectors it grew."""
        attempts = 6
        for attempt in range(1, attempts):
            rescan = self.in_background("-m", "session", "-R")
            try:
                self.helper_waits("nbd_genl_reconfigure", 10)
                return attempt * STEP
            except Failure:
                rescan.wait(60)
                self.grow(*slow, sectors=(attempt + 1) * STEP)
        self.in_background("-m", "session", "-R")
        self.helper_waits("nbd_genl_reconfigure", 10)
        return attempts * STEP

    def hold(self):
        self.run("dmsetup", "suspend", "--nolockfs", "--noflush", "slow", quiet=True)

    def let_go(self):
        self.run("dmsetup", "resume", "slow", quiet=True)


def stacks(pid):
    """Of every thread of the children of a process. Threads and children may end meanwhile."""
    gone = (FileNotFoundError, ProcessLookupError)
    out = []
    children = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(*gone), open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
            children += file.read().split()
    for child in children:
        with contextlib.suppress(*gone):
            for task in os.listdir(f"/proc/{child}/task"):
                with open(f"/proc/{child}/task/{task}/stack", encoding="ascii") as file:
                    out.append(file.read())
    return out


def writes_in_progress(name):
    with open(f"/sys/block/{name}/inflight", encoding="ascii") as file:
        return int(file.read().split()[1])


def killed_while_a_logout_flushes():
    with Deadlock() as guest:
        lun = Lun(guest.disk("a", 48 * MIB))
        target = guest.tgtd()
        target.add(A, [lun])
        lio = guest.lio()
        lio.add(B, [Disk(path=guest.disk("b", 48 * MIB))])
        guest.iscsid()
        for portal in (target.portal, lio.portal):
            guest.discover(portal)
        # Or the session is lost, where programs take long to start, before the logout has got to its flush.
        guest.update(A, {f"node.conn[0].timeo.noop_out_{which}": 0 for which in ("interval", "timeout")})
        guest.login()
        guest.logged_in(2)
        first, other = guest.device(A, lun.number, target.portal), guest.device(B, 0, lio.portal)
        data = pattern(7, MIB)
        guest.run("blockdev", "--setra", "0", first)
        guest.run("udevadm", "settle", "-t", "30")  # a probe's page that waits for the target would be waited for here
        os.kill(target.process.pid, signal.SIGSTOP)
        with open(first, "r+b", buffering=0) as file:
            file.write(data)
            out = guest.in_background("-m", "node", "-T", A, "-u")
            guest.helper_waits("sync")
        guest.kill_at_once()
        waiting = Access(other, write=pattern(2))
        guest.iscsid()
        waiting.well(20, "the other session's disk")
        os.kill(target.process.pid, signal.SIGCONT)
        Access(first).well(60, "the disk that was being flushed")
        out.wait(10)
        guest.logged_in(2)
        guest.logout()
        with open(lun.path, "rb") as file:
            check(file.read(len(data)) == data, "what was written before the logout is not on the target")
        print("what was dirty is on the target", flush=True)


def resize_waits_for_the_target():
    """nbd: a new size is not asked for while a request is in progress. Nothing of the machine's is locked meanwhile."""
    need("fio")
    with Deadlock() as guest:
        lio = guest.lio()
        lio.add(A, [guest.slow_disk()])
        guest.iscsid()
        guest.discover(lio.portal)
        guest.login()
        device, mark = guest.device(A, 0, lio.portal), guest.mark()
        guest.grow()
        load = guest.fio_verify(device, seconds=30, size="16m", depth=8)
        guest.goes_on(device)
        guest.hold()
        rescan = guest.in_background("-m", "session", "-R")
        guest.helper_waits("queue_attr_store")
        guest.kill_at_once()
        guest.iscsid()
        time.sleep(2)  # LIO takes nobody back before the held request has ended
        guest.let_go()
        guest.goes_on(device)
        load.wait()
        rescan.wait(10)
        guest.logout()
        guest.check_no_errors(mark)


def killed_while_a_size_changes():
    """nbd, Linux 6.9 and later. What is in progress while the kernel holds requests up fails after a while, since nobody
    can answer it; when the kernel is done by then, it goes on."""
    need("fio")
    with Deadlock() as guest:
        lio = guest.lio()
        lio.add(A, [guest.slow_disk()])
        guest.iscsid()
        guest.discover(lio.portal)
        guest.login()
        device = guest.device(A, 0, lio.portal)
        name = os.path.basename(device)
        slow = " delay", f" 0 {guest.loop} 0 3000"
        guest.grow(*slow, sectors=STEP)
        # Nothing is read back before it fails: what is read is not slow, and the kernel would hold requests up for a moment.
        load = guest.fio_verify(device, seconds=600, size="16m", depth=8, backlog=4096)
        load.process.expected_end = True
        wait_until(lambda: writes_in_progress(name) == 8, 60, "fio to write")
        sectors = guest.until_the_kernel_waits(slow)
        guest.kill_at_once()
        begun = time.monotonic()
        guest.iscsid()
        before = guest.sectors(device)
        wait_until(lambda: not load.running() or guest.sectors(device) > before, 200, "fio to go on or to fail")
        goes_on = load.running()  # an I/O error would have ended it
        load.process.send_signal(signal.SIGINT)
        wait_until(lambda: not load.running(), 120, "fio to end")

        def serves():
            return Access(device, write=pattern(3)).ended(60, "a write afterwards").error == 0

        wait_until(serves, 20, "the device to be served again")
        print(f"usable again {time.monotonic() - begun:.1f} s after the death; fio went on: {goes_on}", flush=True)
        check(guest.size_of(device) == (TABLE_SECTORS + sectors) * 512, "the new size")
        interval = f"/sys/block/{name}/queue/io_timeout"
        wait_until(lambda: guest.run("cat", interval, quiet=True).out.strip() == "5000", 20, "io_timeout to be 5000 again")
        guest.logout()


def killed_while_a_device_starts():
    """ublk before Linux 7. That device is lost to the kernel's lock; the others are not."""
    with Deadlock() as guest:
        lio = guest.lio()
        slow = guest.slow_disk(number=1)
        lio.add(A, [Disk(size=48 * MIB)])
        lio.add(B, [Disk(size=48 * MIB)])
        guest.iscsid()
        guest.discover(lio.portal)
        guest.login()
        guest.logged_in(2)
        devices = [guest.device(target, 0, lio.portal) for target in (A, B)]
        lio.add_lun(A, slow)
        guest.hold()
        rescan = guest.in_background("-m", "session", "-R")
        guest.helper_waits("bdev_disk_changed")
        guest.kill_at_once()
        waiting = [Access(device, write=pattern(2)) for device in devices]
        guest.let_go()
        for round_ in range(2):
            if round_ > 0:
                guest.kill_at_once()
                waiting = [Access(device, write=pattern(round_)) for device in devices]
            guest.iscsid()
            for access in waiting:
                access.well(60, f"daemon {round_}: {access.device}")
            print(f"daemon {round_} serves both after {max(access.seconds for access in waiting):.1f} s", flush=True)
        rescan.wait(10)
        # There is no way to get rid of the third device but a new start of the machine. No I/O may be left waiting: what
        # waits in the kernel cannot end.
        os._exit(0)


def logout_while_a_rescan_hangs():
    """ublk: a unit that was just found never answers. A logout does not wait for that, it says so."""
    with Deadlock() as guest:
        lio = guest.lio()
        slow = guest.slow_disk(number=1)
        lio.add(A, [Disk(size=48 * MIB)])
        guest.iscsid()
        guest.discover(lio.portal)
        guest.login()
        device = guest.device(A, 0, lio.portal)
        lio.add_lun(A, slow)
        guest.hold()
        try:
            rescan = guest.in_background("-m", "session", "-R")
            guest.helper_waits("bdev_disk_changed")
            for number in (1, 2):
                done = guest.logout(ok=28, seconds=30)
                check(done.seconds < 20, f"refusal {number} took {done.seconds:.1f} s")
            Access(device, write=pattern(1)).well(20, "the unit that answers")
        finally:
            guest.let_go()
        rescan.wait(60)
        check(rescan.returncode == 0, f"the rescan ended with {rescan.returncode}")
        Access(guest.device(A, 1, lio.portal)).well(20, "the unit that answers again")
        guest.logout()
        lio.remove_all()  # before the slow disk goes


if __name__ == "__main__":
    scenarios(globals())
