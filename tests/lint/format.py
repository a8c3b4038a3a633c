#!/usr/bin/env python3
"""Every C++ file is as clang-format writes it."""

import os
import subprocess
import sys
import tempfile

import tree


def complaints(paths):
    done = subprocess.run(["clang-format", "--style=file", "--dry-run", "-Werror", *paths],
                          capture_output=True, text=True, cwd=tree.ROOT, check=False)
    found = sorted({line.split(":")[0] for line in done.stderr.splitlines() if " error: " in line})
    return [f"{path}: not as clang-format writes it" for path in found] or ([done.stderr] if done.returncode else [])


def check():
    return complaints(tree.cpp_files())


def self_test():
    with tempfile.NamedTemporaryFile("w", suffix=".cpp", dir=os.path.join(tree.ROOT, "tests", "lint")) as file:
        file.write("int  f( ){return 1 ;}\n")
        file.flush()
        return [] if complaints([file.name]) else ["a badly formatted file was accepted"]


if __name__ == "__main__":
    try:
        subprocess.run(["clang-format", "--version"], capture_output=True, check=True)
    except OSError:
        print("skipped: clang-format is not installed")
        sys.exit(77)
    tree.main(check, self_test)
