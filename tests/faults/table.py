#!/usr/bin/env python3
"""Which test shows which fault, and whether it passes: tests/faults.md.

    table.py PROGRAM...           compares with tests/faults.md; a fault that nothing shows and that faults.txt does not
                                  call a hole is an error, and so is a test that fails or was not run
    table.py --write PROGRAM...   writes tests/faults.md anew

Runs the Catch tests that have the ids; of the scenarios of this folder, which take minutes, it reads what they left in
the folder that ISCSI_RESULTS names when they ran."""

import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(TESTS, "conformance"))

import conformance  # noqa: E402  pylint: disable=C0413
from conformance import Wrong, shown  # noqa: E402  pylint: disable=C0413

TABLE = os.path.join(TESTS, "faults.md")
SCENARIOS = ("resets", "kills", "flips", "silence", "pieces", "limits", "others", "networks", "caches",
             "crowds", "slow")
HEAD = """# Faults and the tests that show what becomes of them

Made by `tests/faults/table.py --write` from `tests/faults/faults.txt`, the tags of the Catch tests and the marks of the
scenarios in `tests/faults/`; the test `faults-table` compares. The tests of a duty (see `conformance.md`) are not named
one by one. A fault without a test is a hole.

{shown} of {all} have a test.
"""


class Fault:
    def __init__(self, line, section):
        parts = [part.strip() for part in line.split("|")]
        if len(parts) not in (2, 3):
            raise Wrong(f"faults.txt: '{line}' has not two parts, or three")
        self.name, self.text, self.section = *parts[:2], section
        self.duties, self.proofs, self.hole = [], [], ""
        for proof in filter(None, (one.strip() for one in "".join(parts[2:]).split(";"))):
            self.add(proof)

    def add(self, proof):
        word, _, rest = proof.partition(" ")
        if word == "duties":
            self.duties += rest.split()
        elif word == "guest":
            file, *functions = rest.split()
            with open(os.path.join(TESTS, "guest", file), encoding="utf-8") as text:
                code = text.read()
            for function in functions:
                if f"def {function}(" not in code:
                    raise Wrong(f"faults.txt: {self.name}: there is no {function} in tests/guest/{file}")
                self.proofs.append(f"in a guest: {function.replace('_', ' ')}")
        elif word == "ctest":
            self.proofs += [f"the test {name}" for name in rest.split()]
        elif word == "hole:":
            self.hole = proof
        else:
            raise Wrong(f"faults.txt: {self.name}: what is '{proof}'?")


def read_faults():
    faults, section = [], ""
    with open(os.path.join(HERE, "faults.txt"), encoding="utf-8") as file:
        for line in map(str.strip, file):
            if line.startswith("= "):
                section = line[2:]
            elif line and not line.startswith("#"):
                faults.append(Fault(line, section))
    return faults


def results():
    """Scenario -> what became of it when it was run last."""
    folder = os.environ.get("ISCSI_RESULTS", "")
    out = {}
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        with open(os.path.join(folder, name), encoding="ascii") as file:
            out[name] = file.read().strip()
    return out


def scenarios():
    """(id, title, name) of every scenario here."""
    for file in SCENARIOS:
        command = [sys.executable, "-B", os.path.join(HERE, f"{file}.py"), "--list"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        for line in listed.stdout.splitlines():
            name, ids, title = line.split("|")
            for one in ids.split():
                yield one, title, name


def rows_of(faults, found):
    section = None
    for fault in faults:
        if fault.section != section:
            section = fault.section
            yield f"\n## {section}\n\n| id | fault | shown by |\n|---|---|---|"
        by = [shown(found[fault.name])] if fault.name in found else []
        by += fault.proofs
        by += [f"{name} of the duties" for name in fault.duties if name in found]
        by += [fault.hole] if fault.hole else []
        yield f"| {fault.name} | {fault.text} | {'<br>'.join(by) or '**a hole**'} |"


def is_shown(fault, found):
    return fault.name in found or fault.proofs or any(name in found for name in fault.duties)


def complaints(faults, found):
    names = {fault.name for fault in faults}
    for name, tests in sorted(found.items()):
        if re.fullmatch(r"F-\d+", name) and name not in names:
            yield f"{name} is the mark of '{tests[0][0]}', and faults.txt does not have it"
    for fault in faults:
        for test, passed in found.get(fault.name, []):
            if not passed:
                yield f"{fault.name}: '{test}' fails, or was not run"
        for name in fault.duties:
            if name not in found:
                yield f"{fault.name}: no test shows the duty {name}"
        if is_shown(fault, found) and fault.hole:
            yield f"{fault.name} has a test now: faults.txt still says '{fault.hole}'"
        if not is_shown(fault, found) and not fault.hole:
            yield f"{fault.name} has no test"


def main():
    words = sys.argv[1:]
    write = words[:1] == ["--write"]
    programs = words[write:]
    if not programs:
        print(__doc__)
        return 2
    faults, found, became = read_faults(), {}, results()
    wanted = {fault.name for fault in faults} | {name for fault in faults for name in fault.duties}
    for program in programs:
        cases = conformance.run(program, lambda tag: tag in wanted or re.fullmatch(r"F-\d+", tag) is not None)
        for name, (ids, passed) in cases.items():
            for one in ids:
                found.setdefault(one, []).append((name, passed))
    for one, title, name in scenarios():
        found.setdefault(one, []).append((title, became.get(name) == "passed"))  # a skip shows nothing
    text = HEAD.format(shown=sum(bool(is_shown(fault, found)) for fault in faults), all=len(faults))
    text += "\n".join(rows_of(faults, found)) + "\n"
    wrong = list(complaints(faults, found))
    conformance.keep(TABLE, text, wrong, write)
    print("\n".join(wrong) or "every fault is shown, or a hole that is known")
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Wrong as wrong_thing:
        print(wrong_thing)
        sys.exit(1)
