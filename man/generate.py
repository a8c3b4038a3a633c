#!/usr/bin/env python3
"""Writes what the programs' own tables say into the manual pages, etc/iscsid.conf and the bash completion.

Arguments: the programs iscsiadm, iscsid, iscsistart, iscsi-iname, iscsi-gen-initiatorname, iscsi-exporter and
print-tables, in any order. The build's target `documents` runs it. A generated part of a file stands between a line with
"BEGIN GENERATED <name>" and one with "END GENERATED"; etc/iscsid.conf is generated as a whole. tests/lint/documents.py
fails when a file differs from what this would write.
"""

import os
import re
import sys
import textwrap

from programs import MODES, ROOT, Programs, Wrong

INT_MAX = 2147483647


# ---- what people wrote ----


class Group:
    """Keys of man/keys.txt that are described together."""

    def __init__(self, names, section):
        self.names, self.section, self.text, self.examples = names, section, "", []


def read_groups(text):
    groups, section = [], None
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if line.startswith("= "):
            section = line[2:]
        elif not line.startswith(" "):
            groups.append(Group(line.split(), section))
        elif line.strip().startswith("example: "):
            groups[-1].examples.append(line.split(": ", 1)[1])
        else:
            groups[-1].text += (" " if groups[-1].text else "") + line.strip()
    return groups


def check_groups(groups, rows):
    described = [name for group in groups for name in group.names]
    wanted = [row.name for row in rows if row.in_config]
    for name in sorted(set(wanted) - set(described)):
        raise Wrong(f"man/keys.txt does not describe {name}")
    for name in sorted(set(described) - set(wanted)):
        raise Wrong(f"man/keys.txt describes {name}, which is no key of iscsid.conf")
    for name in sorted({name for name in described if described.count(name) > 1}):
        raise Wrong(f"man/keys.txt describes {name} twice")


# ---- etc/iscsid.conf ----

CONF_HEAD = """\
# iscsid.conf: what every new node and discovery record begins with, and the daemon's own settings.
#
# One "key = value" a line; a line whose first character is '#' is a comment. A '#' further right belongs to the
# value. iscsiadm reads this file when it creates a record (discovery, -o new), so a change here does not touch
# records that exist: change those with
#     iscsiadm -m node -T <target> -p <portal> -o update -n <key> -v <value>
# Lines that are commented out show the value that holds without them, or an example where there is none. Every key is
# described, with its range, in iscsid.conf(5).
"""


def conf_lines(group, rows):
    examples = list(group.examples)
    for name in group.names:
        row = rows[name]
        if row.shipped:
            yield f"{name} = {row.shipped}"
        elif row.default:
            yield f"#{name} = {row.default}"
        elif examples:
            yield f"#{name} = {examples.pop(0)}"
        else:
            raise Wrong(f"{name} has no default: man/keys.txt needs an example for it")
    if examples:
        raise Wrong(f"man/keys.txt has an example too many for {group.names[0]}")


def limits(group, rows):
    """What the comment has to add to the description: the bounds of the keys, where they are the same for all."""
    told = set()
    for name in group.names:
        row = rows[name]
        bounded = row.type == "list" or (row.type == "number" and row.high < INT_MAX)
        told.add(f" Allowed: {row.allowed}." if bounded else "")
    return told.pop() if len(told) == 1 else ""


def config_file(groups, rows):
    out, section = [CONF_HEAD], None
    for group in groups:
        if group.section != section:
            section = group.section
            out.append(f"# --- {section} ".ljust(112, "-") + "\n")
        comment = textwrap.wrap(group.text + limits(group, rows), 116, break_long_words=False, break_on_hyphens=False)
        out.append("\n".join([f"# {line}" for line in comment] + list(conf_lines(group, rows))) + "\n")
    return "\n".join(out)


# ---- manual pages ----


def roff(text):
    """Plain text as roff shows it unchanged: every hyphen is one that can be typed."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("^", "\\(ha").replace("~", "\\(ti")
    text = text.replace("`", "\\(ga")
    return "\\&" + text if text.startswith((".", "\\(aq")) else text


def facts(row):
    parts = [row.allowed]
    parts.append(f"default {row.default}" if row.default else "no default")
    if row.shipped and row.shipped != row.default:
        parts.append(f"{row.shipped} in the file as shipped")
    if "secret" in row.flags:
        parts.append("a secret (see SECRETS)")
    if "read_only" in row.flags:
        parts.append("identifies the record and cannot be changed")
    if "when_set" in row.flags:
        parts.append("printed only when it is set")
    return "; ".join(parts) + "."


def key_list(groups, rows):
    out, section = [], None
    for group in groups:
        if group.section != section:
            section = group.section
            out.append(f".SS {roff(section)}")
        for number, name in enumerate(group.names):
            out += [".TQ" if number else ".TP", f".B {roff(name)}"]
        out.append(roff(group.text))
        told = [facts(rows[name]) for name in group.names]
        if len(set(told)) == 1:
            out += [".br", roff("Allowed: " + told[0])]
        else:
            for name, fact in zip(group.names, told):
                out += [".br", f".IR {roff(name.rsplit('.', 1)[1])} :", roff(fact)]
    return "\n".join(out)


def fixed_keys(rows):
    """The keys that no operator sets: they say which record it is."""
    out = []
    for row in rows:
        if "read_only" in row.flags and "iface" not in row.kinds:
            out += [".TP", f".B {roff(row.name)}", roff(row.allowed + ".")]
    return "\n".join(out)


# Keys of an interface that this initiator acts on or shows; the rest configure network adapters with an initiator of
# their own.
SOFTWARE_IFACE = {
    "iface.iscsi_ifacename": "The interface's name: the name of its file.",
    "iface.transport_name": "tcp. Other words are kept; connections are TCP all the same.",
    "iface.net_ifacename": "The network device that connections are bound to.",
    "iface.hwaddress": "The network device by its MAC address, whatever it is called when the connection is made.",
    "iface.ipaddress": "The local address that connections come from.",
    "iface.initiatorname": "Sent instead of the InitiatorName of initiatorname.iscsi.",
}


def iface_keys(rows):
    rows = [row for row in rows if "iface" in row.kinds and "hidden" not in row.flags]
    known = {row.name: row for row in rows}
    out = []
    for name, text in SOFTWARE_IFACE.items():
        if name not in known:
            raise Wrong(f"man/generate.py describes {name}, which is no interface key")
        out += [".TP", f".B {roff(name)}", roff(text), ".br", roff("Allowed: " + facts(known[name]))]
    out += [".PP", "The others are kept for network adapters that have an initiator of their own, and have no effect here:"]
    out.append(roff(", ".join(row.name for row in rows if row.name not in SOFTWARE_IFACE)) + ".")
    return "\n".join(out)


def option_list(options):
    out = []
    for option in options:
        tag = f"\\fB{roff('-' + option.letter)}\\fR"
        argument = f"\\fI{roff(option.argument)}\\fR" if option.argument else ""
        if option.name:
            sign = "[=" if option.optional else "="
            tag += f", \\fB{roff('--' + option.name)}\\fR" + (sign + argument + ("]" if option.optional else "") if argument else "")
        elif argument:
            tag += " " + argument
        out += [".TP", tag, roff(sentence(option.help))]
        if option.modes:
            every = len(option.modes) == len(MODES)
            out += [".br", f"Modes: {'all' if every else ', '.join(option.modes)}."]
    return "\n".join(out)


def synopsis(help_text):
    lines = [line.strip() for line in help_text.splitlines() if line.startswith("iscsiadm ")]
    if not lines:
        raise Wrong("iscsiadm --help shows no command lines")
    out = []
    for line in lines:
        first, rest = line.split(" ", 1)
        out += [".HP", f"\\fB{roff(first)}\\fR {roff(rest)}"]
    return "\n".join(out)


def exit_list(exits):
    out = []
    for number, text in exits:
        out += [".TP", f".B {number}", roff(sentence(text))]
    return "\n".join(out)


def event_list(events):
    out = []
    for name, level, meaning in events:
        out += [".TP", f".BR {roff(name)} \" ({level})\"", roff(sentence(meaning))]
    return "\n".join(out)


DIFFERENCE = ("id", "command", "theirs", "ours", "reason")


def read_differences(text):
    """Blocks of "name: value" lines, an empty line between; a line that begins with blanks goes on with the last value."""
    blocks, entry, ids = [], {}, set()
    for line in text.splitlines() + [""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if entry:
                blocks.append(entry)
            entry = {}
        elif line[0] in " \t" and entry:
            entry[list(entry)[-1]] += " " + line.strip()
        else:
            name, _, value = line.partition(":")
            if name not in DIFFERENCE or name in entry:
                raise Wrong(f"iscsiadm/differences.txt: {entry.get('id', '')}: '{name}' is unknown or there twice")
            entry[name] = value.strip()
    for entry in blocks:
        for name in DIFFERENCE:
            if name not in entry:
                raise Wrong(f"iscsiadm/differences.txt: {entry.get('id', entry)} has no '{name}'")
        if entry["id"] in ids:
            raise Wrong(f"iscsiadm/differences.txt: two entries have the id {entry['id']}")
        ids.add(entry["id"])
    return blocks


def sentence(text):
    return text if text.endswith((".", "!", "?")) else text + "."


def difference_list(blocks):
    out = []
    for entry in blocks:
        out += [".TP", f".B {roff(entry['command'])}",
                f"open\\-iscsi: {roff(sentence(entry['theirs']))}", ".br",
                f"Here: {roff(sentence(entry['ours']))}", ".br",
                f"Why: {roff(sentence(entry['reason']))}"]
    return "\n".join(out)


# ---- completion ----


def completion_tables(programs):
    out = ["declare -gA _iscsiadm_options=("]
    for mode in MODES:
        letters = [option for option in programs.adm if mode in option.modes]
        out.append(f"  [{mode}]='{' '.join(word for o in letters for word in ('-' + o.letter, '--' + o.name))}'")
    out += [")", "declare -gA _iscsiadm_long=("]
    out += [f"  [--{option.name}]=-{option.letter}" for option in programs.adm]
    out.append(")")
    takes = "".join(option.letter for option in programs.adm if option.argument and not option.optional)
    out += [f"_iscsiadm_with_argument='{takes}'", "declare -gA _iscsiadm_keys=("]
    for kind in ("node", "send_targets", "isns", "iface"):
        rows = [row for row in programs.rows if kind in row.kinds and not row.flags & {"read_only", "hidden"}]
        if kind == "node":
            rows = [row for row in rows if "iface" not in row.kinds or row.name == "iface.transport_name"]
        out.append(f"  [{kind}]='{' '.join(row.name for row in rows)}'")
    out += [")", "declare -gA _iscsiadm_values=("]
    for row in programs.rows:
        if row.type in ("boolean", "choice", "list") and not row.flags & {"read_only", "hidden"} and "daemon" not in row.kinds:
            values = row.choices or ["Yes", "No"]
            out.append(f"  ['{row.name}']='{' '.join(values)}'")
    out += [")", "declare -gA _iscsiadm_words=("]
    behind = {}  # option -> the words of all modes, for a line that names none yet
    for letter, mode, words in programs.words:
        out.append(f"  ['-{letter} {mode}']='{words}'")
        known = behind.setdefault(letter, [])
        known += [word for word in words.split() if word not in known]
    out += [f"  [-{letter}]='{' '.join(words)}'" for letter, words in behind.items()]
    out.append(")")
    return "\n".join(out)


# ---- files ----


def parts(programs, groups, differences):
    """The generated parts, by name."""
    rows = {row.name: row for row in programs.rows}
    made = {
        "synopsis": synopsis(programs.adm_help),
        "options of iscsiadm": option_list(programs.adm),
        "exit codes": exit_list(programs.exits),
        "events": event_list(programs.events),
        "keys": key_list(groups, rows),
        "fixed keys": fixed_keys(programs.rows),
        "interface keys": iface_keys(programs.rows),
        "differences": difference_list(differences),
        "completion": completion_tables(programs),
    }
    made.update({f"options of {name}": option_list(options) for name, options in programs.others.items()})
    return made


PART = re.compile(r"^(?P<begin>[^\n]*BEGIN GENERATED (?P<name>[^\n]+))\n.*?^(?P<end>[^\n]*END GENERATED[^\n]*)$", re.M | re.S)


def fill(path, text, made):
    """`text` with each generated part as it has to be."""
    used = set()

    def replace(found):
        name = found.group("name")
        if name not in made:
            raise Wrong(f"{path}: there is no generated part '{name}'")
        used.add(name)
        body = made[name]
        return found.group("begin") + "\n" + body + ("\n" if body else "") + found.group("end")

    return PART.sub(replace, text), used


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def sources():
    pages = sorted("man/" + name for name in os.listdir(os.path.join(ROOT, "man")) if name.endswith((".5", ".8")))
    return pages + ["completions/iscsiadm"]


def documents(programs, text_of=read):
    """path -> what it has to contain. `text_of` gives a file's text."""
    groups = read_groups(text_of("man/keys.txt"))
    check_groups(groups, programs.rows)
    differences = read_differences(text_of("iscsiadm/differences.txt"))
    made = parts(programs, groups, differences)
    out, used = {}, set()
    for path in sources():
        out[path], names = fill(path, text_of(path), made)
        used |= names
    unused = set(made) - used
    if unused:
        raise Wrong(f"no file has the generated part '{sorted(unused)[0]}'")
    out["etc/iscsid.conf"] = config_file(groups, {row.name: row for row in programs.rows})
    return out


def main():
    try:
        made = documents(Programs(sys.argv[1:]))
    except Wrong as wrong:
        sys.exit(f"generate.py: {wrong}")
    for path, text in made.items():
        if text != read(path):
            with open(os.path.join(ROOT, path), "w", encoding="utf-8") as file:
                file.write(text)
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
