"""iSNS: against Debian's isnsd with targets of tgtd that are registered there, and servers that do as they like.

Argument: the name of the function to run.
"""

import itertools
import os
import re
import struct
import sys

import isnsp
from bad_input import refused
from lab import MIB, Lab, check, main
from scripted import Http, Random, Silent
from targets import Lun

A = "iqn.2026-01.org.example:a"
B = "iqn.2026-01.org.example:b"


def with_isnsd(lab, *names):
    """isnsd, and a tgtd whose targets of these names are registered there."""
    server, target = lab.isnsd(), lab.tgtd()
    for name in names:
        target.add(name, [Lun(lab.disk(name, 4 * MIB))])
        server.register(name, target.portal)
    return server, target


def nodes(lab):
    """`target portal` of every node record."""
    listed = lab.adm("-m", "node", ok=None, quiet=True)
    return sorted(" ".join(reversed(line.split(" "))) for line in listed.out.splitlines())


def discovers():
    with Lab() as lab:
        server, target = with_isnsd(lab, A, B)
        lab.iscsid()
        ask = ("-m", "discovery", "-t", "isns", "-p", server.portal)
        found = lab.adm(*ask)
        lines = sorted([f"{target.portal},1 {A}", f"{target.portal},1 {B}"])
        check(sorted(found.out.splitlines()) == lines and found.err == "", f"another list: {found}")
        check(nodes(lab) == [f"{A} {target.portal},1", f"{B} {target.portal},1"], "other records")
        folder = f"{lab.etc}/isns/127.0.0.1,{server.port}"
        check(os.path.isfile(f"{folder}/isns_config"), "the discovery record is missing")
        check(len(os.listdir(folder)) == 3, f"not two links: {os.listdir(folder)}")
        check(f"127.0.0.1:{server.port} via isns\n" == lab.adm("-m", "discovery").out, "the list of discoveries")
        shown = lab.adm("-m", "node", "-T", A, "-o", "show").out
        for line in ("node.discovery_type = isns", "node.discovery_address = 127.0.0.1",
                     f"node.discovery_port = {server.port}"):
            check(f"{line}\n" in shown, f"the record lacks {line}")
        tree = lab.adm("-m", "discovery", "-P", "1").out
        check(f"iSNS:\nDiscoveryAddress: 127.0.0.1,{server.port}\nTarget: {A}\n" in tree, "the tree")
        # Several at once: a record that a person changed stays as it is, one that is gone goes.
        lab.update(A, {"node.startup": "automatic"})
        server.deregister(B)
        check(lab.adm(*ask).out == f"{target.portal},1 {A}\n", "what is not registered any more is still listed")
        check(nodes(lab) == [f"{A} {target.portal},1"], "its record is still there")
        check("node.startup = automatic\n" in lab.adm("-m", "node", "-T", A, "-o", "show").out, "made anew")
        lab.adm(*ask, "-o", "delete")
        lab.adm("-m", "discoverydb", "-t", "isns", "-p", server.portal, "-o", "delete")
        check(not os.path.exists(folder) and nodes(lab) == [], "a deleted record is still there")


def logs_in_through_interfaces():
    """discoverydb, -D, -l and -I: each interface asks by its own name, and its records are its own."""
    with Lab() as lab:
        server, target = with_isnsd(lab, A)
        lab.iscsid()
        for name in ("one", "two"):
            lab.adm("-m", "iface", "-I", name, "-o", "new")
        lab.adm("-m", "iface", "-I", "two", "-o", "update", "-n", "iface.initiatorname", "-v",
                "iqn.2026-01.org.example:second")
        record = ("-m", "discoverydb", "-t", "isns", "-p", server.portal)
        lab.adm(*record, ok=6)
        done = lab.adm(*record, "-D", "-I", "one", "-I", "two", "-l")
        check(done.out.count(" successful.") == 2, "not two logins")
        sessions = lab.adm("-m", "session", "-P", "1").out
        names = sorted(re.findall(r"Iface Initiatorname: (\S+)", sessions))
        check(names == ["iqn.2026-01.org.example:lab-initiator", "iqn.2026-01.org.example:second"], f"{names}")
        check("discovery.isns.use_discoveryd = No\n" in lab.adm(*record).out, "the record that was made")
        before = lab.database()
        server.register(B, target.portal)
        shown = lab.adm("-m", "discovery", "-t", "isns", "-p", server.portal, "-o", "nonpersistent", "-I", "one").out
        check(f" {B}\n" in shown and lab.database() == before, "what was not to be stored")
        lab.logout()


def nothing_registered():
    with Lab() as lab:
        server = lab.isnsd()
        lab.iscsid()
        refused(lab, 21, "No portals found", "-m", "discovery", "-t", "isns", "-o", "nonpersistent", "-p", server.portal)


def strangers_register():
    """A server that answers only those whom it knows: we register, ask, and are gone again."""
    known = set()

    def answer(function, transaction, payload):
        name = payload[8:8 + struct.unpack(">I", payload[4:8])[0]]
        reply = isnsp.status(0)
        if function == isnsp.REGISTER:
            known.add(name)
        elif function == isnsp.DEREGISTER:
            known.discard(name)
        elif name not in known:
            reply = isnsp.status(6)
        else:
            reply = isnsp.targets((A, "127.0.0.1", 3260, 5))
        yield isnsp.message(function | isnsp.ANSWER, transaction, reply)

    with Lab() as lab:
        server = isnsp.Scripted(lab, answer)
        lab.iscsid()
        check(lab.adm("-m", "discovery", "-t", "isns", "-p", server.portal).out == f"127.0.0.1:3260,5 {A}\n", "the list")
        wanted = [isnsp.QUERY, isnsp.REGISTER, isnsp.QUERY, isnsp.DEREGISTER]
        check(server.asked == wanted and not known, f"asked {server.asked}, left {known}")

        def refuses(function, transaction, _):
            yield isnsp.message(function | isnsp.ANSWER, transaction, isnsp.status(6 if function == 2 else 3))

        ask = ("-m", "discovery", "-t", "isns", "-o", "nonpersistent", "-p")
        refused(lab, 26, "refused: invalid registration", *ask, isnsp.Scripted(lab, refuses).portal, lines=2)


def memory_of(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM:"))


def _lies():
    """What a server answers a query with, and what is said of it."""
    ok = isnsp.targets((A, "127.0.0.1", 3260, 1))
    whole = isnsp.QUERY | isnsp.ANSWER
    cut = ok + struct.pack(">II", 48, 0xFFFFFFFC) + b"iqn."
    yield "an attribute of 4 GiB", "attribute 48 says", lambda t: [isnsp.message(whole, t, cut)]
    yield "an odd length", "no multiple of four", lambda t: [isnsp.message(whole, t, ok + b"x")]
    yield "half an attribute", "cut off", lambda t: [isnsp.message(whole, t, ok + b"\0\0\0\x30")]
    yield "no status", "without a status", lambda t: [isnsp.message(whole, t, b"")]
    yield "a part without a first one", "without a first", lambda t: [isnsp.message(whole, t, ok, flags=0x4800)]
    yield "another transaction", "nobody waits for", lambda t: [isnsp.message(whole, t + 1, ok)]
    yield "a signed one", "signed", lambda t: [isnsp.message(whole, t, ok, flags=0x6C00)]
    yield "an error", "refused: internal error", lambda t: [isnsp.message(whole, t, isnsp.status(11))]
    yield "a code of its own", "refused: status 4711", lambda t: [isnsp.message(whole, t, isnsp.status(4711))]
    yield "a message without an end", "more than 16777216 bytes", lambda t: (
        isnsp.message(whole, t, b"\0" * 65532, flags=0x4400 if i == 0 else 0x4000, sequence=i) for i in itertools.count())
    yield "everything but an answer", "everything but the answer", lambda t: (
        isnsp.message(13, i & 0xFFFF, b"") for i in itertools.count())


def servers_that_lie():
    """Each lie is one clear line and exit status 25, nothing is written, and the memory that it takes is bounded."""
    with Lab() as lab:
        daemon = lab.iscsid()
        ask = ("-m", "discovery", "-t", "isns", "-o", "nonpersistent", "-p")
        before = memory_of(daemon)
        for name, words, parts in _lies():
            print(f"-- {name}")
            server = isnsp.Scripted(lab, lambda function, transaction, _, parts=parts: parts(transaction))
            refused(lab, 25, words, *ask, server.portal, lines=2)
        # A record of a path is left out; what else is in the answer is used.
        names = ("../../escape", A)
        mixed = isnsp.targets(*((name, "127.0.0.1", 3260, 1) for name in names))
        server = isnsp.Scripted(lab, lambda f, t, _: [isnsp.message(f | isnsp.ANSWER, t, mixed)])
        done = lab.adm("-m", "discovery", "-t", "isns", "-p", server.portal)
        check(done.out == f"127.0.0.1:3260,1 {A}\n", "the good one is missing")
        check(len(done.err.splitlines()) == 1 and "escape" in done.err, "the bad one is not named")
        for kind in (Http, Random):
            refused(lab, 25, "not an iSNS message", *ask, kind(lab).portal, lines=2)
        grown = memory_of(daemon) - before
        if not os.environ.get("ASAN_OPTIONS"):
            check(grown < 96 * MIB, f"it has grown by {grown >> 20} MiB")


def servers_that_are_not_there():
    with Lab() as lab:
        lab.iscsid()
        ask = ("-m", "discovery", "-t", "isns", "-o", "nonpersistent", "-p")
        refused(lab, 25, "cannot make connection to 127.0.0.1: ", *ask, f"127.0.0.1:{lab.port()}", lines=2)
        refused(lab, 25, "did not answer in time", *ask, Silent(lab).portal, lines=2)
        refused(lab, 25, "not known|resolution|resolve", *ask, "nowhere.invalid", lines=2)


if __name__ == "__main__":
    main(globals()[sys.argv[1]])
