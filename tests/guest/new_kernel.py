#!/usr/bin/env python3
"""What only kernels from 6.16 on can do with ublk: a file system in use grows with its LUN, and a device is quiesced
before it is handed to the next daemon.

Runs in a guest: tests/guest/run -k new --udev 'python3 new_kernel.py NAME...'."""

import os

from faults import LONG, TARGET, Faults
from guest import MIB, Disk, check, need, scenarios, wait_until


def grows_while_mounted():
    before, after = 64 * MIB, 160 * MIB
    need("fio", "resize2fs")
    with Faults() as guest:
        disk, mark = Disk(path=guest.disk("disk", before)), guest.mark()
        lio = guest.served([disk])
        device = guest.lun(0)
        check(os.path.basename(device).startswith("ublkb"), f"{device} is not ublk's")
        guest.mkfs("ext4", device)
        place = guest.mount(device)
        fio = guest.fio_verify(f"{place}/file", seconds=LONG, size="32m")
        guest.goes_on(device)
        lio.grow(TARGET, 0, after)
        guest.adm("-m", "session", "-R")
        wait_until(lambda: guest.size_of(device) == after, 10, f"{device} to grow")
        guest.run("resize2fs", device)
        room = os.statvfs(place)
        check(room.f_blocks * room.f_frsize > before, "the file system did not grow")
        for number in range(3):
            guest.kill_daemon()
            guest.iscsid()
            guest.logged_in(1)
            check(fio.running(), f"fio ended before the daemon was killed for the {number + 1}. time")
            guest.goes_on(device)
        guest.fio_verify(f"{place}/more", size="64m").wait()
        fio.stop()
        guest.unmount(place)
        guest.fsck("ext4", device)
        guest.same_as_file(device, disk.path, "a file system that has grown")
        guest.logout()
        check(not os.path.exists(device), f"{device} outlives its session")
        guest.check_no_errors(mark)


def quiesced_at_a_restart():
    """A daemon that is asked to end lets what is in progress end and holds the rest back for the next one."""
    need("fio")
    with Faults() as guest:
        disk, mark = Disk(path=guest.disk("disk", 96 * MIB)), guest.mark()
        guest.served([disk])
        device = guest.lun(0)
        fio = guest.fio_verify(device, seconds=LONG)
        for number in range(1, 4):
            guest.goes_on(device)
            guest.stop_daemon()
            guest.wait_log(" its devices are quiesced", number)
            guest.iscsid()
            guest.wait_log(" is back after ", number)
        fio.stop()
        guest.same_as_file(device, disk.path, "after three restarts")
        guest.logout()
        guest.check_no_errors(mark)


if __name__ == "__main__":
    scenarios(globals())
