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
    # Not in the tree, which check() may be reading.
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(os.path.join(tree.ROOT, ".clang-format"), os.path.join(folder, ".clang-format"))
        wanted = {"good": "int f() {\n    return 1;\n}\n", "bad": "int  f( ){return 1 ;}\n"}
        for name, text in wanted.items():
            with open(os.path.join(folder, f"{name}.cpp"), "w", encoding="ascii") as file:
                file.write(text)
        bad = [] if complaints([f"{folder}/bad.cpp"]) else ["a badly formatted file was accepted"]
        return bad + complaints([f"{folder}/good.cpp"])


if __name__ == "__main__":
    try:
        subprocess.run(["clang-format", "--version"], capture_output=True, check=True)
    except OSError:
        print("skipped: clang-format is not installed")
        sys.exit(77)
    tree.main(check, self_test)
