#!/usr/bin/env python3
"""Units of a session that change: that grow, come and go, or whose number is given to another one.

Runs in a guest: tests/guest/run --udev 'python3 units.py NAME...'. ISCSI_GUEST_BLOCK chooses the kind of device."""

import contextlib
import errno
import os
import signal
import time

from faults import DIRECT, IS_NBD, LONG, TARGET, Access, Faults, digest, pattern
from guest import KERNEL, MIB, PATIENCE, Disk, check, need, scenarios, wait_until


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


def _shown():
    """Names of the kernel devices that have a size: nbd's are there before they are connected."""
    names = [name for name in os.listdir("/sys/block")
             if name.startswith("ublkb") or os.path.exists(f"/sys/block/{name}/pid")]
    out = set()
    for name in names:
        with open(f"/sys/block/{name}/size", encoding="ascii") as file:
            if int(file.read()) and os.path.exists(f"/dev/{name}"):
                out.add(name)
    return out


class _UdevStops:
    """While the block lasts udev does nothing, so that whoever waits for it waits."""

    def __enter__(self):
        self._signal(signal.SIGSTOP)
        return self

    def __exit__(self, *_):
        self._signal(signal.SIGCONT)

    @staticmethod
    def _signal(number):
        for entry in filter(str.isdigit, os.listdir("/proc")):
            # Others end meanwhile.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open(f"/proc/{entry}/comm", encoding="utf-8", errors="replace") as file:
                    if "udevd" in file.read():
                        os.kill(int(entry), number)


def replaced_while_it_is_shown():
    """The session drops while a unit that was just found is being shown, and another unit has its number afterwards."""
    with Faults() as guest:
        right, first = (Disk(number=n, path=guest.disk(f"disk{n}", 32 * MIB)) for n in (1, 0))
        wrong = Disk(number=1, path=guest.random_image("wrong", 32 * MIB), name="wrong")
        untouched = digest(wrong.path)
        lio = guest.served([first], **{"timeo.replacement_timeout": 6})
        device, before = guest.lun(0), _shown()
        lio.add_lun(TARGET, right)
        with _UdevStops():
            rescan = guest.start("iscsiadm", [guest.program("iscsiadm"), "-m", "session", "-R"])
            rescan.expected_end = True
            wait_until(lambda: _shown() - before, 20, "the new device")
            [new] = _shown() - before
            time.sleep(0.5)
            held = os.open(f"/dev/{new}", os.O_RDWR | DIRECT)
            lio.enable(TARGET, False)
            guest.wait_log(" lost: ")
            lio.remove_lun(TARGET, 1)
            lio.add_lun(TARGET, wrong)
            lio.enable(TARGET)
            guest.wait_log(r" is back after | is now ")
        rescan.wait(60 * PATIENCE)
        guest.logged_in(1)
        read = Access(held, offset=8192).ended(60, "a read of the new device")
        write = Access(held, write=pattern(9), offset=4 * MIB).ended(60, "a write to the new device")
        print(f"rescan: {rescan.returncode}; read: {os.strerror(read.error)}; write: {os.strerror(write.error)}")
        with open(wrong.path, "rb") as file:
            file.seek(8192)
            check(read.error != 0 or file.read(4096) != read.data, "another disk was read through the new device")
        check(digest(wrong.path) == untouched, "another disk was written to through the new device")
        os.close(held)
        Access(device, write=pattern(1)).well(30, "a write to the unit that was there before")
        guest.logout()
        check(not _shown(), f"the logout left {_shown()}")
        check(digest(wrong.path) == untouched, "the other disk was written to")


def comes_late():
    """A unit that the target does not show until after the replacement timeout is served again without a hand."""
    limit = 30  # seconds from when it is there
    with Faults() as guest:
        disks = [Disk(number=n, path=guest.disk(f"disk{n}", 32 * MIB)) for n in range(2)]
        lio = guest.served(disks, **{"timeo.replacement_timeout": 3})
        device = guest.lun(0)
        lio.enable(TARGET, False)
        guest.wait_log("not back within")
        lio.remove_lun(TARGET, 0)
        lio.enable(TARGET)
        guest.logged_in(1)
        early = Access(device).ended(20, "a read of a unit that is not there")
        check(early.error != 0, "a unit that is not there can be read")
        lio.add_lun(TARGET, disks[0])
        begun = time.monotonic()
        while (access := Access(device, write=pattern(2)).ended(20, "a write")).error != 0:
            check(time.monotonic() < begun + limit, f"not served after {limit} s: {os.strerror(access.error)}")
            time.sleep(0.5)
        print(f"served again after {time.monotonic() - begun:.1f} s", flush=True)
        guest.same_as_file(device, disks[0].path, "the unit that came late")
        guest.logout()


if __name__ == "__main__":
    scenarios(globals())
