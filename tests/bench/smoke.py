#!/usr/bin/env python3
"""Each part of ./bench works: a quick run of it prints its tables, and its JSON has a sound figure for everything that was
asked for. Arguments: the part, the build directory, and options for the part. Nothing fails because a figure is small or
large, but for one that time has no part in: the data path allocates nothing."""

import json
import math
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.join(os.path.dirname(os.path.dirname(HERE)), "bench")
BLOCK_PATHS = ("null_blk", "iscsi_tcp", "ublk", "nbd")


def sound(value):
    return isinstance(value, (int, float)) and math.isfinite(value) and value >= 0


def of(document, **wanted):
    """The only cell that is as wanted."""
    found = [cell for cell in document["cells"] if all(cell[key] == value for key, value in wanted.items())]
    assert len(found) == 1, f"{len(found)} cells are {wanted}"
    return found[0]


def check_guest(document, said):
    paths = [(path, digests) for path in BLOCK_PATHS for digests in ("off", "on") if (path, digests) != ("null_blk", "on")]
    assert len(document["cells"]) == 2 * len(paths), f"{len(document['cells'])} cells"
    for op, kib, depth in (("read", 4, 32), ("write", 64, 1)):
        idle = of(document, path="null_blk", op=op, kib=kib, depth=depth)["kinst"]
        for path, digests in paths:
            cell = of(document, path=path, digests=digests, op=op, kib=kib, depth=depth)
            assert sound(cell["kinst"]) and cell["kinst"] >= idle > 0, f"{cell}, and null_blk takes {idle}"
            if path in ("ublk", "nbd"):
                assert 0 < cell["daemon_kinst"] < cell["kinst"] and sound(cell["switches"]), cell
            if path != "null_blk":
                assert 0 < cell["target_kinst"] < cell["kinst"], cell
    assert "ours, ublk" in said and "digests on" in said, "the tables are not there"


def check_ratios(document, said):
    assert {(cell["op"], cell["kib"]) for cell in document["cells"]} == {
        ("read", 4), ("write", 4), ("read", 1024), ("write", 64)}, "cells are missing"
    for cell in document["cells"]:
        assert {"bare", "engine"} <= set(cell["medians"]), "loops are missing"
        for loop, figures in cell["medians"].items():
            assert all(sound(figure) for figure in figures.values()) and figures["iops"] > 0, f"{loop}: {figures}"
            assert len(cell["rounds"][loop]["iops"]) == 1
        ratio = cell["ratios"]["engine/bare"]["iops"]
        wanted = cell["medians"]["engine"]["iops"] / cell["medians"]["bare"]["iops"]
        assert math.isclose(ratio, wanted), f"the ratio is {ratio}, not {wanted}"
    assert "engine:bare IOPS" in said, "the tables are not there"


def check_counts(document, said):
    for path in ("ublk", "engine", "bare"):
        cell = of(document, path=path)
        assert 0 < cell["syscalls"] < 100 and 0 < cell["switches"] < 100, cell
        if path != "bare":
            assert cell["allocations"] < 0.01, f"{path} allocates: {cell}"
        if path != "ublk":
            assert 10 < cell["user_instructions"] < 1e6, cell
    assert "Heap allocations per I/O" in said, "the tables are not there"


CHECKS = {"guest": check_guest, "ratios": check_ratios, "counts": check_counts}


def main():
    part, build, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "figures.json")
        done = subprocess.run([BENCH, part, "-b", build, "--quick", "--json", path, *options], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        print(done.stdout)
        assert done.returncode == 0, f"./bench {part} ended with {done.returncode}"
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    assert document["what"] == part and document["quick"] and document["date"], document
    CHECKS[part](document, done.stdout)
    print("passed")


main()
