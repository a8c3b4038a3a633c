"""What ./bench's parts share: cells, tables, and the facts about a run that its JSON has."""

import datetime
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
OPERATIONS = ("read", "write")


def fail(message):
    sys.exit(f"bench: {message}")


def parse_cells(text):
    """ "OP-KIB-DEPTH,..." as tuples; ends the program where it is nothing like that."""
    cells = []
    for word in text.split(","):
        found = re.fullmatch(r"(read|write)-(\d+)-(\d+)", word)
        if not found or not 1 <= int(found[2]) <= 1024 or not 1 <= int(found[3]) <= 512:
            fail(f"not a cell: '{word}'; read-4-32 is one of 4 KiB at depth 32")
        cells.append((found[1], int(found[2]), int(found[3])))
    return cells


def text_of_cells(cells):
    return ",".join(f"{op}-{kib}-{depth}" for op, kib, depth in cells)


def size_text(kib):
    return f"{kib // 1024} MiB" if kib % 1024 == 0 else f"{kib} KiB"


def cell_text(cell):
    op, kib, depth = cell
    return f"{op} {size_text(kib)} QD{depth}"


def number(value, form=".2f"):
    """A figure, or the dash of one that there is not."""
    return "-" if value is None else format(value, form)


def divide(over, under):
    return None if over is None or not under else over / under


def print_table(title, headings, rows):
    """Rows of texts; the first column is to the left."""
    print(f"\n{title}")
    lines = [headings, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    for line in lines:
        print("  ".join([line[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(line[1:], widths[1:]))]))


def progress(text):
    """Where a person watches, what goes on."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def commit():
    """Of the tree; None outside of a repository."""
    try:
        done = subprocess.run(["git", "-C", TREE, "describe", "--always", "--dirty"], capture_output=True, text=True,
                              check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def linux_version():
    """Of this machine, without the words that its builder added."""
    return re.match(r"[\d.]*", platform.release())[0]


def machine():
    """What the figures were measured on."""
    match = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return {"cores": len(os.sched_getaffinity(0)), "model": match[1] if match else platform.machine(),
            "kernel": linux_version(), "load": round(os.getloadavg()[0], 1)}


def write_json(path, what, document):
    """`document` with what every file has; its cells a line each."""
    facts = {"what": what, "date": datetime.date.today().isoformat(), "commit": commit(), **document}
    cells = ",\n".join("  " + json.dumps(cell) for cell in facts.pop("cells"))
    text = json.dumps({**facts, "cells": []}, indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace('"cells": []', f'"cells": [\n{cells}\n ]') + "\n", encoding="utf-8")
