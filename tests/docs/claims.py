#!/usr/bin/env python3
"""Every command of README.md and docs/ is run by a test, or says why not; and every link leads somewhere.

Arguments: the tests that run pages, as PLACE=PAGE,PAGE... (tests/docs/CMakeLists.txt). --self-test plants mistakes.
"""

import os
import re
import sys

import pages

sys.path.insert(0, os.path.join(pages.TREE, "tests", "lint"))

import tree  # noqa: E402  pylint: disable=C0413

PICTURES = ("mermaid",)
INDENTED = re.compile(r"(?:\A|\n)\n( {4}\S[^\n]*)")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def outside(text):
    """A page's text without its blocks; lines stay where they are."""
    return re.sub(r"^```.*?^```$", lambda match: "\n" * match.group(0).count("\n"), text, flags=re.S | re.M)


def anchors(text):
    """As the forges make them of headings."""
    titles = re.findall(r"^#+ (.*)$", outside(text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page, text, read):
    out = []
    for link in LINK.findall(outside(text)):
        path, _, anchor = link.partition("#")
        if ":" in path:
            continue
        target = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
        if not os.path.exists(os.path.join(pages.TREE, target)):
            out.append(f"{page}: a link to {path}, which is not there")
        elif anchor and anchor not in anchors(text if target == page else read(target)):
            out.append(f"{page}: {target} has no heading #{anchor}")
    return out


def claims(page, text, read, run):
    """What no test runs and no reason excuses; and how many commands there are of each kind."""
    counts = {"run": 0, "by another test": 0, "not run": 0}
    out = [f"{page}: an indented block, whose commands no test finds: {found.strip()}"
           for found in INDENTED.findall(outside(text))]
    try:
        blocks = pages.blocks_of(page, text)
    except pages.Wrong as wrong:
        return out + [str(wrong)], counts
    for block in blocks:
        if block.kind != "console":
            out += [] if block.kind in PICTURES + ("text",) else [f"{block.where()}: a block that no test claims"]
        elif block.what == "not run":
            counts["not run"] += len(block.commands)
            out += [] if block.reason() else [f"{block.where()}: not run, and no reason"]
        elif block.what in pages.PLACES:
            counts["by another test"] += len(block.commands)
            if f'pages.script("{page}", "{block.what}", "{block.note}")' not in read(pages.PLACES[block.what]):
                out.append(f"{block.where()}: {pages.PLACES[block.what]} does not take '{block.note}'")
        else:
            counts["run"] += len(block.commands)
            out += [] if page in run else [f"{block.where()}: no test runs this page"]
    return out, counts


def check_all(names, read, run):
    out = [f"{page} is to be run, and is no page" for page in run if page not in names]
    for page in names:
        text = read(page)
        wrong, counts = claims(page, text, read, run)
        out += wrong + links(page, text, read)
        print(f"{page}: commands: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    return out


def self_test():
    page, block = "docs/first-hour.md", "```console\n# true\n```\n"
    plants = [
        ("a block", block, 0),
        ("a block of a page that no test runs", block, 1),
        ("a fence without commands", "```\n# true\n```\n", 1),
        ("an indented block", "Text.\n\n    # true\n", 1),
        ("a reason", "<!-- not run: because -->\n" + block, 0),
        ("no reason", "<!-- not run -->\n" + block, 1),
        ("a block for a test that does not take it", "<!-- multipath_boot: nonsense -->\n" + block, 1),
        ("no end", "```console\n# true\n", 1),
        ("what nobody printed", "```console\ntrue\n```\n", 1),
        ("a link that leads nowhere", "[x](nowhere.md)", 1),
        ("a heading that is not there", "# A b\n\n[x](#a-c) [y](#a-b)", 1),
    ]
    out = []
    for what, text, wanted in plants:
        run = [] if "no test runs" in what else [page]
        found = claims(page, text, pages.read, run)[0] + links(page, text, pages.read)
        out += tree.expect(what, found, wanted)
    command = pages.blocks_of(page, "```console\n# x\na ... c\n...\nd\n```\n")[0].commands[0]
    for said, fits in (("a b c\nd\n", True), ("a b c\nx\ny\nd\n", True), ("a b\nd\n", False), ("a b c\n", False),
                       ("a c\nd\n", False)):
        out += [] if bool(command.pattern().fullmatch(said)) == fits else [f"{said!r} is judged wrongly"]
    return out


def check():
    run = [page for word in sys.argv[1:] for page in word.partition("=")[2].split(",")]
    return check_all(pages.names(), pages.read, run)


if __name__ == "__main__":
    tree.main(check, self_test)
