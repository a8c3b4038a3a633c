#!/usr/bin/env python3
"""clang-tidy finds nothing in the programs' sources. Argument: a build directory with compile_commands.json."""

import concurrent.futures
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile

import tree

TIDY = ["clang-tidy", "--quiet", "--extra-arg=-Wno-unknown-warning-option",
        "--extra-arg=-Wno-ignored-optimization-argument"]


def tidy(build, source):
    done = subprocess.run([*TIDY, "-p", build, source], capture_output=True, text=True, cwd=tree.ROOT, check=False)
    lines = [l for l in done.stdout.splitlines() if " error: " in l or " warning: " in l]
    return lines or ([f"{source}: clang-tidy failed: {done.stderr[-500:]}"] if done.returncode else [])


def write_commands(build, place):
    """The build's compile commands without the precompiled headers, which are GCC's."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        commands = json.load(file)
    for command in commands:
        command["command"] = shlex.join(tree.without_pch(shlex.split(command["command"])))
    with open(os.path.join(place, "compile_commands.json"), "w", encoding="utf-8") as file:
        json.dump(commands, file)


def check():
    sources = [f for f in tree.cpp_files(tree.PRODUCT) if f.endswith(".cpp")]
    with tempfile.TemporaryDirectory() as place:
        write_commands(sys.argv[1], place)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            found = [line for lines in pool.map(lambda s: tidy(place, s), sources) for line in lines]
    return sorted(set(found))


def self_test():
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(os.path.join(tree.ROOT, ".clang-tidy"), place)
        path = os.path.join(place, "x.cpp")
        with open(path, "w", encoding="utf-8") as file:
            file.write("int f(int* p) {\n    if (p == 0) {\n        return 1;\n    }\n    return 0;\n}\n")
        done = subprocess.run([*TIDY, path, "--", "-std=c++20"], capture_output=True, text=True, check=False)
        return [] if done.returncode and "modernize-use-nullptr" in done.stdout else ["a 0 for a pointer was accepted"]


if __name__ == "__main__":
    if not shutil.which("clang-tidy"):
        print("skipped: clang-tidy is not installed")
        sys.exit(77)
    tree.main(check, self_test)
