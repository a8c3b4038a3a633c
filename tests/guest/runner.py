#!/usr/bin/env python3
"""tests/guest/run keeps its promises: what it passes on, what it says when a guest goes wrong, what it leaves behind.

Runs on the host. Arguments: the build directory, the kernel and names of functions of this file (none: all of them).
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RUN = os.path.join(HERE, "run")
BUILD = KERNEL = ""


class Scratch:
    """A folder that holds all that a runner makes; a runner must leave it as empty as it was."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="iscsi-runner-", dir="/tmp")
        self.temporary = os.path.join(self.path, "tmp")
        os.mkdir(self.temporary)
        return self

    def __exit__(self, kind, *_):
        left = os.listdir(self.temporary)
        shutil.rmtree(self.path)
        assert kind is not None or not left, f"the runner left {left}"

    def start(self, *arguments, **env):
        return subprocess.Popen([RUN, "-b", BUILD, "-k", KERNEL, "-c", "1", *arguments],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env={**os.environ, "TMPDIR": self.temporary, **env})

    def run(self, *arguments, **env):
        process = self.start(*arguments, **env)
        out, err = (text.decode() for text in process.communicate(timeout=300))
        print(f"$ run {shlex.join(arguments)}\n{out}{err}-> {process.returncode}", flush=True)
        return process.returncode, out, err


def processes_with(text):
    """The ids of processes that have the text in their command line."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                if text.encode() in file.read():
                    found.append(int(entry))
        except OSError:
            pass  # it has ended
    return found


def wait_until(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"gave up after {seconds} s waiting for {what}"
        time.sleep(0.1)


def passes_on():
    """Output, exit status, folders and environment; nothing of the host's configuration; and no write to the host."""
    with Scratch() as scratch:
        shared = os.path.join(scratch.path, "a shared, folder")
        os.mkdir(shared)
        status, out, _ = scratch.run("-o", shared, "-m", "1024", "-c", "2", f"""
            set -u
            echo "nproc $(nproc), build $ISCSI_BUILD, $(command -v iscsid)"
            read -r line || echo "no input"
            find /etc/iscsi /var/lib/iscsi /run/iscsid ~ -mindepth 1 2>/dev/null; echo "listed"
            echo shared >"$ISCSI_GUEST_OUT/file"
            echo lost >{shlex.quote(scratch.path)}/lost
            printf 'a\\r\\nb\\001\\n'
            exit 7""")
        assert status == 7, f"exit status {status}"
        assert f"nproc 2, build {BUILD}, {BUILD}/iscsid\n" in out, "processors or build"
        assert "no input\n" in out, "standard input is not closed"
        assert "no input\nlisted\n" in out, "the guest has the host's files"
        assert "a\r\nb\001\n" in out, "the output is not passed on as it is"
        with open(os.path.join(shared, "file"), encoding="ascii") as file:
            assert file.read() == "shared\n", "the shared folder"
        assert not os.path.exists(os.path.join(scratch.path, "lost")), "a write came through to the host"


def crash():
    with Scratch() as scratch:
        status, _, err = scratch.run("echo c >/proc/sysrq-trigger; sleep 30")
        assert status == 125, f"exit status {status}"
        assert "sysrq triggered crash" in err, "the kernel's last messages are not shown"
        assert "Kernel panic" in err.split("\n...\n")[0], "the kernel's first complaint is not shown"


def emulator():
    """A crash that is the emulator's is tried again, but not for ever."""
    crash_of_it = "echo '<0>Oops: int3: 0000 [#1] PREEMPT SMP' >/dev/kmsg; echo c >/proc/sysrq-trigger; sleep 30"
    with Scratch() as scratch:
        out = os.path.join(scratch.path, "out")
        os.mkdir(out)
        script = f"test -e {out}/first && exit 3; touch {out}/first; sync; {crash_of_it}"
        status, _, err = scratch.run("-o", out, script)
        assert status == 3 and "(int3); " in err, f"exit status {status}"
        status, _, err = scratch.run(crash_of_it)
        assert status == 125 and err.count("(int3); ") == 2, f"exit status {status}"


def frozen():
    """A guest in which nothing runs any more is tried once more."""
    freeze = "kill -STOP $(cat /run/heart); sleep 200"
    with Scratch() as scratch:
        out = os.path.join(scratch.path, "out")
        os.mkdir(out)
        script = f"test -e {out}/first && exit 3; touch {out}/first; sync; {freeze}"
        status, _, err = scratch.run("-o", out, script, ISCSI_GUEST_STILL="12")
        assert status == 3 and err.count("nothing ran in it any more") == 1, f"exit status {status}"
        assert "RIP" in err, "where its processors are"
        status, _, err = scratch.run(freeze, ISCSI_GUEST_STILL="12")
        assert status == 125 and err.count("nothing ran in it any more") == 2, f"exit status {status}"


def complaint():
    """Whatever the command said: what the kernel says counts."""
    warning = ("------------[ cut here ]------------", "WARNING: CPU: 0 PID: 1 at {0}.c:1 {0}_x+0x1/0x2 [{0}]",
               "Modules linked in: nbd", "---[ end trace 0 ]---")
    bad = ["BUG: unable to handle page fault for address: 0", "INFO: task fio:12 blocked for more than 120 seconds."]
    bad += ['audit: type=1400 audit(1.2:3): apparmor="DENIED" operation="open" profile="iscsid" name="/x"']
    bad += [line.format("ublk_drv") for line in warning[1:]]
    for lines, wanted in ((bad, 124), ([line.format("fuse") for line in warning], 0)):
        with Scratch() as scratch:
            status, _, err = scratch.run("; ".join(f"echo {shlex.quote('<4>' + line)} >/dev/kmsg" for line in lines))
            assert status == wanted, f"exit status {status}"
            missed = [line for line in lines if line not in err]
            assert missed == ([] if wanted else lines), f"the excerpt, without {missed}"


def too_long():
    with Scratch() as scratch:
        begun = time.monotonic()
        status, _, err = scratch.run("-t", "20", "echo started; sleep 200")
        assert status == 125 and "stopped after 20 s" in err, f"exit status {status}"
        assert time.monotonic() - begun < 60, "it was not stopped in time"


def interrupted():
    """Nothing that a runner started outlives it, however it ends."""
    for number, wanted in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)):
        with Scratch() as scratch:
            process = scratch.start("echo started; sleep 200")
            assert process.stdout.readline() == b"started\n", "the guest did not start"
            assert processes_with(scratch.temporary), "no qemu is seen"
            process.send_signal(number)
            process.communicate(timeout=30)
            assert process.returncode == wanted, f"exit status {process.returncode} after {number}"
            wait_until(lambda: not processes_with(scratch.temporary), 20, "qemu to end")  # pylint: disable=W0640
            if number == signal.SIGKILL:
                shutil.rmtree(scratch.temporary)  # nobody was left to do it
                os.mkdir(scratch.temporary)


def cannot_start():
    """A qemu that fails is tried twice; what is missing is named."""
    with Scratch() as scratch:
        fake = os.path.join(scratch.path, "qemu-system-x86_64")
        with open(fake, "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh\necho boot >>{scratch.path}/boots\nexit 1\n")
        os.chmod(fake, 0o755)
        status, _, err = scratch.run("true", PATH=f"{scratch.path}:{os.environ['PATH']}")
        assert status == 125 and "once more" in err, f"exit status {status}"
        with open(f"{scratch.path}/boots", encoding="ascii") as file:
            assert file.read() == "boot\nboot\n", "it was not tried twice"
        status, _, err = scratch.run("-k", "9.9", "true")
        assert status == 125 and "no kernel '9.9'" in err, f"exit status {status}"
        status, _, err = scratch.run("-o", "/dev/shm", "true")
        assert status == 125 and "not visible" in err, f"exit status {status}"


def counted():
    """A guest's time is its instructions: the same work takes the same, and who sleeps has slept at once."""
    busy = "busy() { local begin=${EPOCHREALTIME/./} i; for ((i = 0; i < 50000; i++)); do :; done; " \
           "echo $((${EPOCHREALTIME/./} - begin)); }"
    with Scratch() as scratch:
        status, out, _ = scratch.run("--count", f"{busy}; busy >/dev/null; busy; busy; busy; sleep 3600; nproc")
        *times, processors = map(int, out.split())
        assert status == 0 and processors == 1 and len(times) == 3, f"exit status {status}: {out}"
        assert 50_000 < min(times) and max(times) < 1.01 * min(times), f"microseconds: {times}"


def test(names):
    known = [passes_on, crash, emulator, frozen, complaint, too_long, interrupted, cannot_start, counted]
    for function in known:
        if not names or function.__name__ in names:
            print(f"== {function.__name__}", flush=True)
            function()


BUILD, KERNEL = os.path.realpath(sys.argv[1]), sys.argv[2]
test(sys.argv[3:])
print("passed")
