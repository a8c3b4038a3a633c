#!/usr/bin/env python3
"""Makes what pages show of the code's own tables, from the source: exit codes, the graph of rooms, the states of a session.

  tables.py             writes them anew
  tables.py --check     fails when a page has others; --self-test: it can
"""

import difflib
import os
import re
import sys

import pages

sys.path.insert(0, os.path.join(pages.TREE, "tests", "lint"))

import layers  # noqa: E402  pylint: disable=C0413
import tree  # noqa: E402  pylint: disable=C0413

# What to do about an exit code: of each that the code says somewhere, and of no other.
ADVICE = {
    1: "see the line before it", 2: "`iscsiadm -m session` lists what there is", 3: "memory, or too much asked for at once",
    4: "the connection broke: network, target's log", 5: "the target refused, or is none; the line before says how",
    6: "the record database: `/etc/iscsi`, its disk, its lock", 7: "the command or a value; the line says which",
    8: "[the target is not there](#the-target-is-not-there-8-at-a-login-11-at-a-discovery)",
    9: "a fault of ours, or the daemon is ending: see its log",
    10: "the target did not answer; the session is closed all the same",
    11: "[the target is not there](#the-target-is-not-there-8-at-a-login-11-at-a-discovery), or says nothing",
    12: "`iface.transport_name` is not `tcp`: there are no adapters here", 13: "be root",
    15: "[there is a session already](#there-is-a-session-already-15)",
    16: "the daemon is of another version than `iscsiadm`: restart it", 18: "the daemon went away meanwhile: ask again",
    19: "[the target does not have it](#target-not-found-19)",
    20: "[no daemon runs](#can-not-connect-to-iscsi-daemon-20)", 21: "nothing matches; an empty list ends so, too",
    22: "`iscsiadm -m session` lists what there is", 23: "`iscsiadm -m host` lists what there is",
    24: "[wrong name or secret](#the-login-is-refused-wrong-name-or-secret-24)", 25: "the iSNS server's log",
    26: "the iSNS server's log", 27: "software sessions have no such function",
    28: "[somebody uses the disk](#device-or-resource-in-use-at-a-logout-28)", 29: "ask again",
    32: "of `iscsiadm doctor`: a session is lost, or a disk behind it; its line says why",
    33: "[the daemon](#iscsid-has-not-answered-for-60-s-33), or what it asked (udev), was late: see its log",
}
ROW = re.compile(r'Row\{\s*Errc::(\w+),\s*(\d+),\s*"([^"]*)"\s*\}')
STATE = re.compile(r"\bstate = (?:ManagedSession::)?State::(\w+);")


class Wrong(Exception):
    """The source has something else than a picture of it would say."""


def exit_codes(read):
    rows = ROW.findall(read("libiscsi-core/base/error.cpp"))
    said = set()
    for path in tree.cpp_files(tree.PRODUCT):
        if not path.startswith("libiscsi-core/base/error."):
            said |= set(re.findall(r"\bErrc::(\w+)", tree.code_of(read(path))))
    words = {int(number): text for _, number, text in reversed(rows)}
    used = {int(number) for name, number, _ in rows if name in said}
    if used != set(ADVICE):
        raise Wrong(f"exit codes without advice: {sorted(used - set(ADVICE))}; advice on none: {sorted(set(ADVICE) - used)}")
    out = ["| number | text | what to do |", "| --- | --- | --- |"]
    out += [f"| {number} | {words[number]} | {ADVICE[number]} |" for number in sorted(ADVICE)]
    return "\n".join(out) + "\n"


def reach(room, below):
    """All rooms that a room may include, and theirs."""
    found = set()
    for other in below[room]:
        found |= {other} | reach(other, below)
    return found


def rooms(below):
    """The graph, without the edges that others imply."""
    places = (("libiscsi-core", layers.IN_CORE), ("the daemon", [*layers.IN_DAEMON, "iscsid"]),
              ("programs", ["iscsiadm", "tools"]))
    if sorted(room for _, group in places for room in group) != sorted(below):
        raise Wrong("layers.py has a room that no picture has")
    out = ["```mermaid", "flowchart BT"]
    for number, (title, group) in enumerate(places):
        out += [f'  subgraph g{number}["{title}"]', *(f"    {room}" for room in group), "  end"]
    for room, others in below.items():
        direct = [other for other in others if not any(other in reach(third, below) for third in others if third != other)]
        out += [f"  {room} --> {other}" for other in direct]
    return "\n".join([*out, "```"]) + "\n"


# Why a session comes from one state to the other, and in which files; each has to set that state.
MOVES = [
    ("[*]", "logging_in", "a login", "managed_session.hpp"),
    ("[*]", "recovering", "left by an earlier daemon, whose devices wait", "restore.cpp companions.cpp"),
    ("logging_in", "running", "logged in and scanned", "log_in.cpp companions.cpp"),
    ("running", "recovering", "the connection is lost", "recover.cpp"),
    ("recovering", "running", "logged in again, units compared", "recover.cpp"),
    ("logging_in", "ending", "given up", "log_out.cpp companions.cpp"),
    ("running", "ending", "a logout that nobody's use forbids", "log_out.cpp"),
    ("recovering", "ending", "a logout, or reopen_max", "log_out.cpp"),
    ("ending", "[*]", "", "log_out.cpp"),
]


def states(read):
    header = read("iscsid/control/managed_session.hpp")
    names = re.findall(r"^\s*(\w+),", re.search(r"enum class State [^{]*\{(.*?)\}", header, re.S)[1], re.M)
    if set(names) != {end for move in MOVES for end in move[:2]} - {"[*]"}:
        raise Wrong(f"the picture of a session's states has others than {names}")
    folder = os.path.join(pages.TREE, "iscsid", "control")
    sets = {(name, state) for name in sorted(os.listdir(folder)) if name.endswith((".cpp", ".hpp"))
            for state in STATE.findall(read(f"iscsid/control/{name}").replace("State state = ", "state = "))}
    drawn = {(place, target) for _, target, _, places in MOVES if target != "[*]" for place in places.split()}
    if sets != drawn:
        raise Wrong(f"set in the code and not drawn: {sorted(sets - drawn)}; drawn and not set: {sorted(drawn - sets)}")
    out = ["```mermaid", "stateDiagram-v2"]
    out += [f"  {start} --> {end}" + (f": {why}" if why else "") for start, end, why, _ in MOVES]
    return "\n".join([*out, "```"]) + "\n"


def made(read):
    """(page, name of the place in it) -> its text."""
    return {("docs/troubleshooting.md", "exit codes"): exit_codes(read),
            ("docs/architecture.md", "rooms"): rooms(layers.MAY_INCLUDE),
            ("docs/architecture.md", "states of a session"): states(read)}


def wanted(read=pages.read):
    """The pages as they should be."""
    out = {}
    for (page, name), text in made(read).items():
        place = re.compile(rf"(<!-- {name}: made by tests/docs/tables.py -->\n).*?(<!-- end -->)", re.S)
        out[page], count = place.subn(lambda match, text=text: match[1] + text + match[2], out.get(page) or read(page))
        if count != 1:
            raise Wrong(f"{page} has no one place for '{name}'")
    return out


def drift(read=pages.read):
    """What a page, or a picture, has otherwise than the code."""
    try:
        made_now = wanted(read)
    except Wrong as wrong:
        return [str(wrong)]
    out = []
    for page, text in made_now.items():
        if text != read(page):
            lines = difflib.unified_diff(read(page).splitlines(), text.splitlines(), lineterm="", n=0)
            out.append(f"{page} has other tables than the code, run tests/docs/tables.py: {' '.join(list(lines)[2:6])}")
    return out


def self_test():
    plants = [
        ("what is there", "README.md", "", "", 0),
        ("another text of an exit code", "libiscsi-core/base/error.cpp", '"session exists"', '"it is there"', 1),
        ("an exit code less", "libiscsi-core/base/error.cpp", "Row{Errc::session_exists, 15,", "Row(", 1),
        ("a state more", "iscsid/control/managed_session.hpp", "        running,\n", "        running,\n        dozing,\n", 1),
        ("a move more", "iscsid/control/log_out.cpp", "session.state = State::ending;", "session.state = State::running;", 1),
        ("a page with another arrow", "docs/architecture.md", "wire --> base", "wire --> scsi", 1),
        ("a page without a place", "docs/architecture.md", "<!-- rooms: made", "<!-- room: made", 1),
    ]
    sound = wanted()
    out = []
    for what, path, old, new, count in plants:
        def read(name, path=path, old=old, new=new):
            text = sound.get(name) or pages.read(name)
            assert name != path or old in text, f"{path} no longer has {old!r}: the self-test has to change"
            return text.replace(old, new, 1) if name == path else text
        out += tree.expect(what, drift(read), count)
    return out


def write():
    for page, text in wanted().items():
        with open(os.path.join(pages.TREE, page), "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        write()
    else:
        tree.main(drift, self_test)
