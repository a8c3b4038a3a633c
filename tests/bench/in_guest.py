"""The guest's part of tests/bench/guest and counts: drives one path to the null target after the other, and prints a line
of JSON for each measurement.

An instruction is a nanosecond of time here, so how long a run took is how many instructions the whole system executed; what
the kernel says of a process's time on the processor is that process's share, its system calls included.
"""

import argparse
import contextlib
import glob
import json
import os
import re
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

from counters import ALLOCATIONS, SYSTEM_CALLS, Counter, add_allocation_probes  # noqa: E402  pylint: disable=C0413
from guest import Guest, check, main, wait_until  # noqa: E402  pylint: disable=C0413

TARGET = "iqn.2026-01.bench:null"
PORT = 3260
PORTAL = f"127.0.0.1:{PORT}"
KIB = 1 << 10
# Enough of each size that a millisecond, which is what fio tells, is not more than some 0.2 % of it.
IOS = {4: 30000, 64: 5000, 1024: 500}
IOS_AT_DEPTH_1 = {4: 9000, 64: 4000, 1024: 400}
COUNTED_IOS = {4: 4000, 64: 1000, 1024: 100}  # counts need no clock
# The depths that are measured must fit; no figure has a NOP in it.
SETTINGS = {"node.session.cmds_max": 512, "node.session.queue_depth": 256, "node.conn[0].timeo.noop_out_interval": 0,
            "node.conn[0].timeo.noop_out_timeout": 0}
COUNTED = {"syscalls": SYSTEM_CALLS, "allocations": ALLOCATIONS}


def _write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


class Cell:
    """What is measured: "OP-KIB-DEPTH"."""

    def __init__(self, text, arguments):
        self.op, kib, depth = text.split("-")
        self.kib, self.depth = int(kib), int(depth)
        kind = COUNTED_IOS if arguments.count else IOS_AT_DEPTH_1 if self.depth == 1 else IOS
        ios = kind[max((kib for kib in kind if kib <= self.kib), default=4)]
        self.ios = max(2 * self.depth, ios // arguments.divisor)

    def names(self):
        return {"op": self.op, "kib": self.kib, "depth": self.depth}


class Threads:
    """What the kernel knows of a process's threads."""

    def __init__(self, process):
        self.pid = process.pid

    def processor_ns(self):
        return sum(int(text.split()[0]) for text in self._files("schedstat"))

    def switches(self):
        return sum(int(count) for text in self._files("status") for count in re.findall(r"ctxt_switches:\t(\d+)", text))

    def _files(self, name):
        for path in glob.glob(f"/proc/{self.pid}/task/*/{name}"):
            with open(path, encoding="ascii") as file:
                yield file.read()


class Bench(Guest):
    """A guest with the null target."""

    def __enter__(self):
        super().__enter__()
        _write("/proc/sys/kernel/hung_task_timeout_secs", "0")
        # Time flies while the processor waits for the host, which would look like devices and connections that do not
        # answer. So something is always to be done, but while a figure is taken.
        self.busy = self.start("busy", ["chrt", "--idle", "0", "sh", "-c", "while :; do :; done"])
        self.target = self.start("null_target", [self.program("tests/bench/null_target"), "--port", str(PORT),
                                                 "--seconds", "0"])
        wait_until(lambda: "127.0.0.1" in self.log("null_target"), 60, "the null target to listen")
        return self

    @contextlib.contextmanager
    def undisturbed(self):
        """Nothing else runs within."""
        self.busy.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.busy.send_signal(signal.SIGCONT)

    def log(self, name):
        with open(os.path.join(self.root, f"{name}.log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def prepare(self, name):
        """A disk's node, to be used without a scheduler."""
        self.wait_for(f"/dev/{name}", 60)
        _write(f"/sys/block/{name}/queue/scheduler", "none")
        return f"/dev/{name}"


class Device:
    """A block device that fio uses."""

    digests = True
    daemon = None  # ours; what the kernel's initiator does for an I/O no process of its own does

    def __init__(self, bench):
        self.bench = bench
        self.device = None

    def measure(self, cell):
        processes = {"target": Threads(self.bench.target), **({"daemon": self.daemon} if self.daemon else {})}
        before = {name: threads.processor_ns() for name, threads in processes.items()}
        switches = self.daemon.switches() if self.daemon else 0
        ios = cell.ios
        job = self._fio(cell, ios)
        figures = {"kinst": job["runtime"] * 1000 / ios}
        for name, threads in processes.items():
            figures[f"{name}_kinst"] = (threads.processor_ns() - before[name]) / ios / 1000
        if self.daemon:
            figures["switches"] = (self.daemon.switches() - switches) / ios
        return figures

    def count(self, cell):
        figures = {}
        ios = cell.ios
        for name, points in COUNTED.items():
            with Counter(points) as counter:
                counter.watch(self.daemon.pid)
                self._fio(cell, ios)
                figures[name] = counter.read() / ios
        return figures

    def _fio(self, cell, ios):
        order = "rand" if cell.kib < 1024 else ""
        done = self.bench.run(
            "fio", "--name=x", f"--filename={self.device}", "--direct=1", "--ioengine=io_uring", "--gtod_reduce=1",
            "--norandommap", "--randrepeat=1", "--size=1g", "--thread=1", "--output-format=json", f"--rw={order}{cell.op}",
            f"--bs={cell.kib}k", f"--iodepth={cell.depth}", f"--number_ios={ios}", seconds=3600, quiet=True)
        job = json.loads(done.out)["jobs"][0]
        check(job["error"] == 0 and job[cell.op]["total_ios"] == ios, f"fio did {job[cell.op]['total_ios']} I/Os of {ios}")
        return job[cell.op]


class NullBlk(Device):
    """No target at all: fio and the block layer."""

    digests = False

    def up(self, _):
        self.bench.run("modprobe", "null_blk", "nr_devices=1", "queue_mode=2", "irqmode=0")
        self.device = self.bench.prepare("nullb0")

    def down(self):
        self.bench.run("modprobe", "-r", "null_blk")


class Initiator(Device):
    """A daemon and its command; both have the records in /etc/iscsi."""

    environment = {}

    def up(self, digests):
        self.start()
        self.adm("-m", "discovery", "-t", "st", "-p", PORTAL)
        digest = "CRC32C" if digests else "None"
        wanted = {**SETTINGS, "node.conn[0].iscsi.HeaderDigest": digest, "node.conn[0].iscsi.DataDigest": digest}
        self.adm("-m", "node", "-T", TARGET, "-o", "update",
                 *[word for key, value in wanted.items() for word in ("-n", key, "-v", str(value))])
        self.adm("-m", "node", "-T", TARGET, "-l")
        # It may be a moment until a kernel has looked at its disk.
        [name] = wait_until(self._disks, 60, "the disk")
        self.device = self.bench.prepare(name)
        self._check_digests(digest)

    def down(self):
        self.adm("-m", "node", "-u")
        self.adm("-m", "node", "-o", "delete")
        self.bench.end(self.process)
        self.bench.processes = [(name, process) for name, process in self.bench.processes if process is not self.process]

    def adm(self, *words, **options):
        return self.bench.run(self.admin, *words, env=dict(self.environment), **options)

    def _session(self):
        return self.adm("-m", "session", "-P", "3", quiet=True, ok=None).out

    def _disks(self):
        return re.findall(r"Attached scsi disk (\S+)", self._session())

    def _check_digests(self, wanted):
        found = re.findall(r"(?:Header|Data)Digest: (\S+)", self._session())
        check(found == [wanted, wanted], f"the digests are {found}, not {wanted}")


class Kernel(Initiator):
    """The kernel's own initiator, with Debian's open-iscsi."""

    def __init__(self, bench):
        super().__init__(bench)
        self.folder = os.environ["BENCH_OPEN_ISCSI"]
        self.admin = f"{self.folder}/sbin/iscsiadm"
        self.environment = {"LD_LIBRARY_PATH": ":".join(glob.glob(f"{self.folder}/usr/lib/*-linux-gnu"))}

    def start(self):
        os.makedirs("/run/lock/iscsi", exist_ok=True)
        with open(f"{self.folder}/etc/iscsi/iscsid.conf", encoding="utf-8") as file:
            _write("/etc/iscsi/iscsid.conf", file.read())
        for module in ("iscsi_tcp", "sd_mod"):
            self.bench.run("modprobe", module)
        # It ends its whole process group.
        self.process = self.bench.start("open-iscsi", [f"{self.folder}/sbin/iscsid", "-f"], env=self.environment,
                                        start_new_session=True)
        wait_until(lambda: self.adm("-m", "session", ok=None, quiet=True).status == 21, 60, "Debian's iscsid to answer")


class Ours(Initiator):
    settings = {}

    def __init__(self, bench):
        super().__init__(bench)
        self.admin = bench.program("iscsiadm")

    def start(self):
        self.bench.configure({"iscsid.block": self.block, **self.settings})
        self.process = self.bench.start_daemon()
        self.daemon = Threads(self.process)


class Ublk(Ours):
    block = "ublk"


class UblkZeroCopy(Ublk):
    settings = {"iscsid.ublk_zero_copy_min_kb": 64}
    digests = False  # with data digests everything is copied


class Nbd(Ours):
    block = "nbd"


class Loop:
    """A program that is its own initiator: no block device, no fio."""

    digests = False

    def __init__(self, bench):
        self.bench = bench

    def up(self, _):
        """There is nothing to start."""

    def down(self):
        """Nor to stop."""

    def command(self, cell, ios):
        return [self.bench.program(f"tests/bench/{self.name}_loop"), "--port", str(PORT), "--op", cell.op, "--depth",
                str(cell.depth), "--io-bytes", str(cell.kib * KIB), "--count", str(ios)]

    def measure(self, cell):
        ios = cell.ios
        figures = json.loads(self.bench.run(*self.command(cell, ios), seconds=3600, quiet=True).out)
        return {"kinst": figures["seconds"] * 1e6 / ios, "switches": figures["switches_per_io"]}

    def count(self, cell):
        """What two runs differ in, so that start and login drop out."""
        few, many = cell.ios, 3 * cell.ios
        return {name: (self._hits(points, cell, many) - self._hits(points, cell, few)) / (many - few)
                for name, points in COUNTED.items()}

    def _hits(self, points, cell, ios):
        with Counter(points) as counter:
            waiting = ["sh", "-c", 'read -r go; exec "$0" "$@"', *self.command(cell, ios)]
            with subprocess.Popen(waiting, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
                counter.watch(process.pid, from_exec=True)
                process.communicate(b"\n")
            check(process.returncode == 0, f"{self.name}_loop ended with {process.returncode}")
            return counter.read()


class Engine(Loop):
    name = "engine"


class Libiscsi(Loop):
    name = "libiscsi"


class Bare(Loop):
    name = "bare"


PATHS = {"null_blk": NullBlk, "iscsi_tcp": Kernel, "ublk": Ublk, "ublk_zc": UblkZeroCopy, "nbd": Nbd, "engine": Engine, "libiscsi": Libiscsi,
         "bare": Bare}


def say(path, digests, cell, **figures):
    print("figures:", json.dumps({"path": path, "digests": digests, **cell.names(), **figures}), flush=True)


def measure_path(bench, name, arguments):
    path = PATHS[name](bench)
    for digests in arguments.digests.split(","):
        if digests == "on" and not path.digests:
            continue
        path.up(digests == "on")
        for cell in [Cell(text, arguments) for text in arguments.cells.split(",")]:
            with bench.undisturbed():
                figures = [path.measure(cell) for _ in range(arguments.rounds)]
                figures += [path.count(cell)] if arguments.count else []
            for line in figures:
                say(name, digests, cell, **line)
        path.down()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--paths", required=True)
    parser.add_argument("--cells", required=True, help="OP-KIB-DEPTH,...")
    parser.add_argument("--digests", default="off")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--divisor", type=int, default=1, help="of the number of I/Os")
    parser.add_argument("--count", action="store_true", help="system calls and allocations as well")
    return parser.parse_args()


def measure_all():
    arguments = parse_arguments()
    with Bench() as bench:
        if arguments.count:
            add_allocation_probes()
        for name in arguments.paths.split(","):
            measure_path(bench, name, arguments)


if __name__ == "__main__":
    main(measure_all)
