"""One LUN with a queue for each processor, and a session for each queue: what the kernel sends by either of them, whoever
fails.

Runs in a guest with ublk: tests/guest/run --udev 'python3 queues.py NAME...'."""

import os
import re
import time

from faults import LONG, TARGET, Faults, digest
from guest import MIB, Disk, Lun, check, need, scenarios, wait_until


SIZE = 96 * MIB
TWO = {"iscsid.shards": 2, "iscsid.queues": 2}


def _hardware_queues(device):
    return len(os.listdir(f"/sys/block/{os.path.basename(device)}/mq"))


def _sessions_at(target):
    shown = target.admin("--op", "show", "--mode", "conn", "--tid", "1").out
    return re.findall(r"Session: (\d+)\s+Connection: (\d+)", shown)


def _sent(guest, port):
    """By the daemon, on each connection to the target."""
    shown = guest.run("ss", "-tinH", "state", "established", f"( dport = :{port} )", quiet=True).out
    return sorted(int(n) for n in re.findall(r"bytes_sent:(\d+)", shown))


def _load(guest, device):
    """Each half of the disk is written from one processor, and read back."""
    half = SIZE // 2 // MIB
    return [guest.fio_verify(device, seconds=LONG, size=f"{half}m",
                             extra=[f"--offset={half * number}m", f"--cpus_allowed={number}", "--fsync=64"])
            for number in (0, 1)]


def _in_progress(loads):
    check(all(load.running() for load in loads), "fio ended by itself")


def two_sessions():
    """Connections end and daemons are killed under load; a restart takes both queues back whatever the setting says."""
    need("fio", "ss", "tgtd")
    with Faults() as guest:
        lun, mark = Lun(guest.disk("disk", SIZE)), guest.mark()
        guest.configure(TWO)
        target = guest.tgtd()
        target.add(TARGET, [lun])
        guest.iscsid()
        guest.log_in(target.portal)
        device = guest.lun(lun.number, target.portal)
        check(_hardware_queues(device) == 2, f"{device} has {_hardware_queues(device)} queue(s)")
        check(len(_sessions_at(target)) == 2, "the target has two sessions")
        loads = _load(guest, device)
        wait_until(lambda: all(n > MIB for n in _sent(guest, target.port)), 60, "both sessions to carry data")
        for number in range(2):
            sid, cid = _sessions_at(target)[number]
            target.admin("--op", "delete", "--mode", "conn", "--tid", "1", "--sid", sid, "--cid", cid)
            guest.wait_log(" is back after ", number + 1)
            _in_progress(loads)
            guest.goes_on(device)
        for number in range(2):
            guest.kill_daemon()
            guest.configure({**TWO, "iscsid.queues": number + 1})
            guest.launch()
            guest.logged_in(1)
            guest.wait_log(" is served again", number + 1)
            wait_until(lambda: len(_sent(guest, target.port)) == 2 and all(n > MIB for n in _sent(guest, target.port)),
                       90, "both sessions to carry data again")
            _in_progress(loads)
        for load in loads:
            load.stop()
        check(_hardware_queues(device) == 2, "the device has both queues")
        guest.same_as_file(device, lun.path, "after all that")
        guest.logout()
        check(not _sessions_at(target), f"sessions are left at the target: {_sessions_at(target)}")
        check(not os.path.exists(device), f"{device} is still there")
        guest.check_no_errors(mark)


def file_system():
    """On LIO: what a file system wrote and synced is there after both sessions were dropped, and nothing stays behind."""
    need("mkfs.ext4")
    with Faults() as guest:
        path, mark = guest.disk("disk", SIZE), guest.mark()
        guest.configure(TWO)
        lio = guest.served([Disk(path=path, cache=True)])
        device = guest.lun(0)
        check(_hardware_queues(device) == 2, f"{device} has {_hardware_queues(device)} queue(s)")
        guest.mkfs("ext4", device)
        place = guest.mount(device)
        loads = [guest.fio_verify(f"{place}/file{number}", seconds=LONG, size="16m",
                                  extra=[f"--cpus_allowed={number}", "--fsync=32"]) for number in (0, 1)]
        for _ in range(2):
            time.sleep(1)
            lio.drop_sessions(TARGET)
            _in_progress(loads)
            guest.goes_on(device, 60)
        for load in loads:
            load.stop()
        guest.unmount(place)
        guest.fsck("ext4", device)
        guest.same_as_file(device, path, "after the sessions were dropped")
        guest.logout()
        check(not lio.sessions(TARGET), f"sessions are left at the target: {lio.sessions(TARGET)}")
        guest.check_no_errors(mark)


def late_queue():
    """A logout comes while the second queue is on its way back: what the kernel had yet to write waits for it and is written."""
    need("tgtd")
    with Faults() as guest:
        lun, mark = Lun(guest.disk("disk", 32 * MIB)), guest.mark()
        content = os.urandom(16 * MIB)
        guest.configure(TWO)
        target = guest.tgtd()
        target.add(TARGET, [lun])
        guest.iscsid()
        guest.discover(target.portal)
        # It stays away for longer than the logout takes to begin, and the logout waits for longer than that.
        guest.update(TARGET, {"node.session.iscsi.DefaultTime2Wait": 8, "node.conn[0].timeo.logout_timeout": 60})
        guest.login(TARGET)
        guest.logged_in(1)
        device = guest.lun(lun.number, target.portal)
        check(_hardware_queues(device) == 2, f"{device} has {_hardware_queues(device)} queue(s)")
        dirty = os.open(device, os.O_WRONLY)  # kept: the kernel writes when the last one closes it
        check(os.write(dirty, content) == len(content), "a write to the page cache")
        sid, cid = max(_sessions_at(target), key=lambda one: int(one[0]))
        target.admin("--op", "delete", "--mode", "conn", "--tid", "1", "--sid", sid, "--cid", cid)
        guest.wait_log(r"connection to .*, queue: 1\] lost")
        check("is back after" not in guest.log(), "the second queue is back already: this shows nothing")
        guest.logout()
        os.close(dirty)
        check("is back after" in guest.log(), "the logout did not wait for the second queue")
        with open(lun.path, "rb") as file:
            check(file.read(len(content)) == content, "what was in the page cache has not reached the target")
        check(not _sessions_at(target), f"sessions are left at the target: {_sessions_at(target)}")
        guest.check_no_errors(mark)


def _write(guest, device, processor, place=0):
    """Exit status of a write from that processor, so many MiB from the begin."""
    return guest.run("taskset", "-c", str(processor), "dd", "if=/dev/urandom", f"of={device}", "bs=4k", "count=4",
                     f"seek={place * 256}", "oflag=direct", "conv=notrunc", ok=None, quiet=True).status


def grows():
    """Linux 6.16 and later: what is behind the old end can be written by either queue as soon as the device has it."""
    need("taskset", "dd")
    with Faults() as guest:
        path, mark = guest.disk("disk", 32 * MIB), guest.mark()
        guest.configure(TWO)
        lio = guest.served([Disk(path=path)])
        device = guest.lun(0)
        lio.grow(TARGET, 0, 64 * MIB)
        guest.adm("-m", "session", "-R")
        wait_until(lambda: guest.size_of(device) == 64 * MIB, 30, f"{device} to grow")
        check([_write(guest, device, n, 48 + n) for n in (0, 1)] == [0, 0], "a write behind the old end")
        guest.same_as_file(device, path, "a LUN that has grown")
        guest.logout()
        check(not lio.sessions(TARGET), f"sessions are left at the target: {lio.sessions(TARGET)}")
        guest.check_no_errors(mark)


def another_disk():
    """The number of a unit is given to another one: nothing reaches that by either queue; and both are back with the first."""
    need("taskset", "dd")
    with Faults() as guest:
        right = Disk(path=guest.disk("right", 32 * MIB))
        wrong = Disk(path=guest.random_image("wrong", 32 * MIB), name="wrong")
        untouched = digest(wrong.path)
        guest.configure(TWO)
        lio = guest.served([right], **{"timeo.replacement_timeout": 6})
        device = guest.lun(0)
        check([_write(guest, device, n) for n in (0, 1)] == [0, 0], "a write before")
        # With the sessions gone: LIO tells nobody when the number of its only unit goes to another one.
        lio.enable(TARGET, False)
        guest.wait_log(" lost: ", 2)
        lio.remove_lun(TARGET, 0)
        lio.add_lun(TARGET, wrong)
        lio.enable(TARGET)
        check(0 not in [_write(guest, device, n) for n in (0, 1)], "a write to another disk went well")
        guest.wait_log(r"was .*, is now .*no I/O is sent to it")
        check(0 not in [_write(guest, device, n) for n in (0, 1)], "a write to another disk went well")
        check(digest(wrong.path) == untouched, "the other disk was written to")
        lio.remove_lun(TARGET, 0)
        lio.add_lun(TARGET, right)
        guest.adm("-m", "session", "-R", ok=None)
        for number in (0, 1):
            wait_until(lambda n=number: _write(guest, device, n) == 0, 60, "the right disk")
        guest.same_as_file(device, right.path, "the right disk")
        guest.logout()
        check(digest(wrong.path) == untouched, "the other disk was written to")
        check(not lio.sessions(TARGET), f"sessions are left at the target: {lio.sessions(TARGET)}")


if __name__ == "__main__":
    scenarios(globals())
