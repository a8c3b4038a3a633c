#!/usr/bin/env python3
"""The manual pages are sound roff: groff has no warning about any of them."""

import glob
import os
import shutil
import subprocess
import sys
import tempfile

import tree


def warnings(path):
    """What groff says. A wide page, so that no example is too long for its line."""
    command = ["groff", "-man", "-ww", "-Tutf8", "-rLL=120n", "-z", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [line.replace(tree.ROOT + "/", "") for line in done.stderr.splitlines()]


def check():
    pages = sorted(glob.glob(os.path.join(tree.ROOT, "man", "*.[58]")))
    return [line for page in pages for line in warnings(page)] if pages else ["there are no pages in man/"]


def self_test():
    out = []
    with tempfile.TemporaryDirectory() as folder:
        page = os.path.join(folder, "x.8")
        for what, body, wanted in [("an unknown macro", ".Bogus x", True), ("an unknown character", "\\(xx", True),
                                   ("a sound line", "x \\- y", False)]:
            with open(page, "w", encoding="utf-8") as file:
                file.write(f".TH X 8 2026-11\n.SH NAME\n{body}\n")
            out += tree.expect(what, warnings(page)[:1], int(wanted))
    return out


if __name__ == "__main__":
    if not shutil.which("groff"):
        print("groff is not installed")
        sys.exit(77)
    tree.main(check, self_test)
