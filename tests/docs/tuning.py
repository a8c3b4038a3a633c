#!/usr/bin/env python3
"""Measures what the settings in docs/tuning.md do, in a guest whose clock counts instructions (tests/guest/run --count), and
puts the table into that page.

  tuning.py [-b BUILD]           measures, and writes the page's table; some ten minutes
  tuning.py inside [--quick]     in the guest: a line of JSON for each figure

The target, the disk and the way to measure are those of tests/bench/guest.
"""

import datetime
import json
import os
import re
import subprocess
import sys

import pages

sys.path.insert(0, os.path.join(pages.TREE, "tests", "bench"))

from in_guest import Bench, Cell, Ublk, _write, check  # noqa: E402  pylint: disable=C0413

PAGE = "docs/tuning.md"
TABLE = re.compile(r"(<!-- tuning: made by tests/docs/tuning.py -->\n).*?(<!-- end -->)", re.S)
SEGMENT, IMMEDIATE = "node.conn[0].iscsi.MaxRecvDataSegmentLength", "node.session.iscsi.ImmediateData"
UNASKED, DEPTH = "node.session.iscsi.InitialR2T", "node.session.queue_depth"
# What is set, otherwise than by default, and what is measured with it and without it: OP-KIB-DEPTH.
ROWS = [
    ({DEPTH: 1}, ["read-4-32", "write-4-32"]),
    ({DEPTH: 8}, ["read-4-32", "write-4-32"]),
    ({IMMEDIATE: "No", UNASKED: "Yes"}, ["write-4-1", "write-4-32", "write-64-32"]),
    ({SEGMENT: 8192}, ["read-4-32", "read-64-32", "read-1024-8"]),
    ({"scheduler": "mq-deadline"}, ["read-4-1", "read-4-32", "write-4-32"]),
    ({"node.conn[0].iscsi.HeaderDigest": "CRC32C"}, ["read-4-32", "write-64-32"]),
    ({"node.conn[0].iscsi.HeaderDigest": "CRC32C", "node.conn[0].iscsi.DataDigest": "CRC32C"}, ["read-4-32", "write-64-32"]),
]
READAHEAD = (4, 128, 1024)  # KiB, for reads one after the other through the page cache


class Options:
    divisor, count = 4, False


class Tuned(Ublk):
    """Our daemon with settings of the record, or of the queue, that are not the defaults."""

    def use(self, settings):
        self.start()
        self.adm("-m", "discovery", "-t", "st", "-p", "127.0.0.1:3260", quiet=True)
        for key, value in {"node.conn[0].timeo.noop_out_interval": 0, "node.conn[0].timeo.noop_out_timeout": 0,
                           **settings}.items():
            if key.startswith("node."):
                self.adm("-m", "node", "-o", "update", "-n", key, "-v", str(value), quiet=True)
        self.adm("-m", "node", "-l", quiet=True)
        session = self._session()
        for name, value in ((key.rpartition(".")[2], value) for key, value in settings.items()):
            check(f"{name}: " not in session or f"{name}: {value}\n" in session, f"{name} is not {value}")
        [name] = self._disks()
        self.device = self.bench.prepare(name)
        if "scheduler" in settings:
            self.bench.run("modprobe", "mq-deadline", ok=None)
            _write(f"/sys/block/{name}/queue/scheduler", settings["scheduler"])
        self.name = name

    def buffered(self, kib):
        """Instructions of 64 MiB read with 64 KiB a call through the page cache, a MiB."""
        _write("/proc/sys/vm/drop_caches", "3")
        _write(f"/sys/block/{self.name}/queue/read_ahead_kb", str(kib))
        done = self.bench.run("fio", "--name=x", f"--filename={self.device}", "--ioengine=psync", "--rw=read", "--bs=64k",
                              "--size=64m", "--thread=1", "--output-format=json", "--gtod_reduce=1", seconds=3600, quiet=True)
        return json.loads(done.out)["jobs"][0]["read"]["runtime"] * 1000 / 64


def inside(quick):
    Options.divisor = 40 if quick else 4
    with Bench() as bench:
        path = Tuned(bench)
        cells = sorted({cell for _, wanted in ROWS for cell in wanted})
        for settings, wanted in [({}, cells), *ROWS]:
            path.use(settings)
            with bench.undisturbed():
                for cell in wanted:
                    kinst = path.measure(Cell(cell, Options))["kinst"]
                    print("figure:", json.dumps({"settings": settings, "cell": cell, "kinst": kinst}), flush=True)
                for kib in READAHEAD if not settings else ():
                    print("figure:", json.dumps({"settings": {"read_ahead_kb": kib}, "cell": "sequential",
                                                 "kinst": path.buffered(kib)}), flush=True)
            path.down()


def words(cell):
    if cell == "sequential":
        return "64 KiB reads, one after the other, through the page cache; a MiB"
    op, kib, depth = cell.split("-")
    return f"{op} {kib if int(kib) < 1024 else 1} {'KiB' if int(kib) < 1024 else 'MiB'} QD{depth}"


def table(figures):
    """Markdown: what each setting does to each cell."""
    known = {(json.dumps(f["settings"]), f["cell"]): f["kinst"] for f in figures}
    git = ["git", "-C", pages.TREE, "rev-parse", "--short", "HEAD"]
    revision = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    out = [f"Measured {datetime.date.today()}, revision {revision}, Linux 6.12, ublk. One round.", "",
           "| setting | I/O | kinst with it | with the default | ratio |", "| --- | --- | --- | --- | --- |"]

    def row(name, cell, new, old):
        out.append(f"| {name} | {words(cell)} | {new:.1f} | {old:.1f} | {new / old:.2f} |")

    for settings, cells in ROWS:
        name = ", ".join(f"`{key.rpartition('.')[2]} = {value}`" for key, value in settings.items())
        for cell in cells:
            row(name, cell, known[json.dumps(settings), cell], known["{}", cell])
    for kib in READAHEAD:
        row(f"`read_ahead_kb` = {kib}", "sequential", known[json.dumps({"read_ahead_kb": kib}), "sequential"],
            known[json.dumps({"read_ahead_kb": 128}), "sequential"])
    return "\n".join(out) + "\n"


def measure(build):
    command = [f"{pages.TREE}/tests/guest/run", "--count", "-b", build, "-t", "3600",
               f"python3 -B '{os.path.abspath(__file__)}' inside"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          env={**os.environ, "ISCSI_PATIENCE": "10"})
    if done.returncode:
        sys.exit(f"the guest ended with {done.returncode}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return [json.loads(line[8:]) for line in done.stdout.splitlines() if line.startswith("figure: ")]


def main(arguments):
    if arguments[:1] == ["inside"]:
        inside("--quick" in arguments)
        return
    build = arguments[1] if arguments[:1] == ["-b"] else f"{pages.TREE}/build/release"
    text = pages.read(PAGE)
    made, count = TABLE.subn(lambda match: match[1] + table(measure(build)) + match[2], text)
    if count != 1:
        sys.exit(f"{PAGE} has no one place for the table")
    with open(os.path.join(pages.TREE, PAGE), "w", encoding="utf-8") as file:
        file.write(made)


if __name__ == "__main__":
    main(sys.argv[1:])
