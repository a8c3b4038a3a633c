#!/usr/bin/env python3
"""Two initiators with one disk, as a cluster uses it: two names, two daemons, two networks. Their block devices are the
same machine's, so that one program can look at both.

Runs in a guest with ublk: tests/guest/run --udev 'python3 initiators.py NAME...'."""

import ctypes
import errno
import mmap
import os
import time

from faults import DIRECT, Access, digest, pattern
from guest import MIB, Disk, Guest, check, need, scenarios, wait_until
from lab import listener_of

TARGET = "iqn.2026-01.org.example:shared"
SIZE = 96 * MIB


class Initiator:
    """A daemon with a name, a network and folders of its own. LIO has a portal in each network."""

    def __init__(self, guest, number):
        self.guest, self.name = guest, f"iqn.2026-01.org.example:initiator{number}"
        self.root = f"{guest.root}/{number}"
        self.network = f"initiator{number}"
        self.portal = f"10.99.{number}.1:3260"
        os.makedirs(f"{self.root}/etc/iscsi")
        with open(f"{self.root}/etc/iscsi/initiatorname.iscsi", "w", encoding="ascii") as file:
            file.write(f"InitiatorName={self.name}\n")
        with open(f"{self.root}/etc/iscsi/iscsid.conf", "w", encoding="ascii") as file:
            file.write(f"iscsid.block = {guest.block}\n")
        self.process = None
        self.device = None

    def connect(self):
        """A network of two: the target's end is the machine's."""
        ends = self.portal.rpartition(".")[0]
        inside = ["nsenter", f"--net=/run/netns/{self.network}", "ip"]
        for command in (["ip", "netns", "add", self.network],
                        ["ip", "link", "add", self.network, "type", "veth", "peer", "name", "eth0",
                         "netns", self.network],
                        ["ip", "address", "add", f"{ends}.1/24", "dev", self.network],
                        ["ip", "link", "set", self.network, "up"],
                        [*inside, "address", "add", f"{ends}.2/24", "dev", "eth0"],
                        [*inside, "link", "set", "eth0", "up"]):
            self.guest.run(*command, quiet=True)
        self.guest.undo.append(lambda: self.guest.run("ip", "netns", "delete", self.network, quiet=True))

    def start(self):
        command = ["nsenter", f"--net=/run/netns/{self.network}", self.guest.program("iscsid"), "-f"]
        self.process = self.guest.start(f"iscsid-{self.network}", command, env={"ISCSI_ROOT": self.root})
        socket = f"{self.root}/run/iscsid/control.sock"
        wait_until(lambda: listener_of(socket) == self.process.pid, 30, "a daemon to listen")

    def kill(self):
        self.process.expected_end = True
        self.process.kill()
        self.process.wait()

    def adm(self, *arguments, **options):
        return self.guest.adm(*arguments, env={"ISCSI_ROOT": self.root}, **options)

    def log_in(self):
        self.adm("-m", "discovery", "-t", "st", "-p", self.portal, quiet=True)
        self.adm("-m", "node", "-T", TARGET, "-p", self.portal, "-l")
        self.device = self.guest.device(TARGET, 0, self.portal)


def _two(guest, disk):
    """Both logged in to one disk."""
    initiators = [Initiator(guest, number) for number in (1, 2)]
    for initiator in initiators:
        initiator.connect()
    guest.lio().add(TARGET, [disk], portals=[initiator.portal for initiator in initiators])
    for initiator in initiators:
        initiator.start()
        initiator.log_in()
    check(initiators[0].device != initiators[1].device, "both have the same device")
    return initiators


def shared_disk():
    """What one has written and flushed the other reads at once; each in its half, they do not see each other."""
    need("fio")
    with Guest() as guest:
        disk, mark = Disk(path=guest.disk("disk", SIZE), cache=True), guest.mark()
        one, two = _two(guest, disk)
        ends = [os.open(initiator.device, os.O_RDWR | DIRECT) for initiator in (one, two)]
        buffer = mmap.mmap(-1, 4096)
        for number in range(200):
            writer, reader = ends if number % 2 else reversed(ends)
            offset = number % 7 * 4096  # what was read there before is the likeliest to be stale
            buffer[:] = pattern(number)
            os.pwritev(writer, [buffer], offset)
            os.fdatasync(writer)
            buffer[:] = bytes(4096)
            os.preadv(reader, [buffer], offset)
            check(buffer[:] == pattern(number), f"round {number}: the other initiator reads something else")
        for end in ends:
            os.close(end)
        half = f"{SIZE // 2 // MIB}m"
        loads = [guest.fio_verify(one.device, size=half),
                 guest.fio_verify(two.device, size=half, extra=[f"--offset={half}"])]
        time.sleep(1)
        one.kill()
        one.start()
        for load in loads:
            load.wait()
        check(digest(one.device) == digest(two.device), "they read different disks")
        check(digest(one.device) == digest(disk.path), "they read another disk than the target has")
        for initiator in (one, two):
            initiator.adm("-m", "node", "-u")
        guest.check_no_errors(mark)


class OtherHost:
    """An initiator that can send what ours have no command for: Debian's libiscsi. iscsi/iscsi.h, SPC-4 6.16."""

    register, reserve, release = 0, 1, 2
    write_exclusive, exclusive_access = 1, 3
    command_bytes, data_bytes, to_target = 10, 24, 2

    class Task(ctypes.Structure):  # the beginning of libiscsi's scsi_task
        _fields_ = [("status", ctypes.c_int), ("request", ctypes.c_int * 3), ("cdb", ctypes.c_char * 16),
                    ("residual_status", ctypes.c_int), ("residual", ctypes.c_size_t), ("error_type", ctypes.c_ubyte),
                    ("key", ctypes.c_int), ("code", ctypes.c_int)]

    def __init__(self, portal):
        self.lib = ctypes.CDLL("libiscsi.so.7")
        for name in ("iscsi_create_context", "scsi_create_task", "iscsi_scsi_command_sync"):
            getattr(self.lib, name).restype = ctypes.c_void_p
        self.lib.iscsi_get_error.restype = ctypes.c_char_p
        self.context = ctypes.c_void_p(self.lib.iscsi_create_context(b"iqn.2026-01.org.example:other-host"))
        self.lib.iscsi_set_targetname(self.context, TARGET.encode())
        self.lib.iscsi_set_session_type(self.context, 2)  # ISCSI_SESSION_NORMAL
        connected = self.lib.iscsi_full_connect_sync(self.context, portal.encode(), 0)
        check(connected == 0, f"the other host: {self.lib.iscsi_get_error(self.context)}")

    def persistent_reserve(self, action, kind=0, key=0, new_key=0):
        data = key.to_bytes(8, "big") + new_key.to_bytes(8, "big") + bytes(8)
        command = bytes([0x5F, action, kind, 0, 0, 0, 0, 0, len(data), 0])

        class Data(ctypes.Structure):
            _fields_ = [("size", ctypes.c_size_t), ("data", ctypes.c_char_p)]

        task = ctypes.c_void_p(self.lib.scsi_create_task(len(command), command, self.to_target, len(data)))
        answered = self.lib.iscsi_scsi_command_sync(self.context, 0, task, ctypes.byref(Data(len(data), data)))
        check(answered, f"the other host: {self.lib.iscsi_get_error(self.context)}")
        task = ctypes.cast(answered, ctypes.POINTER(self.Task)).contents
        check(task.status == 0, f"PERSISTENT RESERVE OUT action {action}, type {kind}: status {task.status:#x}, "
                                f"sense key {task.key:#x}, code {task.code:#x}")

    def close(self):
        self.lib.iscsi_logout_sync(self.context)
        self.lib.iscsi_destroy_context(self.context)


def reservations():
    """Another host fences us: I/O fails as a reservation conflict, at once, and works again when it lets go."""
    key = 0x1234
    with Guest() as guest:
        disk = Disk(path=guest.disk("disk", SIZE))
        initiators = _two(guest, disk)
        for initiator in initiators:
            Access(initiator.device, write=pattern(1)).well(20, "a write before")
        other = OtherHost(initiators[1].portal)
        other.persistent_reserve(other.register, new_key=key)
        for kind in (other.write_exclusive, other.exclusive_access):
            mark = guest.mark()
            other.persistent_reserve(other.reserve, kind, key)
            before = digest(disk.path)
            for initiator in initiators:
                write = Access(initiator.device, write=pattern(2 + kind)).ended(20, "a write to be refused")
                check(write.error == errno.EBADE and write.seconds < 2,
                      f"a write: {write.error} after {write.seconds:.1f} s")
                read = Access(initiator.device).ended(20, "a read")
                wanted = 0 if kind == other.write_exclusive else errno.EBADE
                check(read.error == wanted and read.seconds < 2, f"a read: {read.error} after {read.seconds:.1f} s")
            said = [line for line in guest.dmesg(mark) if "reservation conflict" in line]
            check(said, "the kernel calls it something else")
            check(digest(disk.path) == before, "a write that was refused was done")
            other.persistent_reserve(other.release, kind, key)
            for initiator in initiators:
                Access(initiator.device, write=pattern(10 + kind)).well(20, "a write when the reservation is gone")
        other.persistent_reserve(other.register, key=key)
        other.close()
        for initiator in initiators:
            initiator.adm("-m", "node", "-u")


if __name__ == "__main__":
    scenarios(globals())
