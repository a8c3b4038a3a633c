#!/usr/bin/env python3
"""Nothing in the tree knows the machine it was written on: no home directories, no host name, no neighbours."""

import os
import re
import socket

import tree

HERE = os.path.relpath(os.path.abspath(__file__), tree.ROOT)
PLACES = re.compile(r"(?:(?<![\w.$}-])|(?<=-[IL]))/(?:work|root|home|workspace)(?![\w-])|(?<![\w-])(?:\.\./)?shared/(?=[\w.])")
GENERIC = {"localhost", "debian", "linux", "host", "builder", "runner", "main", "target", "iscsi"}


def check_text(path, text, host):
    out = []
    for number, line in enumerate(text.split("\n"), 1):
        found = PLACES.search(line)
        if found:
            out.append(f"{path}:{number}: '{found.group(0)}' is a path of one machine")
        if host and re.search(r"(?<![\w-])" + re.escape(host) + r"(?![\w-])", line):
            out.append(f"{path}:{number}: names the host '{host}'")
    return out


def host_name():
    name = socket.gethostname().split(".")[0]
    return None if len(name) < 5 or name.lower() in GENERIC else name


def check():
    host = host_name()
    return [line for path in tree.files() if path != HERE for line in check_text(path, tree.read(path), host)]


def self_test():
    plants = [
        ("cd /" + "work/main", 1),
        ("open('/" + "root/x')", 1),
        ("see ../shared/DESIGN.md", 1),
        ("see shared/facts", 1),
        ("-I/home/me/include", 1),
        ("built on buildbox17 today", 1),
        ("--root=DIR, $ISCSI_ROOT/etc, /etc/iscsi, libshared/x, shared between, wire/work", 0),
    ]
    return [line for text, wanted in plants for line in tree.expect(text, check_text("x", text, "buildbox17"), wanted)]


if __name__ == "__main__":
    tree.main(check, self_test)
