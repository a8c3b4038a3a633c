#!/usr/bin/env python3
"""Manual pages, etc/iscsid.conf and the bash completion say what the programs' tables say.

Arguments: the programs that man/generate.py asks. When this fails, build the target `documents`, or describe in
man/keys.txt what is new.
"""

import difflib
import os
import sys

import tree

sys.path.insert(0, os.path.join(tree.ROOT, "man"))
import generate  # noqa: E402  (its folder had to be found first)
from programs import script_options  # noqa: E402


def drift(programs, text_of=generate.read):
    """One line for each file that differs from what its sources make of it, or for the sources that do not fit."""
    try:
        made = generate.documents(programs, text_of)
    except generate.Wrong as wrong:
        return [str(wrong)]
    out = []
    for path, wanted in made.items():
        lines = list(difflib.unified_diff(text_of(path).splitlines(), wanted.splitlines(), lineterm="", n=0))
        if lines:
            out.append(f"{path} is not what the tables say, build the target 'documents': {' '.join(lines[2:5])}")
    return out


def wrong_of(make):
    try:
        make()
    except generate.Wrong as wrong:
        return [str(wrong)]
    return []


def check():
    programs = generate.Programs(sys.argv[1:])
    return drift(programs)


def planted(name, text, plant):
    path, old, new = plant
    if name != path:
        return text
    assert old in text, f"{path} no longer has {old!r}: the self-test has to change"
    return text.replace(old, new, 1)


def self_test():
    programs = generate.Programs(sys.argv[1:])
    sound = generate.documents(programs)  # so that the plants are all there is to find, whatever the tree is like

    def text(name):
        return sound.get(name) or generate.read(name)

    def changed(path, old, new):
        """The files, but one with another text in it."""
        return lambda name: planted(name, text(name), (path, old, new))

    first = programs.adm[1]
    plants = [
        ("a page with another default", changed("man/iscsid.conf.5", "default 120", "default 121"), 1),
        ("a key that nobody describes", changed("man/keys.txt", "node.startup\n", ""), 1),
        ("a description of no key", changed("man/keys.txt", "node.startup\n", "node.startup node.other\n"), 1),
        ("another value in iscsid.conf", changed("etc/iscsid.conf", "cmds_max = 128", "cmds_max = 64"), 1),
        ("a description that iscsid.conf and its page lack", changed("man/keys.txt", "Commands in", "Work in"), 2),
        ("a difference that the page lacks", changed("man/iscsiadm.8", "Here: ", "Now: "), 1),
        ("a completion without a key", changed("completions/iscsiadm", "node.session.scan ", ""), 1),
        ("a completion without a word of -L", changed("completions/iscsiadm", "all manual automatic onboot", "all manual automatic"), 1),
        ("an entry's name that stands there twice", changed("iscsiadm/differences.txt", "\n\nid: help", "\nid: x\n\nid: help"), 1),
        ("two entries of the same id", changed("iscsiadm/differences.txt", "\nid: help", "\nid: order"), 1),
        ("an entry's name that nobody knows", changed("iscsiadm/differences.txt", "\nid: help", "\nid: help\nwhy: x"), 1),
        ("what was just generated", text, 0),
    ]
    out = [line for what, text_of, wanted in plants for line in tree.expect(what, drift(programs, text_of), wanted)]
    for what, getopts, wanted in (("a script that takes what its help has", "ab:", 0), ("another letter", "abc:", 1),
                                  ("an argument less", "ab", 1), ("no getopts", None, 1)):
        script = f"while getopts {getopts} letter; do" if getopts else ""
        out += tree.expect(what, wrong_of(lambda: script_options(script, "  -a  x\n  -b WORD  y")), wanted)
    first.help += " and more"
    out += tree.expect("an option whose help has changed", drift(programs, text), 1)
    return out


if __name__ == "__main__":
    tree.main(check, self_test)
