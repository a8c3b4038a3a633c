#!/usr/bin/env python3
"""The direction of includes: each room includes only the rooms below it."""

import re

import tree

# Room -> rooms it may include beside itself. Below the line: iscsid's rooms, then the programs.
MAY_INCLUDE = {
    "base": [],
    "wire": ["base"],
    "scsi": ["base"],
    "records": ["base"],
    "ipc": ["base", "records"],
    "login": ["base", "wire"],
    "session": ["base", "wire", "scsi"],
    "isns": ["base"],
    #
    "ring": ["base"],
    "block": ["base", "ring"],
    "shard": ["base", "wire", "scsi", "login", "session", "ring", "block"],
    "control": ["base", "wire", "scsi", "records", "ipc", "login", "session", "isns", "ring", "block",
                "shard"],
    "iscsid": ["base", "records", "ring", "block", "control"],
    "iscsiadm": ["base", "records", "ipc"],
    "tools": ["base", "records", "ipc"],
}
IN_CORE = ["base", "wire", "scsi", "records", "ipc", "login", "session", "isns"]
IN_DAEMON = ["ring", "block", "shard", "control"]

# What one family of files of a room knows and no other file of that room may know.
# (room, the rooms that may not be known together, the family that may)
ONLY = [("shard", {"scsi", "block"}, "lun"), ("shard", {"session", "ring"}, ("link", "nexus"))]

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.M)


def room_of(path):
    parts = path.split("/")
    if parts[0] == "iscsiadm":
        return "iscsiadm"
    return parts[1] if len(parts) > 2 else parts[0]


def check_file(path, text):
    room = room_of(path)
    if room not in MAY_INCLUDE or (path.startswith("libiscsi-core/") and room not in IN_CORE):
        return [f"{path}: room '{room}' is not in the table of {__file__.rsplit('/', 1)[-1]}"]
    out = []
    for match in INCLUDE.finditer(tree.code_of(text, keep_strings=True)):
        quote, name = match.groups()
        target = name.split("/")[0] if "/" in name else None
        where = f"{path}:{tree.line_of(text, match.start(2))}"
        if quote == "<":
            if target in IN_CORE + IN_DAEMON and name.endswith(".hpp"):
                out.append(f"{where}: <{name}> is ours; write it in quotes")
        elif target is None:
            if room not in ("iscsid", "iscsiadm", "tools"):
                out.append(f'{where}: "{name}" does not name its room')
        elif target not in MAY_INCLUDE or target in ("iscsid", "iscsiadm", "tools"):
            out.append(f'{where}: "{name}" is in no room')
        elif target != room and target not in MAY_INCLUDE[room]:
            out.append(f"{where}: {room} may not include {target} ({name})")
    return out


def known_rooms(path, text):
    return {m.group(2).split("/")[0] for m in INCLUDE.finditer(tree.code_of(text, keep_strings=True))}


def check_only(path, text):
    name = path.rsplit("/", 1)[-1]
    return [
        f"{path}: only {room}/{family} may know both {' and '.join(sorted(pair))}"
        for room, pair, family in ONLY
        if room_of(path) == room and pair <= known_rooms(path, text) and not name.startswith(family)
    ]


def check_namespace(path, text):
    """A file lives in the namespace of its room; it may declare names of the rooms below."""
    room = room_of(path)
    own = [f"iscsi::{room}"]
    if room in ("iscsid", "iscsiadm"):
        own += ["iscsi", "iscsi::adm", "iscsi::process"]
    below = [f"iscsi::{other}" for other in MAY_INCLUDE.get(room, [])]
    out = []
    code = tree.code_of(text)
    for match in re.finditer(r"^namespace\s+(iscsi[\w:]*)\s*\{([^{}]*\})?", code, re.M):
        name, declarations = match.groups()
        only_declares = declarations is not None and re.fullmatch(r"(?:\s*(?:class|struct|enum class)[^;]*;)+\s*\}", declarations)
        at_home = name in own or name.startswith(own[0] + "::")
        if not at_home and not (only_declares and name in below):
            out.append(f"{path}:{tree.line_of(code, match.start())}: namespace {name} in room {room}")
    return out


def check():
    out = []
    for path in tree.cpp_files(tree.PRODUCT):
        text = tree.read(path)
        out += check_file(path, text) + check_only(path, text) + check_namespace(path, text)
    return out


def self_test():
    plants = [
        ("libiscsi-core/login/keys.cpp", '#include "session/session.hpp"\n', 1),
        ("libiscsi-core/base/text.cpp", '#include "wire/pdu.hpp"\n', 1),
        ("iscsid/block/nbd.cpp", '  #  include "scsi/sense.hpp"\n', 1),
        ("iscsiadm/node.cpp", '#include "wire/pdu.hpp"\n#include "table.hpp"\n', 1),
        ("tools/iscsistart.cpp", '#include "control/log.hpp"\n#include "client.hpp"\n', 1),
        ("iscsid/ring/ring.cpp", '#include "ring.hpp"\n', 1),
        ("libiscsi-core/wire/x.hpp", "#include <base/bytes.hpp>\n", 1),
        ("libiscsi-core/attic/x.hpp", "\n", 1),
        ("iscsid/shard/link.cpp", '// #include "control/scan.hpp"\n#include "session/session.hpp"\n', 0),
    ]
    out = []
    for path, text, wanted in plants:
        out += tree.expect(path, check_file(path, text), wanted)
    both = '#include "scsi/cdb.hpp"\n#include "block/block.hpp"\n'
    out += tree.expect("shard/nexus with scsi and block", check_only("iscsid/shard/nexus.cpp", both), 1)
    out += tree.expect("shard/lun with scsi and block", check_only("iscsid/shard/lun_scan.cpp", both), 0)
    out += tree.expect("namespace", check_namespace("libiscsi-core/wire/x.hpp", "namespace iscsi::base {\nint x;\n}"), 1)
    out += tree.expect("declaration of a room below",
                       check_namespace("iscsid/block/x.hpp", "namespace iscsi::ring {\nclass Loop;\n}"), 0)
    out += tree.expect("declaration of a room above",
                       check_namespace("iscsid/ring/x.hpp", "namespace iscsi::block {\nclass Loop;\n}"), 1)
    return out


if __name__ == "__main__":
    tree.main(check, self_test)
