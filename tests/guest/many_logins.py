#!/usr/bin/env python3
"""A login to many targets at once, all of one process of tgtd, from one set of records: first Debian's open-iscsi (its
iscsiadm, its iscsid and the kernel's iscsi_tcp), then ours. All sessions and all disks have to be in for both, and out
again. What it took is printed, and nobody judges it: the guest's processors are emulated.

Run on the machine it enters a guest. By hand, with more targets, that many seconds and so much memory:

    ISCSI_BUILD=$PWD/build/release python3 tests/guest/many_logins.py [TARGETS [SECONDS [MIB]]]
"""

import os
import re
import resource
import shlex
import subprocess
import sys
import time

from guest import BUILD, MIB, TREE, Guest, check, main, wait_until
from discovery import bare_connects

TARGET = "iqn.2026-01.org.example:disk"
TARGETS, SECONDS, MEMORY = 32, 600, 2048
BY_PATH = "/dev/disk/by-path"
TICKS = os.sysconf("SC_CLK_TCK")


def _cpu_of(process):
    """Seconds that it took so far, with the children that it has waited for."""
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
        return sum(int(word) for word in file.read().rpartition(")")[2].split()[11:15]) / TICKS


def _cpu_of_the_guest():
    """Seconds that its processors were not idle: ticks are lost on a busy machine, and idle time is measured as the time of
    a process is."""
    with open("/proc/stat", encoding="ascii") as file:
        idle, waiting = (int(word) for word in file.readline().split()[4:6])
    return time.monotonic() * os.cpu_count() - (idle + waiting) / TICKS


def _cpu_of_commands():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _disks():
    """The names of our targets' disks by their paths."""
    names = os.listdir(BY_PATH) if os.path.isdir(BY_PATH) else []
    return {name for name in names if re.fullmatch(f"ip-.*-iscsi-{re.escape(TARGET)}-[0-9]+-lun-1", name)}


class Initiator:
    """A daemon and its iscsiadm."""

    limit = 120  # seconds, for anything

    def __init__(self, guest, whose, iscsiadm, env):
        self.guest, self.whose, self.iscsiadm, self.env, self.daemon = guest, whose, iscsiadm, env, None

    def adm(self, *words, **options):
        return self.guest.run(self.iscsiadm, *words, env=self.env, quiet=True, seconds=self.limit, **options)

    def stop(self):
        self.adm("-k", "0")
        wait_until(lambda: self.daemon.poll() is not None, 60, f"{self.whose} iscsid to end")

    def log_in(self, tgtd, count):
        """A line about what it took."""
        begun = time.monotonic()
        guest, target, own = _cpu_of_the_guest(), _cpu_of(tgtd.process), _cpu_of(self.daemon) + _cpu_of_commands()
        done = self.adm("-m", "node", "-L", "all")
        answered = time.monotonic() - begun
        wait_until(lambda: len(_disks()) >= count, self.limit, f"{self.whose} disks")
        self.seconds = time.monotonic() - begun
        self.cpu = _cpu_of(self.daemon) + _cpu_of_commands() - own
        target = _cpu_of(tgtd.process) - target
        self.cpu_of_all = _cpu_of_the_guest() - guest - target
        check(done.out.count("] successful.") == count, f"{self.whose} iscsiadm: {done.out}")
        sessions = self.adm("-m", "session").out.splitlines()
        check(len(sessions) == count, f"{self.whose} sessions: {len(sessions)}")
        wanted = {f"ip-{tgtd.portal}-iscsi-{name}-lun-1" for name in tgtd.targets}
        check(_disks() == wanted, f"{self.whose} disks: {_disks() ^ wanted}")
        check(len({os.path.realpath(f"{BY_PATH}/{name}") for name in wanted}) == count, "names of the same disk")
        return (f"{self.whose}: {self.seconds:.1f} s until all disks had their names, iscsiadm returned after {answered:.1f} s; "
                f"CPU: {self.cpu:.1f} s of iscsid and iscsiadm, {self.cpu_of_all:.1f} s of all but tgtd, {target:.1f} s of tgtd")

    def log_out(self, tgtd):
        self.adm("-m", "node", "-U", "all")
        wait_until(lambda: not _disks(), self.limit, f"{self.whose} disks to go")
        check("No active sessions" in self.adm("-m", "session", ok=21).err, f"{self.whose} sessions are left")
        wait_until(lambda: "Initiator:" not in tgtd.admin("--op", "show", "--mode", "target").out, self.limit,
                   "tgtd to see it")


class Debians(Initiator):
    def __init__(self, guest):
        self.place = os.environ["ISCSI_ORACLE"]
        super().__init__(guest, "Debian's", f"{self.place}/sbin/iscsiadm",
                         {"LD_LIBRARY_PATH": f"{self.place}/usr/lib/x86_64-linux-gnu"})

    def start(self):
        with open(f"{self.guest.etc}/iscsid.conf", "w", encoding="ascii"):
            pass  # which has keys of ours
        self.guest.run("modprobe", "-a", "iscsi_tcp", "sd_mod", quiet=True)
        # When it is told to end it sends that to all of its process group.
        self.daemon = self.guest.start("debians", [f"{self.place}/sbin/iscsid", "-f"], env=self.env, start_new_session=True)

        def listens():
            with open("/proc/net/unix", encoding="ascii") as file:
                return "@ISCSIADM_ABSTRACT_NAMESPACE" in file.read()

        wait_until(listens, 30, "Debian's iscsid to listen")


class Ours(Initiator):
    def __init__(self, guest):
        super().__init__(guest, "ours", guest.program("iscsiadm"), {})

    def start(self):
        self.guest.configure({})
        self.guest.run("modprobe", "ublk_drv", "ublks_max=4096", quiet=True)  # its own limit is 64
        self.daemon = self.guest.start_daemon()


def many_logins(count):
    resource.setrlimit(resource.RLIMIT_NOFILE, (65536, 65536))  # a login that waits is a socket of Debian's iscsiadm
    Initiator.limit = max(Initiator.limit, 4 * count)
    with Guest() as guest:
        tgtd = guest.tgtd(threads=1)
        tgtd.add_all([f"{TARGET}-{number}" for number in range(1, count + 1)], guest.disk("disk", MIB))
        initiators = [Debians(guest), Ours(guest)]
        for initiator in initiators:
            initiator.start()
            if initiator is initiators[0]:
                found = initiator.adm("-m", "discovery", "-t", "st", "-p", tgtd.portal)
                check(len(found.out.splitlines()) == count, f"found: {found.out}")
            first = ("-m", "node", "-T", f"{TARGET}-1")  # once before, for all that is loaded or read only once
            initiator.adm(*first, "-l")
            wait_until(_disks, 60, "a disk")
            initiator.adm(*first, "-u")
            wait_until(lambda: not _disks(), 60, "the disk to go")
            print(initiator.log_in(tgtd, count), flush=True)
            initiator.log_out(tgtd)
            initiator.stop()
        theirs, ours = initiators
        print(f"{count} logins, ours : Debian's = {ours.seconds / theirs.seconds:.2f} in time, {ours.cpu / theirs.cpu:.2f} in "
              f"CPU of iscsid and iscsiadm, {ours.cpu_of_all / theirs.cpu_of_all:.2f} of all but tgtd; as many bare "
              f"connections: {bare_connects(tgtd.port, count):.2f} s")


def enter_a_guest(count, seconds, memory):
    debians = subprocess.run([f"{TREE}/tests/oracle/fetch"], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    command = f"ISCSI_ORACLE={shlex.quote(debians)} python3 -B {shlex.quote(os.path.abspath(__file__))} {count}"
    os.execv(f"{TREE}/tests/guest/run", ["run", "-k", "6.12", "-b", BUILD, "-t", str(seconds), "-m", str(memory), "--udev", "--",
                                         command])


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    if os.path.isdir("/run/guest"):
        main(lambda: many_logins(*numbers))
    else:
        enter_a_guest(*numbers, *(TARGETS, SECONDS, MEMORY)[len(numbers):])
