"""The commands of README.md and docs/*.md, as blocks that a test can run.

A block is fenced as `console`: lines that begin with "# " or "$ " are commands, the others what is printed. In what is printed
"..." is any text, and a line of it alone any number of lines. A command goes on over a backslash at the end of its line, and
over a here-document. Before a block may stand, as a comment of Markdown:

    <!-- not run: WHY -->                     no test runs it
    <!-- not run: WHY; instead: COMMAND -->   and this is done in its place, so that the next blocks find what they want
    <!-- until -->                            its last command is repeated until it prints that
    <!-- PLACE: NAME -->                      the block is run by another test, that of PLACES, which asks for it by NAME
"""

import os
import re

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Which tests take blocks of pages by their names.
PLACES = {"multipath_boot": "tests/guest/multipath_boot.py", "root_on_a_lun": "tests/guest/root_on_a_lun.py",
          "service_and_package": "tests/guest/boots.py"}
FENCE = re.compile(r"^```(\w*)\s*$")
NOTE = re.compile(r"^<!-- (?:(not run|until|" + "|".join(PLACES) + r")(?:: (.*?))?) -->$")
HERE = re.compile(r"<<-?\s*'?(\w+)'?")


class Wrong(Exception):
    """A page that cannot be read as one."""


class Command:
    def __init__(self, line, text):
        self.line, self.text, self.printed = line, text, []

    def pattern(self):
        """What it has to print."""
        parts = []
        for line in self.printed:
            words = ".*".join(map(re.escape, line.split("..."))) + "\n"
            parts.append(r"(?:[^\n]*\n)*?" if line.strip() == "..." else words)
        return re.compile("".join(parts))


class Block:
    def __init__(self, page, line, kind, note):
        self.page, self.line, self.kind = page, line, kind
        self.what, self.note = note
        self.commands = []

    def where(self):
        return f"{self.page}:{self.line}"

    def reason(self):
        return self.note.partition("; instead: ")[0]

    def instead(self):
        return self.note.partition("; instead: ")[2] if self.what == "not run" else ""


def _commands(block, lines):
    """The commands of a block's lines, each with what it prints."""
    goes_on = None  # how the command's last line is known
    for number, line in enumerate(lines, block.line + 1):
        if goes_on is not None:
            block.commands[-1].text += "\n" + line
            if goes_on == "\\":
                goes_on = "\\" if line.endswith("\\") else None
            elif line == goes_on:
                goes_on = None
        elif line.startswith(("# ", "$ ")):
            block.commands.append(Command(number, line[2:]))
            here = HERE.search(line)
            goes_on = here.group(1) if here else "\\" if line.endswith("\\") else None
        elif not block.commands:
            raise Wrong(f"{block.page}:{number}: neither a command nor printed by one: {line}")
        else:
            block.commands[-1].printed.append(line)
    if goes_on is not None:
        raise Wrong(f"{block.where()}: its last command has no end")


def blocks_of(page, text):
    """The blocks of a page in order; a fence of another kind has no commands."""
    found, note, inside, lines = [], ("", ""), None, []
    for number, line in enumerate(text.split("\n"), 1):
        fence = FENCE.match(line)
        if inside is not None:
            if line != "```":
                lines.append(line)
                continue
            if inside.kind == "console":
                _commands(inside, lines)
            found.append(inside)
            inside, note = None, ("", "")
        elif fence:
            inside, lines = Block(page, number, fence.group(1), note), []
        elif line.startswith("<!-- ") and NOTE.match(line):
            note = (NOTE.match(line).group(1), NOTE.match(line).group(2) or "")
        elif line.strip():
            note = ("", "")
    if inside is not None:
        raise Wrong(f"{inside.where()}: a block without an end")
    return found


def names():
    """README.md and the pages of docs/."""
    return ["README.md"] + sorted(f"docs/{name}" for name in os.listdir(os.path.join(TREE, "docs")) if name.endswith(".md"))


def read(page):
    with open(os.path.join(TREE, page), encoding="utf-8") as file:
        return file.read()


def blocks(page):
    return blocks_of(page, read(page))


def script(page, place, name):
    """The commands of one block as a shell's text, for the test `place` (see PLACES); its prompts and outputs are left out."""
    found = [block for block in blocks(page) if (block.what, block.note) == (place, name)]
    if len(found) != 1:
        raise Wrong(f"{page} has {len(found)} blocks '{place}: {name}'")
    return "\n".join(command.text for command in found[0].commands)
