"""What every lint test needs: the project's files, C++ text without comments, and one way to report.

A lint test is a Python program that calls main(check, self_test): without arguments it checks the tree it lies
in, with --self-test it plants violations and fails unless each is found.
"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CPP = (".cpp", ".hpp")
PRODUCT = ("libiscsi-core/", "iscsid/", "iscsiadm/", "tools/")


def files():
    """Paths, relative to the root, that git tracks or would track; without git, all but hidden and build ones."""
    git = ["git", "-c", "safe.directory=*", "-C", ROOT, "ls-files", "-z", "-co", "--exclude-standard"]
    try:
        listed = subprocess.run(git, capture_output=True, check=True).stdout.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):
        listed = []
        for place, folders, names in os.walk(ROOT):
            folders[:] = [f for f in folders if not f.startswith((".", "build", "__pycache__"))]
            listed += [os.path.relpath(os.path.join(place, name), ROOT) for name in names]
    return sorted(f for f in listed if f and os.path.isfile(os.path.join(ROOT, f)))


def cpp_files(prefixes=("",)):
    return [f for f in files() if f.endswith(CPP) and f.startswith(tuple(prefixes))]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as file:
        return file.read()


def without_pch(words):
    """A compiler's command without CMake's precompiled header: a file has to include what it needs."""
    kept = []
    for word in words:
        if word.endswith(("cmake_pch.hxx", "cmake_pch.hxx.pch")):
            while kept and kept[-1] in ("-include", "-include-pch", "-Xclang"):
                kept.pop()
        elif word not in ("-Winvalid-pch", "-fpch-instantiate-templates"):
            kept.append(word)
    return kept


TOKENS = re.compile(
    r'R"(?P<delim>[^()\\\s]{0,16})\(.*?\)(?P=delim)"'  # raw string
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|(?<![0-9a-fA-F])'(?:[^'\\\n]|\\.)*'"  # not the separator of 1'000
    r"|//[^\n]*|/\*.*?\*/",
    re.S,
)


def code_of(text, keep_strings=False):
    """C++ text with comments blanked, and string contents too; every offset and line stays where it was."""

    def blank(match):
        found = match.group(0)
        if found.startswith("/"):
            return re.sub(r"[^\n]", " ", found)
        if keep_strings:
            return found
        return found[0] + re.sub(r"[^\n]", " ", found[1:-1]) + found[-1]

    return TOKENS.sub(blank, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def main(check, self_test):
    """check() returns the violations as lines of text; self_test() returns the plants that were not found."""
    if sys.argv[1:2] == ["--self-test"]:
        sys.argv.pop(1)
        missed = self_test()
        for line in missed:
            print("self-test: " + line)
        print("self-test: " + ("FAILED" if missed else "every planted violation was found"))
        sys.exit(1 if missed else 0)
    violations = check()
    for line in violations:
        print(line)
    print(f"{len(violations)} violations")
    sys.exit(1 if violations else 0)


def expect(what, violations, wanted):
    """One line of complaint unless `violations` is as long as `wanted`."""
    found = len(list(violations))
    return [] if found == wanted else [f"{what}: {found} found, {wanted} planted"]
