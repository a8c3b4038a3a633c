#!/usr/bin/env python3
"""Every header compiles alone, with the project's own flags. Argument: the build directory."""

import concurrent.futures
import json
import os
import shlex
import subprocess
import sys
import tempfile

import tree


def commands(build):
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        return {os.path.relpath(c["file"], tree.ROOT): c for c in json.load(file)}


def flags_for(header, known):
    """The flags of a source that lies where the header does, or else as near as any: of several, the one that
    sees most. What lies in tests/support is for all tests."""
    folder = os.path.dirname(header).replace("tests/support", "tests")
    while not any(f.startswith(folder + "/") for f in known):
        folder = os.path.dirname(folder)
    near = [shlex.split(c["command"]) for f, c in sorted(known.items()) if f.startswith(folder + "/")]
    words = max(near, key=lambda command: sum(word.startswith("-I") for word in command))
    kept, takes_next = [], False
    for word in tree.without_pch(words):
        if takes_next:
            takes_next = False
        elif word in ("-o", "-c", "-MF", "-MT"):
            takes_next = True
        elif word not in ("-MD", "-MMD"):
            kept.append(word)
    return kept


def compile_alone(header, flags):
    path = os.path.join(tree.ROOT, header)
    done = subprocess.run([*flags, "-fsyntax-only", "-include", path, "-x", "c++", "/dev/null"],
                          capture_output=True, text=True, cwd=tree.ROOT, check=False)
    if done.returncode == 0:
        return []
    errors = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
    return [f"{header}: does not compile alone: {errors[0] if errors else done.returncode}"]


def check():
    known = commands(sys.argv[1])
    headers = [f for f in tree.cpp_files() if f.endswith(".hpp")]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return [line for lines in pool.map(lambda h: compile_alone(h, flags_for(h, known)), headers) for line in lines]


def self_test():
    with tempfile.TemporaryDirectory() as place:
        results = []
        for name, text, wanted in [
            ("needs.hpp", "#pragma once\nstd::string f();\n", 1),
            ("warns.hpp", "#pragma once\ninline int f(long a) { return a; }\n", 1),
            ("good.hpp", "#pragma once\n#include <string>\nstd::string f();\n", 0),
        ]:
            path = os.path.join(place, name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            flags = flags_for("libiscsi-core/base/text.hpp", commands(sys.argv[1]))
            results += tree.expect(name, compile_alone(path, flags), wanted)
        return results


if __name__ == "__main__":
    tree.main(check, self_test)
