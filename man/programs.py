"""What the programs say of themselves: options, keys, exit codes. Their help, their tables, and, of iscsiadm, which mode
takes which option, asked by trying. Used by generate.py."""

import os
import re
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KINDS = {"node", "send_targets", "isns", "iface", "daemon"}
FLAGS = {"secret", "read_only", "hidden", "when_set", "power_of_two", "or_zero", "v4_only", "v6_only"}
MODES = ("discovery", "discoverydb", "node", "session", "iface", "host", "fw", "doctor", "top", "monitor")

# What stands for an option's argument where a program's help has no word for it.
ARGUMENTS = {
    "m": "MODE", "p": "PORTAL", "T": "NAME", "I": "INTERFACE", "o": "OP", "t": "TYPE", "n": "KEY", "v": "VALUE",
    "H": "HOST", "r": "SID", "P": "LEVEL", "L": "STARTUP", "U": "STARTUP", "k": "PRIORITY", "d": "LEVEL",
    "C": "SUBMODE", "a": "ADDRESS", "b": "BYTES", "c": "COUNT", "i": "SECONDS", "x": "INDEX", "A": "TYPE",
}

# What is looked at before the mode has to be one that there is, or may be.
VALUES = {"o": "show", "r": "1"}

# What a mode lets through, as open-iscsi's does, though nothing can come of it: not shown.
USELESS = {("i", "session")}


class Wrong(Exception):
    """The sources do not fit together; the text is for the person who changed one of them."""


class Row:
    """A row of the record table."""

    def __init__(self, line):
        fields = line.split("\t")
        (self.name, kinds, self.type, self.default, self.shipped, _, high, choices, flags, self.allowed) = fields
        self.kinds, self.flags = set(kinds.split()), set(flags.split())
        self.high = int(high)
        self.choices = choices.split("|") if choices else []
        if not self.kinds <= KINDS or not self.flags <= FLAGS:
            raise Wrong(f"{self.name} has a kind or a flag that man/generate.py has no words for")

    @property
    def in_config(self):
        """Whether a person may set it in iscsid.conf."""
        return not self.flags & {"read_only", "hidden"} and "iface" not in self.kinds


class Option:
    """An option as a program's help and its behaviour show it."""

    def __init__(self, letter, name, argument, help_text):
        self.letter, self.name, self.argument, self.help = letter, name, argument, help_text
        self.optional = False  # the argument may be left out
        self.modes = []


def run(program, *words, code=0, root="/nonexistent"):
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                          env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "ISCSI_ROOT": root})
    if code is not None and done.returncode != code:
        raise Wrong(f"{program} {' '.join(words)} ended with {done.returncode}: {done.stderr}")
    return done


HELP_LINE = re.compile(
    r"^ {2}-(\w)(?:, --([\w-]+)(\[)?(?:[= ]([A-Z][A-Z=_|]*))?\]?| ([A-Z|a-z]+))?(?: {2,}(\S.*)| (\S.*))$")


def help_options(text):
    options = []
    for line in text.splitlines():
        found = HELP_LINE.match(line)
        if found:
            letter, name, optional, argument, short_argument, help_text, tight_help = found.groups()
            options.append(Option(letter, name, argument or short_argument, help_text or tight_help))
            options[-1].optional = bool(optional)
        elif line.startswith("  -"):
            raise Wrong(f"a line of a program's help cannot be read: {line!r}")
    if not options:
        raise Wrong("a program's help has no options")
    return options


def adm_options(program, root):
    """The options of iscsiadm; which mode takes which is asked of the program itself, in an empty root."""
    options = help_options(run(program, "--help").stdout)
    for option in options:
        alone = run(program, f"-{option.letter}", code=None, root=root)
        if f"option requires an argument -- '{option.letter}'" in alone.stderr:
            option.argument = option.argument or ARGUMENTS.get(option.letter)
            if not option.argument:
                raise Wrong(f"man/programs.py has no word for the argument of iscsiadm -{option.letter}")
        words = [f"-{option.letter}"] + ([VALUES.get(option.letter, "0")] if option.argument else [])
        if option.letter in "hV":
            continue  # they end the program before a mode is looked at
        for mode in MODES:
            # The second mode does not exist: nothing is done, whatever the first one would do.
            said = run(program, *words, "-m", mode, "-m", "none", code=None, root=root).stderr
            refused = f"option '-{option.letter}' is not allowed" in said
            if refused and (option.letter, mode) in USELESS:
                raise Wrong(f"man/programs.py: -{option.letter} is refused in {mode} mode, and need not be left out")
            if not refused and (option.letter, mode) not in USELESS:
                option.modes.append(mode)
    return options


GETOPTS = re.compile(r"^while getopts (\S+) ", re.M)


def script_options(text, help_text):
    """The options of a shell script, whose getopts has to know those of its help."""
    options = help_options(help_text)
    found = GETOPTS.search(text)
    taken = sorted(re.findall(r"\w:?", found[1])) if found else []
    if taken != sorted(option.letter + (":" if option.argument else "") for option in options):
        raise Wrong(f"iscsi_discovery: the help and getopts ({' '.join(taken)}) have different options")
    return options


def discovery_options():
    path = os.path.join(ROOT, "tools/iscsi_discovery")
    with open(path, encoding="utf-8") as file:
        return script_options(file.read(), run(path, code=1).stdout)


class Programs:
    def __init__(self, paths):
        path = {os.path.basename(name): os.path.abspath(name) for name in paths}
        missing = {"iscsiadm", "iscsid", "iscsistart", "iscsi-iname", "iscsi-gen-initiatorname",
                   "iscsi-exporter", "print-tables"} - set(path)
        if missing:
            raise Wrong(f"not among the arguments: {', '.join(sorted(missing))}")
        self.adm_help = run(path["iscsiadm"], "--help").stdout
        with tempfile.TemporaryDirectory(prefix="iscsi-documents-") as root:
            self.adm = adm_options(path["iscsiadm"], root)
        self.others = {
            "iscsid": help_options(run(path["iscsid"], "--help").stdout),
            "iscsistart": help_options(run(path["iscsistart"], "--help").stdout),
            "iscsi-iname": help_options(run(path["iscsi-iname"], "--help").stderr),
            "iscsi-gen-initiatorname": help_options(run(path["iscsi-gen-initiatorname"], "-h").stdout),
            "iscsi-exporter": help_options(run(path["iscsi-exporter"], "-h").stdout),
            "iscsi_discovery": discovery_options(),
        }
        self.rows, self.exits, self.events = [], [], []
        self.words = []  # option, mode, what may stand behind it
        for line in run(path["print-tables"]).stdout.splitlines():
            what, rest = line.split("\t", 1)
            if what == "key":
                self.rows.append(Row(rest))
            elif what == "word":
                self.words.append(rest.split("\t"))
            elif what == "event":
                self.events.append(rest.split("\t"))
            else:
                self.exits.append(rest.split("\t"))
