#!/usr/bin/env python3
"""What a machine can lack: a /run that is damaged or full, memory. What the daemon does beforehand. And clocks that jump,
pages that change while they are written.

Runs in a guest: tests/guest/run --udev 'python3 machine.py NAME...'. ISCSI_GUEST_BLOCK chooses the kind of device."""

import errno
import glob
import mmap
import os
import random
import re
import resource
import signal
import subprocess
import threading
import time

from faults import DIRECT, LONG, TARGET, Access, Faults, left_behind, pattern
from guest import MIB, PATIENCE, Disk, check, need, scenarios, wait_until


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


class Writer(threading.Thread):
    """Writes a file all over through the page cache, a MiB at a time, and knows what is where. Each is full of one number,
    which a zram keeps without memory."""

    def __init__(self, path, mibs):
        super().__init__(daemon=True)
        self.path, self.numbers, self.written, self.stop, self.error = path, [0] * mibs, 0, False, None

    @staticmethod
    def content(number):
        return number.to_bytes(8, "little") * (MIB // 8)

    def run(self):
        chance = random.Random(1)
        try:
            with open(self.path, "w+b", buffering=0) as file:
                while not self.stop:
                    place = self.written if self.written < len(self.numbers) else chance.randrange(len(self.numbers))
                    self.written += 1
                    os.pwrite(file.fileno(), self.content(self.written), place * MIB)
                    self.numbers[place] = self.written
                    if self.written % 200 == 0:
                        os.fdatasync(file.fileno())
                os.fsync(file.fileno())
        except OSError as error:
            self.error = error

    def verify(self, path):
        with open(path, "rb", buffering=0) as file:
            for place, number in enumerate(self.numbers):
                file.seek(place * MIB)
                check(not number or file.read(MIB) == self.content(number), f"MiB {place} is not what was written there")


def _set(path, value):
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{value}\n")


def _memory(name):
    """MiB of it, as the kernel counts."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{name}:")) // 1024


def memory_pressure():
    """A machine with less memory than is written, most of it dirty pages which can only go through the daemon; and its
    session is dropped again and again meanwhile. ISCSI_SECONDS: how long."""
    size, most, between = 1024, 700, 7  # MiB, MiB, seconds
    seconds = float(os.environ.get("ISCSI_SECONDS", "60"))
    with Faults() as guest:
        total = _memory("MemTotal")
        check(total < 256, f"this machine has {total} MiB of memory: that is no pressure")
        for name, value in {"vm/dirty_ratio": 60, "vm/dirty_background_ratio": 50, "kernel/hung_task_timeout_secs": 40}.items():
            _set(f"/proc/sys/{name}", value)
        guest.run("modprobe", "zram", "num_devices=1")
        _set("/sys/block/zram0/disksize", f"{size}M")
        lio = guest.served([Disk(path="/dev/zram0")])
        device, mark = guest.lun(0), guest.mark()
        guest.mkfs("ext4", device)
        place = guest.mount(device)
        writer, drops = Writer(f"{place}/file", most), 0
        writer.start()
        dirty, end = 0, time.monotonic() + seconds
        while time.monotonic() < end and not writer.error:
            for _ in range(between * 4):
                time.sleep(0.25)
                dirty = max(dirty, _memory("Dirty") + _memory("Writeback"))
            lio.drop_sessions(TARGET)
            drops += 1
            guest.wait_log(" is back after ", drops, seconds=20)
            before = writer.written
            wait_until(lambda b=before: writer.error or writer.written > b, 30, "the writer to go on")
        writer.stop = True
        writer.join(60 * PATIENCE)
        check(not writer.is_alive() and not writer.error, f"the writer: {writer.error or 'does not end'}")
        resident = int(_status(guest.daemon.pid, "VmRSS")) // 1024
        print(f"{writer.written} MiB in {seconds:.0f} s on {total} MiB of memory, {dirty} of them dirty at most, {drops} "
              f"drops; the daemon has {resident} MiB", flush=True)
        check(resident < total // 3, f"the daemon has {resident} MiB")
        check(writer.written > total and dirty > total // 8, f"{writer.written} MiB, {dirty} dirty: that is no pressure")
        guest.unmount(place)
        place = guest.mount(device)
        writer.verify(f"{place}/file")
        guest.unmount(place)
        guest.fsck("ext4", device)
        check(guest.daemon.poll() is None, "the daemon has ended")
        said = [line for line in guest.dmesg(mark) if re.search("Out of memory|oom-kill|page allocation failure", line)]
        check(not said, f"the kernel had no memory: {said[:3]}")
        guest.check_no_errors(mark)
        guest.logout()


# Clocks


def _jump(days):
    time.clock_settime(time.CLOCK_REALTIME, time.time() + days * 86400)


def clock_jumps():
    """The wall clock jumps by days, there and back, and the daemon stands still for a while, as it does in a machine that
    sleeps (from a sleep none of these guests wakes): a load goes on, and who waits for a target that is away waits as long
    as was configured."""
    limit, still = 8, 5  # seconds
    with Faults() as guest:
        disk, mark = Disk(path=guest.disk("disk", 32 * MIB)), guest.mark()
        lio = guest.served([disk], **{"timeo.replacement_timeout": limit})
        device, oracle = guest.lun(0), guest.oracle(guest.lun(0))
        oracle.fill()
        oracle.go()
        for days in (1, -2, 1):
            _jump(days)
            oracle.goes_on()
            time.sleep(2)
        check(" lost: " not in guest.log(), "a session was lost when the clock jumped")
        guest.daemon.send_signal(signal.SIGSTOP)
        time.sleep(still)
        guest.daemon.send_signal(signal.SIGCONT)
        oracle.goes_on()
        oracle.settle(disk.path)
        guest.end(oracle.process)
        guest.check_no_errors(mark)
        for days in (1, -1):
            lio.enable(TARGET, False)
            guest.wait_log(" lost: ")
            waiting = Access(device, write=pattern(1))
            time.sleep(1)
            _jump(days)
            waiting.ended(60, "a write to fail")
            check(waiting.error and limit - 2 < waiting.seconds < limit + 4,
                  f"with a jump of {days} days, error {waiting.error} came after {waiting.seconds:.1f} s")
            lio.enable(TARGET)
            guest.logged_in(1)
            Access(device, write=pattern(2)).well(20, "a write after the return")
            os.unlink(f"{guest.root}/iscsid.log")
            guest.kill_daemon()
            guest.iscsid()
            guest.logged_in(1)
        guest.logout()


# Pages


def pages_change():
    """Somebody goes on writing to the pages that are being written to a disk. What arrives is anything, but its digest is
    right: no connection is lost for it."""
    size, wanted = 256 * 1024, 100  # bytes; writes whose pages did change
    with Faults() as guest:
        lio = guest.lio()
        lio.add(TARGET, [Disk(path=guest.disk("disk", 32 * MIB))])
        guest.iscsid()
        guest.discover(lio.portal)
        guest.update(TARGET, {f"node.conn[0].iscsi.{which}Digest": "CRC32C" for which in ("Header", "Data")})
        guest.login()
        text = guest.adm("-m", "session", "-P", "2", quiet=True).out
        check("DataDigest: CRC32C" in text, "data digests were not agreed upon")
        buffer = mmap.mmap(-1, size)
        scribbler = os.fork()
        if scribbler == 0:
            while True:
                for number in range(256):
                    buffer[:] = bytes([number]) * size
        guest.undo.append(lambda: (os.kill(scribbler, signal.SIGKILL), os.waitpid(scribbler, 0)))
        fd, chance = os.open(guest.lun(0), os.O_RDWR | DIRECT), random.Random(1)
        writes, torn, end = 0, 0, time.monotonic() + 60 * PATIENCE
        found = mmap.mmap(-1, size)
        while torn < wanted:
            check(time.monotonic() < end, f"{writes} writes, and the pages of {torn} changed: this shows nothing")
            length, place = chance.choice((4096, 65536, size)), chance.randrange(32) * MIB // 2
            check(os.pwritev(fd, [memoryview(buffer)[:length]], place) == length, "a short write")
            os.preadv(fd, [memoryview(found)[:length]], place)
            torn += len(set(found[:length])) > 1
            writes += 1
        os.close(fd)
        print(f"{writes} writes, of {torn} the pages changed on their way", flush=True)
        check(" lost: " not in guest.log(), "a connection was lost")
        [counter] = glob.glob(f"/sys/kernel/config/target/iscsi/{TARGET}/fabric_statistics/iscsi_sess_err/digest_errors")
        with open(counter, encoding="ascii") as file:
            errors = int(file.read())
        check(errors == 0, f"the target found {errors} digests that were wrong")
        guest.logout()


if __name__ == "__main__":
    scenarios(globals())
