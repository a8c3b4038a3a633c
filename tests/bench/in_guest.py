"""The guest's part of tests/bench/guest: drives one block device after the other with fio, each over the same null target,
and prints a line of JSON for each measurement.

An instruction is a nanosecond of time here, so how long fio took is how many instructions the whole system executed; what
the kernel says of a process's time on the processor is that process's share, its system calls included.
"""

import argparse
import glob
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

from guest import Guest, check, main, wait_until  # noqa: E402  pylint: disable=C0413

TARGET = "iqn.2026-01.bench:null"
PORT = 3260
PORTAL = f"127.0.0.1:{PORT}"
KIB = 1 << 10
# Enough of each size that a millisecond, which is what fio tells, is not more than some 0.2 % of it.
IOS = {4 * KIB: 30000, 64 * KIB: 5000, 1024 * KIB: 500}
IOS_AT_DEPTH_1 = {4 * KIB: 9000, 64 * KIB: 4000, 1024 * KIB: 400}
# The depths that are measured must fit; time that a guest waits for its host must not look like a dead connection.
SETTINGS = {"node.session.cmds_max": 512, "node.session.queue_depth": 256, "node.conn[0].timeo.noop_out_interval": 0,
            "node.conn[0].timeo.noop_out_timeout": 0}


def _write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


class Processor:
    """The time that processes of one name have had on the processor, in nanoseconds."""

    def __init__(self, process):
        self.process = process

    def used(self):
        total = 0
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/schedstat"):
            with open(path, encoding="ascii") as file:
                total += int(file.read().split()[0])
        return total


class Bench(Guest):
    """A guest with the null target."""

    def __enter__(self):
        super().__enter__()
        # A guest's time flies while it waits for its host.
        _write("/proc/sys/kernel/hung_task_timeout_secs", "0")
        self.target = self.start("null_target", [self.program("tests/bench/null_target"), "--port", str(PORT),
                                                 "--seconds", "0"])
        wait_until(lambda: "127.0.0.1" in self.log("null_target"), 60, "the null target to listen")
        return self

    def log(self, name):
        with open(os.path.join(self.root, f"{name}.log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def prepare(self, device):
        """No scheduler; gives the path of its node."""
        name = os.path.basename(device)
        self.wait_for(f"/dev/{name}", 60)
        _write(f"/sys/block/{name}/queue/scheduler", "none")
        return f"/dev/{name}"

    def disk_of(self, admin):
        """The disk of the only session."""

        def attached():
            text = self.run(*admin, "-m", "session", "-P", "3", quiet=True, ok=None).out
            return [line.split()[3] for line in text.splitlines() if "Attached scsi disk" in line]

        [name] = wait_until(attached, 60, "the disk")
        return self.prepare(name)


class NullBlk:
    """No target at all: fio and the block layer."""

    digests = False

    def __init__(self, bench):
        self.bench = bench
        self.daemon = None

    def up(self, digests):
        self.bench.run("modprobe", "null_blk", "nr_devices=1", "queue_mode=2", "irqmode=0")
        return self.bench.prepare("nullb0")

    def down(self):
        self.bench.run("modprobe", "-r", "null_blk")


class Initiator:
    """A daemon and its command; both have the records in /etc/iscsi."""

    digests = True

    def __init__(self, bench):
        self.bench = bench

    def up(self, digests):
        self.start()
        self.adm("-m", "discovery", "-t", "st", "-p", PORTAL)
        digest = "CRC32C" if digests else "None"
        wanted = {**SETTINGS, "node.conn[0].iscsi.HeaderDigest": digest, "node.conn[0].iscsi.DataDigest": digest}
        self.adm("-m", "node", "-T", TARGET, "-o", "update",
                 *[word for key, value in wanted.items() for word in ("-n", key, "-v", str(value))])
        self.adm("-m", "node", "-T", TARGET, "-l")
        return self.bench.disk_of(self.admin)

    def down(self):
        self.adm("-m", "node", "-u")
        self.adm("-m", "node", "-o", "delete")
        self.bench.end(self.process)

    def adm(self, *words):
        self.bench.run(*self.admin, *words, env=self.environment)


class Kernel(Initiator):
    """The kernel's own initiator, with Debian's open-iscsi."""

    def __init__(self, bench):
        super().__init__(bench)
        self.folder = os.environ["BENCH_OPEN_ISCSI"]
        self.admin = [f"{self.folder}/sbin/iscsiadm"]
        self.environment = {"LD_LIBRARY_PATH": ":".join(glob.glob(f"{self.folder}/usr/lib/*/")
                                                        + glob.glob(f"{self.folder}/lib/*/"))}
        bench.env.update(self.environment)
        self.daemon = None  # its part of an I/O is the kernel's

    def start(self):
        os.makedirs("/run/lock/iscsi", exist_ok=True)
        with open(f"{self.folder}/etc/iscsi/iscsid.conf", encoding="utf-8") as file:
            _write("/etc/iscsi/iscsid.conf", file.read().replace("node.startup = automatic", "node.startup = manual"))
        for module in ("iscsi_tcp", "sd_mod"):
            self.bench.run("modprobe", module)
        self.process = self.bench.start("open-iscsi", [f"{self.folder}/sbin/iscsid", "-f"], start_new_session=True)
        wait_until(lambda: self.bench.run(*self.admin, "-m", "session", ok=None, quiet=True).status == 21, 60,
                   "Debian's iscsid to answer")


class Ours(Initiator):
    def __init__(self, bench):
        super().__init__(bench)
        self.admin = [bench.program("iscsiadm")]
        self.environment = {}

    def start(self):
        self.bench.configure({"iscsid.block": self.block})
        self.process = self.bench.start_daemon()
        self.daemon = Processor(self.process)


class Ublk(Ours):
    """Ours, shown by ublk."""

    block = "ublk"


class Nbd(Ours):
    """Ours, shown by the kernel's nbd."""

    block = "nbd"


PATHS = {"null_blk": NullBlk, "iscsi_tcp": Kernel, "ublk": Ublk, "nbd": Nbd}


def measure(bench, path, device, cell):
    """One run of fio. kinst: thousands of instructions per I/O; of the whole system, the daemon and the target."""
    op, size, depth, ios = cell
    processes = {"daemon": path.daemon, "target": Processor(bench.target)}
    before = {name: process.used() for name, process in processes.items() if process}
    done = bench.run("fio", "--name=x", f"--filename={device}", "--direct=1", "--ioengine=io_uring", "--gtod_reduce=1",
                     "--norandommap", "--randrepeat=1", "--size=1g", "--thread=1", "--output-format=json",
                     f"--rw={'rand' if size < 1024 * KIB else ''}{op}", f"--bs={size}", f"--iodepth={depth}",
                     f"--number_ios={ios}", seconds=3600, quiet=True)
    shares = {name: (process.used() - before[name]) / ios / 1000 for name, process in processes.items() if process}
    job = json.loads(done.out)["jobs"][0]
    figures = job[op]
    check(job["error"] == 0 and figures["total_ios"] == ios, f"fio did {figures['total_ios']} I/Os of {ios}")
    return {"kinst": figures["runtime"] * 1000 / ios, **shares}


def ios_of(size, depth, divisor):
    return max(depth, (IOS_AT_DEPTH_1 if depth == 1 else IOS)[size] // divisor)


def measure_all(arguments):
    with Bench() as bench:
        for name in arguments.paths.split(","):
            path = PATHS[name](bench)
            for digests in arguments.digests.split(","):
                if digests == "on" and not path.digests:
                    continue
                device = path.up(digests == "on")
                for text in arguments.cells.split(","):
                    op, size, depth = text.split("-")
                    cell = (op, int(size) * KIB, int(depth), ios_of(int(size) * KIB, int(depth), arguments.divisor))
                    for _ in range(arguments.rounds):
                        print("figures:", json.dumps({"path": name, "digests": digests, "op": op, "kib": int(size),
                                                      "depth": int(depth), "ios": cell[3],
                                                      **measure(bench, path, device, cell)}), flush=True)
                path.down()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--paths", required=True)
    parser.add_argument("--cells", required=True, help="OP-KIB-DEPTH,...")
    parser.add_argument("--digests", default="off")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--divisor", type=int, default=1, help="of the number of I/Os")
    return parser.parse_args()


if __name__ == "__main__":
    main(lambda: measure_all(parse_arguments()))
