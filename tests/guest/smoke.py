"""What every kernel must do before anything else is worth a test: modules, LIO, a login, I/O over it."""

import os
import subprocess

from guest import KERNEL, MIB, Disk, Guest, check, need, scenarios, wait_until
from lab import check_same

TARGET = "iqn.2026-01.org.example:smoke"
SIZE = 32 * MIB


def modules():
    with Guest() as guest:
        guest.run("modprobe", "-a", "nbd", "iscsi_target_mod", "target_core_file", "target_core_iblock")
        check(os.path.exists("/dev/nbd0"), "nbd has no device")
        ublk = guest.run("modprobe", "ublk_drv", ok=None).status == 0
        check(ublk == (KERNEL != "6.1"), f"ublk on kernel {KERNEL}: {ublk}")
        check(ublk == os.path.exists("/dev/ublk-control"), "ublk without its control device")
        guest.run(guest.program("iscsid"), "--version")


def login():
    """The export on a socket needs nothing of the kernel, so it is there on each."""
    need("nbdcopy")
    with Guest() as guest:
        disk = guest.disk("disk", SIZE)
        lio = guest.lio()
        lio.add(TARGET, [Disk(path=disk)])
        guest.configure({"iscsid.block": "socket"})
        guest.start_daemon()
        found = guest.discover(lio.portal)
        check(f"{lio.portal},1 {TARGET}" in found.out, "discovery does not name the target")
        guest.login()
        guest.logged_in(1)
        check(len(lio.sessions(TARGET)) == 1, "LIO has no session")
        image, back = guest.random_image("image", SIZE), os.path.join(guest.data, "back")
        guest.run("nbdcopy", "--flush", image, guest.export())
        check_same(image, disk, SIZE, "the target's file after the write")
        guest.run("nbdcopy", guest.export(), back)
        check_same(image, back, SIZE, "what was read back")
        guest.logout()
        wait_until(lambda: not lio.sessions(TARGET), 20, "LIO to have no session")  # it frees one after its answer
        guest.check_no_errors()


def lio_disks():
    """The targets that the scenarios build on are what they are said to be: asked by SCSI commands of our own daemon."""
    with Guest() as guest:
        lio = guest.lio()
        file = guest.disk("disk", SIZE)
        lio.add(TARGET, [Disk(number=0), Disk(number=1, path=file, block_bytes=4096, cache=True, unmap=True),
                         Disk(number=2, read_only=True)])
        guest.configure({"iscsid.block": "socket"})
        guest.start_daemon()
        guest.discover(lio.portal)
        guest.login()
        exports = guest.session().exports
        check(sorted(exports) == [0, 1, 2], f"the LUNs are {sorted(exports)}")
        info = {number: guest.run("nbdinfo", uri, quiet=True).out for number, uri in exports.items()}
        check("is_read_only: true" in info[2] and "is_read_only: false" in info[0], "which LUN is read-only")
        check("can_trim: true" in info[1] and "block_size_minimum: 4096" in info[1], f"LUN 1: {info[1]}")
        lio.grow(TARGET, 1, 2 * SIZE)
        lio.drop_sessions(TARGET)
        guest.logged_in(1)
        lio.add_lun(TARGET, Disk(number=3))
        lio.remove_lun(TARGET, 0)
        guest.logout()
        guest.login()
        exports = guest.session().exports
        check(sorted(exports) == [1, 2, 3], f"the LUNs are {sorted(exports)}")
        check(f"{2 * SIZE}" in guest.run("nbdinfo", "--size", exports[1]).out, "LUN 1 did not grow")
        guest.logout()


def block_layer():
    """The helpers for scenarios, on a kernel's own disk in memory."""
    with Guest() as guest:
        before = guest.mark()
        guest.run("modprobe", "brd", "rd_nr=1", f"rd_size={320 << 10}")
        guest.fio_verify("/dev/ram0", seconds=2).wait()
        guest.fio_verify("/dev/ram0", size="8m").wait()
        for kind in ("ext4", "xfs"):
            guest.mkfs(kind, "/dev/ram0")
            place = guest.mount("/dev/ram0")
            with open(os.path.join(place, "file"), "wb") as file:
                file.write(os.urandom(MIB))
            guest.unmount(place)
            guest.fsck(kind, "/dev/ram0")
        guest.check_no_errors(before)
        with open("/dev/kmsg", "w", encoding="ascii") as file:
            file.write("<3>Buffer I/O error on dev x, logical block 0, lost async page write\n")
        check(len(guest.dmesg_errors(before)) == 1, "an I/O error is not found in the kernel's messages")
        subprocess.run(["udevadm", "settle"], check=False)


scenarios(globals())
