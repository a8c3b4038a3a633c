#!/usr/bin/env python3
"""Which test shows which duty of the RFCs, and whether it passes: runs the test programs and makes the table of it.

    conformance.py PROGRAM...            compares with tests/conformance.md; a duty that must be kept and has no test is
                                         an error unless duties.txt says why, and so is a test that fails
    conformance.py --write PROGRAM...    writes tests/conformance.md anew
    conformance.py --self-test           shows that it finds what is wrong

A test case names the ids in its tags (F-11 and the like are of the catalogue of faults). Ids that begin with UNH- are numbers of the University of New Hampshire's
conformance suites for initiators: a number that duties.txt has and no test names is a hole, as a duty is."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as tree

HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = os.path.join(os.path.dirname(HERE), "conformance.md")
ENOUGH = 0.95  # of all duties that bind
NEEDED = ("M", "u")  # the levels of which none may be without a test


class Wrong(Exception):
    pass


class Duty:
    def __init__(self, line, section):
        parts = [part.strip() for part in line.split("|")]
        if len(parts) not in (4, 5):
            raise Wrong(f"duties.txt: '{line}' has not four parts, or five")
        self.name, level, self.place, self.text = parts[:4]
        self.section, self.level = section, level.strip("()")
        self.of_suite = self.level == "u"  # a number, not a duty of its own
        self.binds = level == self.level
        note = parts[4] if len(parts) == 5 else ""
        if note and not note.startswith(("because ", "hole: ")):
            raise Wrong(f"duties.txt: what is behind {self.name} is neither 'because ...' nor 'hole: ...'")
        if not self.binds and not note.startswith("because "):
            raise Wrong(f"duties.txt: {self.name} does not bind, and nobody says why")
        self.note = note


def read_duties(lines):
    duties, section = {}, ""
    for line in lines:
        line = line.strip()
        if line.startswith("= "):
            section = line[2:]
        elif line and not line.startswith("#"):
            duty = Duty(line, section)
            if duty.name in duties:
                raise Wrong(f"duties.txt has {duty.name} twice")
            duties[duty.name] = duty
    return duties


def is_id(tag):
    return re.fullmatch(r"[A-Z]{2,}(-[A-Za-z0-9.]+)+", tag) is not None


def run(program, counts=is_id):
    """Test case -> (its ids, whether it passed), of those with tags that count."""
    listed = subprocess.run([program, "--list-tags"], capture_output=True, text=True, check=False, timeout=60).stdout
    ids = sorted({tag for tag in re.findall(r"\[([^\]]+)\]", listed) if counts(tag)})
    if not ids:
        return {}
    wanted = ",".join(f"[{name}]" for name in ids)
    done = subprocess.run([program, "-r", "xml", wanted], capture_output=True, text=True, errors="replace", check=False,
                          timeout=600)
    try:
        root = tree.fromstring(done.stdout)
    except tree.ParseError as error:
        raise Wrong(f"{program} ended with {done.returncode}: {error}\n{done.stderr[-2000:]}") from None
    cases = {}
    for case in root.iter("TestCase"):
        tags = [tag for tag in re.findall(r"\[([^\]]+)\]", case.get("tags", "")) if counts(tag)]
        cases[case.get("name")] = (tags, case.find("OverallResult").get("success") == "true")
    return cases


def shown(tests):
    return "<br>".join(f"{name}{'' if passed else ' **fails**'}" for name, passed in sorted(set(tests)))


def rows_of(duties, found):
    section = None
    for duty in duties.values():
        if duty.section != section:
            section = duty.section
            yield f"\n## {section}\n\n| id | level | section | duty | shown by |\n|---|---|---|---|---|"
        tests = shown(found.get(duty.name, []))
        by = tests or (duty.note if duty.note else "**a hole**")
        yield f"| {duty.name} | {duty.level if duty.binds else '-'} | {duty.place} | {duty.text} | {by} |"


def table(duties, found):
    binding = [duty for duty in duties.values() if duty.binds and not duty.of_suite]
    must = [duty for duty in binding if duty.level == "M"]
    numbers = [duty for duty in duties.values() if duty.of_suite]

    def kept(some):
        return sum(duty.name in found for duty in some)

    head = ("# Duties and the tests that show them\n\n"
            "Made by `tests/conformance/conformance.py --write` from `tests/conformance/duties.txt` and the tags of the tests; the\n"
            "test `conformance` runs them and compares. A duty without a test is a hole.\n\n"
            f"{kept(must)} of {len(must)} that must be kept, {kept(binding)} of {len(binding)} in all that bind an initiator of\n"
            "ErrorRecoveryLevel 0 with one connection a session.\n\n"
            f"{kept(numbers)} of {len(numbers)} numbers of the suites of the University of New Hampshire for initiators.\n")
    return head + "\n".join(rows_of(duties, found)) + "\n"


def complaints(duties, found):
    for name, tests in sorted(found.items()):
        for test, passed in tests:
            if not passed:
                yield f"{name}: '{test}' fails"
        if name not in duties:
            yield f"{name} is the tag of '{tests[0][0]}', and duties.txt does not have it"
    for duty in duties.values():
        if duty.binds and duty.name in found and duty.note:
            yield f"{duty.name} has a test now: duties.txt still says '{duty.note}'"
        if duty.level in NEEDED and duty.name not in found and not duty.note:
            yield f"{duty.name} has no test"
    binding = [duty for duty in duties.values() if duty.binds and not duty.of_suite]
    share = sum(duty.name in found for duty in binding) / len(binding)
    if share < ENOUGH:
        yield f"{share:.0%} of all duties have a test, which is less than {ENOUGH:.0%}"


def self_test():
    """Each entry: what stands in duties.txt, what the tests show, and what has to be complained of."""
    duty, number = "A-01 | M | 1 | a duty", "UNH-FFP-1.1 | u | 1 | a number"
    shown_well, fails = [("a test", True)], [("a test", False)]
    cases = [
        ([duty, number], {"A-01": shown_well, "UNH-FFP-1.1": shown_well}, []),
        ([duty, number], {"A-01": shown_well}, ["UNH-FFP-1.1 has no test"]),
        ([duty, number], {"UNH-FFP-1.1": shown_well}, ["A-01 has no test", "0% of all duties"]),
        ([duty], {"A-01": shown_well, "UNH-FFP-1.1": shown_well}, ["duties.txt does not have it"]),
        ([duty, number], {"A-01": fails, "UNH-FFP-1.1": shown_well}, ["A-01: 'a test' fails"]),
        ([duty, f"{number} | hole: why"], {"A-01": shown_well}, []),
        ([duty, f"{number} | hole: why"], {"A-01": shown_well, "UNH-FFP-1.1": shown_well}, ["has a test now"]),
        ([duty, "A-02 | (M) | 1 | not ours | because"], {"A-01": shown_well}, ["neither 'because"]),
        ([duty, "A-02 | (M) | 1 | not ours"], {"A-01": shown_well}, ["nobody says why"]),
        ([duty, duty], {"A-01": shown_well}, ["twice"]),
    ]
    wrong = []
    for lines, found, expected in cases:
        try:
            said = list(complaints(read_duties(lines), found))
        except Wrong as error:
            said = [str(error)]
        if len(said) != len(expected) or not all(part in text for part, text in zip(expected, said)):
            wrong.append(f"{lines} with {found}: {said}, not {expected}")
    if "**a hole**" not in table(read_duties([duty, number]), {"A-01": shown_well}):
        wrong.append("the table does not show a hole")
    print("\n".join(wrong) or "it finds what is wrong")
    return 1 if wrong else 0


def keep(path, text, wrong, write):
    """Writes a table, or adds to what is wrong that it is another one now."""
    if write:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return
    with open(path, encoding="utf-8") as file:
        if file.read() != text:
            wrong.append(f"tests/{os.path.basename(path)} is not what the tests say now: --write makes it")


def main():
    words = sys.argv[1:]
    if words == ["--self-test"]:
        return self_test()
    write = words[:1] == ["--write"]
    programs = words[write:]
    if not programs:
        print(__doc__)
        return 2
    with open(os.path.join(HERE, "duties.txt"), encoding="utf-8") as file:
        duties, found = read_duties(file), {}
    for program in programs:
        for name, (ids, passed) in run(program).items():
            for one in ids:
                found.setdefault(one, []).append((name, passed))
    text = table(duties, found)
    wrong = list(complaints(duties, found))
    keep(TABLE, text, wrong, write)
    print("\n".join(wrong) or "every duty is shown")
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Wrong as wrong_thing:
        print(wrong_thing)
        sys.exit(1)
