"""The laboratory inside a guest: the daemon has the real /etc/iscsi, /run and /dev, LIO and the block layer are at hand.

    def a_scenario():
        with Guest() as guest:
            lio = guest.lio()
            lio.add(IQN, [Disk(size=64 * MIB)])
            guest.start_daemon()
            guest.discover(lio.portal)
            guest.login()
            guest.fio_verify(guest.device(IQN, 0, lio.portal), seconds=5).wait()

    scenarios(globals())   # `file.py NAME...` runs the functions NAME; in a guest: tests/guest/run 'python3 FILE NAME'

Everything of ../interop/lab.py works here too. Nothing waits for ever: limits are multiplied by ISCSI_PATIENCE.
"""

import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TREE, "tests", "interop"))

from lab import BUILD, INITIATOR, MIB, PATIENCE, Lab, check, listener_of, main, need, wait_until  # noqa: E402,F401  pylint: disable=C0413
from lio import Disk, Lio  # noqa: E402,F401  pylint: disable=C0413
from targets import Chap, Lun, chap_settings  # noqa: E402,F401  pylint: disable=C0413

KERNEL = os.environ.get("ISCSI_GUEST_KERNEL", "")
BLOCK = os.environ.get("ISCSI_GUEST_BLOCK", "auto")  # iscsid.block of the daemons here
SOCKET = "/run/iscsid/control.sock"
DEATH_USUAL, DEATH_MAX = 5, 60  # seconds, of a daemon that was told to end or killed
# What the kernel says when I/O that somebody relied on is lost.
LOST_IO = re.compile(r"I/O error|lost (async|sync) page write|critical (target|space|medium|nexus) error|"
                     r"EXT4-fs (error|warning)|JBD2: (Error|I/O)|Aborting journal|XFS .*(error|[Cc]orrupt|[Ss]hut)")
OF_DEVICE = re.compile(r"\bdev ((?:ublkb|nbd)\d+),")


class Guest(Lab):
    block = BLOCK

    def __enter__(self):
        check(os.path.isdir("/run/guest"), "this must run in a guest: see tests/guest/run")
        super().__enter__()
        shutil.rmtree(self.data)
        self.data = tempfile.mkdtemp(dir="/dev/shm")  # the overlay is memory as well, but of another kind
        self.etc = "/etc/iscsi"
        for entry in os.scandir(self.etc):  # what a lab before this one has left
            shutil.rmtree(entry.path) if entry.is_dir() else os.unlink(entry.path)
        self.env.pop("ISCSI_ROOT")
        with open(f"{self.etc}/initiatorname.iscsi", "w", encoding="ascii") as file:
            file.write(f"InitiatorName={INITIATOR}\n")
        self.configure({})
        self.marks = 0
        self.daemon = None
        return self

    # Targets

    def lio(self):
        return Lio(self)

    # The daemon

    def launch(self, *options, program=None, **more):
        """Starts the daemon (this build's, or another file) and does not wait."""
        self.daemon = self.start("iscsid", [program or self.program("iscsid"), "-f", *options], **more)
        return self.daemon

    def iscsid(self, *options, **more):
        """Starts the daemon and waits until it answers."""
        process = self.launch(*options, **more)

        def listens():
            check(process.poll() is None, f"iscsid ended at its start with {process.returncode}")
            return listener_of(SOCKET) == process.pid

        wait_until(listens, 30, "iscsid to listen")
        with open(f"/proc/{process.pid}/attr/apparmor/current", encoding="ascii") as file:
            label = file.read().strip()
        check(label == "iscsid (enforce)", f"iscsid runs under AppArmor's label {label}")
        return process

    start_daemon = iscsid

    def shows_its_waits(self, process):
        """For a person to see where a daemon stands that does not end soon."""

    def kill_daemon(self):
        """SIGKILL, as a crash would do it."""
        self._end_daemon(signal.SIGKILL)

    def stop_daemon(self):
        """SIGTERM, as a restart of the service does it."""
        self._end_daemon(signal.SIGTERM)
        check(self.daemon.returncode == 0, f"iscsid ended with {self.daemon.returncode} on SIGTERM")

    def _end_daemon(self, number):
        process = self.daemon
        check(process.poll() is None, f"iscsid had ended by itself with {process.returncode}")
        process.send_signal(number)
        try:
            process.wait(DEATH_USUAL * PATIENCE)
        except subprocess.TimeoutExpired:
            self.shows_its_waits(process)
            process.wait(DEATH_MAX * PATIENCE)
        self.processes = [(n, p) for n, p in self.processes if p is not process]

    def logged_in(self, number):
        """Waits until `number` sessions are there and logged in."""

        def all_in():
            text = self.adm("-m", "session", "-P", "1", ok=None, quiet=True).out
            return text.count("iSCSI Connection State: LOGGED IN") == number

        wait_until(all_in, 60, f"{number} sessions to be logged in")

    # Devices

    @staticmethod
    def by_path(target, lun, portal):
        return f"/dev/disk/by-path/ip-{portal}-iscsi-{target}-lun-{lun}"

    def device(self, target, lun, portal):
        """The block device of a LUN, by the link that udev makes for it."""
        link = self.by_path(target, lun, portal)
        check(os.path.exists(link), f"there is no {link}")
        return os.path.realpath(link)

    @property
    def backend(self):
        """The backend that the daemon is expected to use."""
        if self.block != "auto":
            return self.block
        return "nbd" if KERNEL == "6.1" else "ublk"

    def udev_properties(self, device):
        lines = self.run("udevadm", "info", "-q", "property", "-n", device, quiet=True).out.splitlines()
        return dict(line.split("=", 1) for line in lines)

    @staticmethod
    def block_nodes():
        """All that there is of block devices now: their nodes, and the links in /dev/disk with what they point at."""
        found = {f"/dev/{name}" for name in os.listdir("/dev") if name.startswith(("ublk", "nbd", "dm-"))}
        found |= {f"/sys/block/{name}" for name in os.listdir("/sys/block")}
        for folder, _, names in os.walk("/dev/disk"):
            for name in names:
                try:
                    found.add(f"{folder}/{name} -> {os.path.basename(os.readlink(f'{folder}/{name}'))}")
                except FileNotFoundError:
                    pass  # on its way out
        return found

    @staticmethod
    def links_to(device):
        """The links in /dev/disk that point at the device now."""
        name = os.path.basename(device)
        return {link.split(" -> ")[0] for link in Guest.block_nodes() if link.endswith(f" -> {name}")}

    def wait_for(self, path, seconds=20):
        wait_until(lambda: os.path.exists(path), seconds, f"{path} to appear")

    def wait_gone(self, path, seconds=20):
        wait_until(lambda: not os.path.lexists(path), seconds, f"{path} to go away")

    def size_of(self, device):
        return int(self.run("blockdev", "--getsize64", device, quiet=True).out)

    # I/O

    def fio_verify(self, device, **options):
        """Starts writes that are read back and compared, and returns at once: see Fio."""
        return Fio(self, device, **options)

    def mkfs(self, kind, device, *options):
        self.run(f"mkfs.{kind}", "-q", *(["-F"] if kind.startswith("ext") else ["-f"]), *options, device)

    def mount(self, device, *options):
        """Mounts on a folder of its own and returns that; unmounted at the latest when the lab is left."""
        place = tempfile.mkdtemp(prefix="mount-", dir=self.root)
        self.run("mount", *options, device, place)
        self.undo.append(lambda: self.unmount(place) if os.path.ismount(place) else None)
        return place

    def unmount(self, place):
        self.run("umount", place)

    def fsck(self, kind, device):
        """Changes nothing; whatever it would repair is a failure."""
        self.run(*(["xfs_repair", "-n"] if kind == "xfs" else ["e2fsck", "-f", "-n"]), device)

    # The kernel's messages

    def mark(self):
        """A place in the kernel's messages, for dmesg()."""
        self.marks += 1
        text = f"guest: mark {os.getpid()}-{self.marks}"
        with open("/dev/kmsg", "w", encoding="ascii") as file:
            file.write(f"<6>{text}\n")
        return text

    def dmesg(self, since=None):
        lines = self.run("dmesg", quiet=True).out.splitlines()
        if since:
            places = [number for number, line in enumerate(lines) if line.endswith(since)]
            check(places, f"the kernel has forgotten '{since}'")
            lines = lines[places[-1] + 1:]  # scenarios of one program count from 1 again
        return lines

    def dmesg_errors(self, since=None):
        """Messages about I/O that failed or was lost."""
        return [line for line in self.dmesg(since) if LOST_IO.search(line)]

    def check_no_errors(self, since=None, devices=None):
        """devices: errors of others are not counted."""
        lines = self.dmesg_errors(since)
        if devices is not None:
            names = {os.path.basename(device) for device in devices}
            lines = [line for line in lines if not (found := OF_DEVICE.search(line)) or found.group(1) in names]
        check(not lines, "the kernel lost I/O:\n" + "\n".join(lines[:20]))


class Fio:
    """fio in the background. Every block that was written is read back and compared, soon after (`backlog` blocks)
    and, without `seconds`, all of them again at the end."""

    def __init__(self, guest, device, seconds=None, size="100%", depth=32, blocks="4k-64k", backlog=64, extra=()):
        need("fio")
        self.guest, self.seconds = guest, seconds
        timing = ["--time_based", f"--runtime={seconds}"] if seconds else []
        self.name = f"fio-{os.path.basename(device)}-{len(guest.processes)}"
        self.process = guest.start(self.name, [
            "fio", "--name=verify", f"--filename={device}", "--ioengine=libaio", "--direct=1", "--rw=randwrite",
            f"--bsrange={blocks}", f"--iodepth={depth}", f"--size={size}", "--serialize_overlap=1", "--verify=crc32c",
            "--verify_fatal=1", "--do_verify=1", f"--verify_backlog={backlog}", "--verify_state_save=0", *timing, *extra],
            cwd=guest.data)

    def running(self):
        return self.process.poll() is None

    def wait(self, seconds=None):
        """Its end must come in time, and be a good one."""
        limit = seconds or (self.seconds or 0) + 120
        wait_until(lambda: not self.running(), limit, "fio to end")
        if self.process.returncode != 0:
            self.guest.show_logs()
        check(self.process.returncode == 0, f"fio ended with {self.process.returncode}")

    def stop(self, seconds=120):
        """Ends it early, when all was well until now: fio says so with 128."""
        check(self.running(), f"fio ended by itself with {self.process.returncode}")
        self.process.send_signal(signal.SIGINT)
        wait_until(lambda: not self.running(), seconds, "fio to end")
        self.process.expected_end = True
        with open(os.path.join(self.guest.root, f"{self.name}.log"), encoding="utf-8", errors="replace") as file:
            well = self.process.returncode == 128 and "err= 0" in file.read()
        if not well:
            self.guest.show_logs()
        check(well, f"fio was stopped and ended with {self.process.returncode}")


def scenarios(functions):
    """Runs those that the command line names, public functions of the calling file that take nothing, until one fails."""
    known = {name: value for name, value in functions.items()
             if inspect.isfunction(value) and value.__module__ == "__main__" and not name.startswith("_")
             and not inspect.signature(value).parameters}
    if not sys.argv[1:] or not set(sys.argv[1:]) <= set(known):
        print(f"usage: {os.path.basename(sys.argv[0])} NAME...\nNAME is one of: {' '.join(known)}", file=sys.stderr)
        sys.exit(2)
    for name in sys.argv[1:]:
        print(f"== {name}", flush=True)
        begun = time.monotonic()
        main(known[name])
        print(f"== {name} took {time.monotonic() - begun:.0f} s", flush=True)
