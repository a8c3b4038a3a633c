#!/usr/bin/env python3
"""What a machine can lack: a /run that is damaged or full, memory. And what the daemon does beforehand.

Runs in a guest: tests/guest/run --udev 'python3 machine.py NAME...'. ISCSI_GUEST_BLOCK chooses the kind of device."""

import errno
import os
import re
import resource
import signal
import subprocess
import time

from faults import LONG, TARGET, Access, Faults, left_behind, pattern
from guest import MIB, Disk, check, need, scenarios


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
        _other_session_keeps_out(guest, other, path)
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
        check(not left_behind(), f"left behind: {left_behind()}")


def _other_session_keeps_out(guest, target, path):
    """A login in between has a number and a file of its own: `path` is all that is known of a device that waits."""
    with open(path, encoding="utf-8") as file:
        damaged = file.read()
    numbers = set(os.listdir("/run/iscsid/sessions"))
    answer = guest.login(target, ok=None)
    with open(path, encoding="utf-8") as file:
        check(file.read() == damaged, "a login has overwritten the file of a session that could not be read")
    print(f"a login beside it: {answer.status}, {sorted(set(os.listdir('/run/iscsid/sessions')) - numbers)}", flush=True)
    if answer.status == 0:
        # Not Faults.logout: udev looks at the device that waits, and waits as well.
        guest.adm("-m", "node", "-T", target, "-u")
        check(set(os.listdir("/run/iscsid/sessions")) == numbers, "a logout took another session's file along")


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
        before = left_behind()
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
            left = {name for name in set(left_behind()) - set(before) if not name.startswith("/run/iscsid/sessions/")}
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
        check(not left_behind(), f"left behind: {left_behind()}")
        guest.check_no_errors(mark)


# Memory


def _status(process, name):
    with open(f"/proc/{process}/status", encoding="ascii") as file:
        return next(line.split()[1] for line in file if line.startswith(f"{name}:"))


def memory_is_protected():
    """Of every thread: what the kernel shows of mlockall, PR_SET_IO_FLUSHER, the OOM killer and core dumps; and no core
    dump, with keys and data of users in it, however the limits are changed."""
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
                _crashes_without_a_core(guest)
                guest.iscsid()
                guest.logged_in(1)
        guest.logout()


def _crashes_without_a_core(guest):
    """PR_SET_DUMPABLE shows in nothing else: to root, all of /proc is open either way."""
    with open("/proc/sys/kernel/core_pattern", "w", encoding="ascii") as file:
        file.write(f"{guest.root}/core-%p\n")
    another = subprocess.Popen(["sleep", "60"])
    for process in (another, guest.daemon):
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    another.send_signal(signal.SIGSEGV)
    another.wait(30)
    check(os.path.exists(f"{guest.root}/core-{another.pid}"), "nothing leaves a core dump here: this shows nothing")
    guest.crash_daemon()
    cores = [name for name in os.listdir(guest.root) if name.startswith("core-")]
    check(cores == [f"core-{another.pid}"], f"the daemon left a core dump: {cores}")


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
