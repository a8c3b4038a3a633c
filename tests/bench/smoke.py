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

import guests

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.join(os.path.dirname(os.path.dirname(HERE)), "bench")
SKIP = 77
BLOCK_PATHS = ("null_blk", "iscsi_tcp", "ublk", "ublk_zc", "nbd")


def sound(value):
    return isinstance(value, (int, float)) and math.isfinite(value) and value >= 0


def of(document, **wanted):
    """The only cell that is as wanted."""
    found = [cell for cell in document["cells"] if all(cell[key] == value for key, value in wanted.items())]
    assert len(found) == 1, f"{len(found)} cells are {wanted}"
    return found[0]


def check_guest(document, said):
    [kernel] = document["kernels"]
    paths = [(path, digests) for path in BLOCK_PATHS for digests in ("off", "on")
             if not guests.missing(kernel, path) and (path not in ("null_blk", "ublk_zc") or digests == "off")]
    assert len(document["cells"]) == 2 * len(paths), f"{len(document['cells'])} cells"
    for op, kib, depth in (("read", 4, 32), ("write", 64, 1)):
        idle = of(document, path="null_blk", op=op, kib=kib, depth=depth)["kinst"]
        for path, digests in paths:
            cell = of(document, path=path, digests=digests, op=op, kib=kib, depth=depth)
            assert sound(cell["kinst"]) and cell["kinst"] >= idle > 0, f"{cell}, and null_blk takes {idle}"
            if path in ("ublk", "ublk_zc", "nbd"):
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
        with_digests = cell["digests"]["engine, digests"]
        assert sound(with_digests) and with_digests > 0 if cell["kib"] >= 64 else with_digests is None, cell["digests"]
        assert sound(cell["tail"]) if cell["depth"] == 32 else cell["tail"] is None, cell["tail"]
        for figures in (figures for loop, figures in cell["medians"].items() if loop.endswith(", latency")):
            assert 0 < figures["p50_us"] <= figures["p99_us"] <= figures["p999_us"] < 60e6, figures
    assert "engine:bare IOPS" in said and "CPU with digests" in said and "p99.9" in said, "the tables are not there"


def check_counts(document, said):
    for path in ("ublk", "engine", "bare"):
        cell = of(document, path=path)
        assert 0 < cell["syscalls"] < 100 and 0 < cell["switches"] < 100, cell
        if path != "bare":
            assert cell["allocations"] < 0.01, f"{path} allocates: {cell}"
        if path != "ublk":
            assert 10 < cell["user_instructions"] < 1e6, cell
    assert "Heap allocations per I/O" in said, "the tables are not there"


def check_scale(document, said):
    assert [(cell["of"], cell["count"]) for cell in document["cells"]] == [
        ("sessions", 1), ("sessions", 3), ("bare", 2), ("luns", 1), ("luns", 2)], "rows are missing"
    for cell in document["cells"]:
        busy = ["idle_percent", "read_us", "read_ratio"] if cell["of"] == "sessions" else []
        back = ["stop_cpu_ms", "take_back_cpu_ms"] if cell["of"] != "bare" else []
        for figure in ("login_s", "login_cpu_ms", "login_adm_cpu_ms", "resident_kib", "list_cpu_ms", "list_adm_cpu_ms",
                       "logout_cpu_ms", "logout_adm_cpu_ms", *back, *busy):
            least = 0 if figure == "idle_percent" else 1e-9
            assert sound(cell[figure]) and cell[figure] >= least, f"{figure}: {cell}"
        assert sound(cell["load"]), cell
        if busy:
            low, high = cell["read_ratio_interval"]
            assert 0 < low <= cell["read_ratio"] <= high, cell
    for title in ("sessions of a LUN each", "sessions without a LUN", "LUNs of one session"):
        assert title in said and f"{title}: CPU of each, ms" in said, f"a table of {title} is missing"


def check_fairness(document, said):
    for scene in ("luns", "sessions"):
        cells = [cell for cell in document["cells"] if cell["scene"] == scene]
        assert all(len(cell["rounds"]) == 1 for cell in cells)
        figures = {key: value for cell in cells for key, value in cell.items() if key not in ("scene", "load", "rounds")}
        assert {"slowest_to_mean", "one_to_mean", "small_iops", "alone_us"} <= set(figures), f"figures are missing: {figures}"
        assert all(sound(value) and value > 0 for value in figures.values()), figures
        assert figures["slowest_to_mean"] <= 1 and figures["small_us"] <= figures["small_p99_us"], figures
    assert "slowest : mean" in said and "alone" in said, "the tables are not there"


def check_queues(document, said):
    assert [(cell["kib"], cell["layout"]) for cell in document["cells"]] == [(4, "apart"), (4, "together")], "rows are missing"
    for cell in document["cells"]:
        for queues, least_split in (("one", 1), ("two", 0.5)):
            figures = cell[queues]
            assert all(sound(value) and value > 0 for value in figures.values()), figures
            assert figures["busiest_us"] <= figures["all_us"] and least_split <= figures["split"] <= 1, figures
        wanted = cell["one"]["busiest_us"] / cell["two"]["busiest_us"]
        assert math.isclose(cell["capacity"], wanted) and 1 <= cell["even"] <= 2 and len(cell["rounds"]) == 1, cell
    assert "capacity" in said and "split" in said, "the table is not there"


CHECKS = {"guest": check_guest, "ratios": check_ratios, "counts": check_counts, "fairness": check_fairness,
          "scale": check_scale, "queues": check_queues}


def main():
    part, build, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "figures.json")
        done = subprocess.run([BENCH, part, "-b", build, "--quick", "--json", path, *options], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        print(done.stdout)
        if done.returncode == SKIP:
            sys.exit(SKIP)
        assert done.returncode == 0, f"./bench {part} ended with {done.returncode}"
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    assert document["what"] == part and document["quick"] and document["date"], document
    CHECKS[part](document, done.stdout)
    print("passed")


main()
