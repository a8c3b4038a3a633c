"""Runs in_guest.py in guests that count instructions, and gives its figures."""

import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from report import TREE, fail, progress, text_of_cells

KERNELS = ("6.1", "6.12", "new")
# Since which of KERNELS our daemon has a path, and why not before.
FROM = {"ublk": ("6.12", "the daemon uses nbd"), "ublk_zc": ("new", "ublk has no zero copy before Linux 6.15")}


def missing(kernel, path):
    """Why a kernel has no such path; empty when it has."""
    first, why = FROM.get(path, (KERNELS[0], ""))
    return why if KERNELS.index(kernel) < KERNELS.index(first) else ""
LIMIT_S = 7200
PATIENCE = "10"  # time flies in such a guest while it waits for its host


def add_options(parser):
    parser.add_argument("-b", "--build", type=Path, default=TREE / "build/release", help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) - 1),
                        help="guests at a time (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--quick", action="store_true", help="few I/Os of few cells: does everything work?")
    parser.add_argument("-v", "--verbose", action="store_true", help="what the guests say goes to standard error")


def output_of(*command):
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        fail(error)


def release_of(kernel):
    return (Path(output_of(TREE / "tests/guest/kernels", kernel)) / "release").read_text(encoding="utf-8").strip()


class Work:
    """What one guest is to measure."""

    def __init__(self, kernel, paths, cells, options):
        self.kernel, self.paths, self.cells, self.options = kernel, paths, cells, options
        self.process = None
        self.stopped = False

    def start(self, arguments, open_iscsi):
        words = " ".join(self.options)
        command = (f"BENCH_OPEN_ISCSI='{open_iscsi}' python3 -B '{TREE}/tests/bench/in_guest.py' --paths "
                   f"{','.join(self.paths)} --cells {text_of_cells(self.cells)} {words}")
        self.process = subprocess.Popen(
            [TREE / "tests/guest/run", "--count", "-k", self.kernel, "-b", arguments.build, "-t", str(LIMIT_S), command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "ISCSI_PATIENCE": PATIENCE})

    def run(self, arguments, open_iscsi):
        """Its figures; ends the program when there are none."""
        if self.stopped:
            return []
        self.start(arguments, open_iscsi)
        said, _ = self.process.communicate()
        if arguments.verbose or (self.process.returncode != 0 and not self.stopped):
            sys.stderr.write(said)
        if self.process.returncode != 0:
            fail(f"the guest with kernel {self.kernel} and {', '.join(self.paths)} ended with {self.process.returncode}")
        lines = [line.removeprefix("figures: ") for line in said.splitlines() if line.startswith("figures: ")]
        return [{"kernel": self.kernel, **json.loads(line)} for line in lines]

    def stop(self):
        self.stopped = True
        if self.process and self.process.poll() is None:
            self.process.terminate()


def run(arguments, work):
    """The figures of all guests, in the order of `work`. When one fails, or this program is to end, all are stopped."""
    open_iscsi = output_of(TREE / "tests/oracle/fetch")
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        guests = [pool.submit(item.run, arguments, open_iscsi) for item in work]
        progress(f"{len(guests)} guests")
        try:
            for done, guest in enumerate(concurrent.futures.as_completed(guests), 1):
                guest.result()
                progress(f"{done} of {len(guests)} guests")
        except BaseException:
            for item in work:
                item.stop()
            raise
        finally:
            progress("")
    return [figures for guest in guests for figures in guest.result()]


def combine(lines):
    """One entry for what was measured several times: the median of each figure; `spread` is that of kinst, relative."""
    groups = {}
    for line in lines:
        key = tuple(line[name] for name in ("kernel", "path", "digests", "op", "kib", "depth"))
        groups.setdefault(key, []).append(line)
    entries = []
    for (kernel, path, digests, op, kib, depth), group in groups.items():
        entry = {"kernel": kernel, "path": path, "digests": digests, "op": op, "kib": kib, "depth": depth}
        for name in dict.fromkeys(name for line in group for name in line if name not in entry):
            values = [line[name] for line in group if name in line]
            entry[name] = round(statistics.median(values), 3)
            if name == "kinst":
                entry["rounds"] = [round(value, 3) for value in values]
                entry["spread"] = round((max(values) - min(values)) / entry[name], 4)
        entries.append(entry)
    return entries


def find(entries, name, **wanted):
    """A figure of the only entry that is as wanted; None where there is none."""
    for entry in entries:
        if all(entry[key] == value for key, value in wanted.items()):
            return entry.get(name)
    return None
