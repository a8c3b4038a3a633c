#!/usr/bin/env python3
"""Long reads and writes that go between the kernel's memory and the socket without passing through the daemon's
(iscsid.ublk_zero_copy_min_kb), and what happens to them when a target or a daemon dies in the middle.

Runs in a guest: tests/guest/run -k new --udev 'python3 zero_copy.py NAME...'. Linux 6.15 at least."""

import os

from faults import LONG, TARGET, Faults, flush
from guest import MIB, Disk, Lun, check, need, scenarios, wait_until

MIN_KB = 64
BLOCKS = "4k-1m"  # below and above it, and what the daemon cuts
DIGESTS = {f"node.conn[0].iscsi.{part}Digest": "CRC32C" for part in ("Header", "Data")}


class ZeroCopy(Faults):
    def __enter__(self):
        super().__enter__()
        self.configure({"iscsid.ublk_zero_copy_min_kb": MIN_KB})
        return self

    def log_in_with(self, portal, settings):
        self.discover(portal)
        self.update(TARGET, settings)
        self.login(TARGET)
        self.logged_in(1)

    def copied(self, what):
        """Bytes that system calls of the daemon have read or written so far; operations of a ring do not count."""
        with open(f"/proc/{self.daemon.pid}/io", encoding="ascii") as file:
            return int(dict(line.split(": ") for line in file.read().splitlines())[what])

    def copied_by(self, what, operation, device, size):
        before = self.copied(what)
        self.run("fio", "--name=x", f"--filename={device}", "--direct=1", "--ioengine=libaio", f"--rw={operation}", "--bs=1m",
                 "--iodepth=4", f"--size={size}", quiet=True)
        return self.copied(what) - before

    def verified(self, device, **options):
        return self.fio_verify(device, blocks=BLOCKS, depth=16, **options)


def copies_nothing():
    """A copy of what is written is a read from the ublk device, and of what is read a write to it."""
    size = 32 * MIB
    need("fio")
    for settings, copies in (({}, False), (DIGESTS, True)):
        with ZeroCopy() as guest:
            disk, mark = Disk(path=guest.disk("disk", 2 * size)), guest.mark()
            lio = guest.lio()
            lio.add(TARGET, [disk])
            guest.iscsid()
            guest.log_in_with(lio.portal, {"node.conn[0].iscsi.DataDigest": "None", **settings})
            device = guest.lun(0)
            written = guest.copied_by("rchar", "write", device, size)
            read = guest.copied_by("wchar", "read", device, size)
            what = f"of {size} bytes {written} were copied while they were written, {read} while they were read"
            if copies:
                check(written >= size and read >= size, f"data digests without seeing the data? {what}")
            else:
                check(written < size // 8 and read < size // 2, what)
            guest.verified(device).wait()
            guest.same_as_file(device, disk.path, "after all was verified")
            guest.logout()
            guest.check_no_errors(mark)


def target_killed():
    """Commands with registered buffers are lost with their session, and sent again."""
    need("fio")
    with ZeroCopy() as guest:
        lun, mark = Lun(guest.disk("disk", 64 * MIB)), guest.mark()
        target = guest.tgtd()
        target.add(TARGET, [lun])
        guest.iscsid()
        guest.log_in(target.portal)
        device = guest.lun(lun.number, target.portal)
        fio = guest.verified(device, seconds=LONG)
        for number in range(3):
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
        guest.check_no_errors(mark)
        flush(device)  # it may be told of a cache that is lost
        error = flush(device)
        check(error == 0, f"the second flush ended with {os.strerror(error)}")
        guest.logout()


def daemon_killed():
    """The kernel takes the buffers of a daemon that dies back. The last daemon knows nothing of the setting, and copies."""
    need("fio")
    with ZeroCopy() as guest:
        disk, mark = Disk(path=guest.disk("disk", 64 * MIB)), guest.mark()
        guest.served([disk])
        device = guest.lun(0)
        fio = guest.verified(device, seconds=LONG)
        for number in range(5):
            guest.goes_on(device)
            guest.kill_daemon()
            if number == 4:
                guest.configure({})
            guest.iscsid()
            guest.logged_in(1)
            check(fio.running(), f"fio ended before the daemon was killed for the {number + 1}. time")
        guest.goes_on(device)
        fio.stop()
        before = guest.copied("rchar")
        guest.run("dd", "if=/dev/zero", f"of={device}", "bs=1M", "count=8", "oflag=direct", quiet=True)
        check(guest.copied("rchar") - before >= 8 * MIB, "a daemon without the setting does not copy")
        guest.same_as_file(device, disk.path, "after five daemons")
        guest.logout()
        wait_until(lambda: not os.path.exists(device), 20, f"{device} to go")
        guest.check_no_errors(mark)


def turned_on_later():
    """A device that was made without zero copy is taken back as it is."""
    with ZeroCopy() as guest:
        disk, mark = Disk(path=guest.disk("disk", 16 * MIB)), guest.mark()
        guest.configure({})
        guest.served([disk])
        device = guest.lun(0)
        guest.kill_daemon()
        guest.configure({"iscsid.ublk_zero_copy_min_kb": MIN_KB})
        guest.iscsid()
        guest.logged_in(1)
        before = guest.copied("rchar")
        guest.run("dd", "if=/dev/urandom", f"of={device}", "bs=1M", "count=16", "oflag=direct", quiet=True)
        check(guest.copied("rchar") - before >= 16 * MIB, "a device without the flag is served by copying")
        guest.same_as_file(device, disk.path, "a device that was taken back")
        guest.logout()
        guest.check_no_errors(mark)


if __name__ == "__main__":
    scenarios(globals())
