"""iSNS: against Debian's isnsd with targets of tgtd that are registered there, and servers that do as they like.

Argument: the name of the function to run.
"""

import itertools
import os
import re
import socket
import struct
import sys

import isnsp
from bad_input import refused
from lab import MIB, PATIENCE, Lab, check, has_ipv6, main, skip, wait_until
from netns import in_a_network_of_its_own
from scripted import Http, Random, Silent
from targets import Lun

A = "iqn.2026-01.org.example:a"
B = "iqn.2026-01.org.example:b"


def with_isnsd(lab, *names, ipv6=False):
    """isnsd, and a tgtd whose targets of these names are registered there."""
    server, target = lab.isnsd(ipv6=ipv6), lab.tgtd(ipv6=ipv6)
    for name in names:
        target.add(name, [Lun(lab.disk(name, 4 * MIB))])
        server.register(name, target.portal6 if ipv6 else target.portal)
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


WATCHED = {"discovery.isns.use_discoveryd": "Yes"}


def watch(lab, server, settings=None, kind="isns"):
    """A discovery record that says use_discoveryd."""
    lab.adm("-m", "discoverydb", "-t", kind, "-p", server.portal, "-o", "new")
    set_up(lab, server, settings or WATCHED, kind)


def set_up(lab, server, settings, kind="isns"):
    for key, value in settings.items():
        lab.adm("-m", "discoverydb", "-t", kind, "-p", server.portal, "-o", "update", "-n", key, "-v", value)


def sessions(lab):
    """The targets of all sessions."""
    listed = lab.adm("-m", "session", ok=None, quiet=True).out
    return sorted(line.split(" ")[3] for line in listed.splitlines())


def until_sessions(lab, *names, seconds=20):
    wait_until(lambda: sessions(lab) == sorted(names), seconds, f"sessions to {names}")


def until_logged(lab, words, count=1):
    def said():
        with open(os.path.join(lab.root, "iscsid.log"), encoding="utf-8", errors="replace") as file:
            return len(re.findall(words, file.read())) >= count

    wait_until(said, 20, f"'{words}' in the log")


def watched_server():
    """A target that is registered is logged in to, one that is deregistered is logged out of, unasked."""
    with Lab() as lab:
        server, target = with_isnsd(lab, A)
        daemon = lab.iscsid()
        watch(lab, server)  # seen without a restart
        until_sessions(lab, A)
        check("iqn.2026-01.org.example:lab-initiator" in server.nodes(), "it is not registered")
        target.add(B, [Lun(lab.disk("b", 4 * MIB))])
        server.register(B, target.portal)
        until_sessions(lab, A, B)
        check(nodes(lab) == [f"{A} {target.portal},1", f"{B} {target.portal},1"], "the records")
        server.deregister(A)
        until_logged(lab, f"not in the answer: {A} at .* 30 s")
        check(sessions(lab) == [A, B], "one answer was believed")
        # Until here nobody asked but for a change; from now on so that the second answer comes soon.
        set_up(lab, server, {"discovery.isns.discoveryd_poll_inval": "1"})
        until_sessions(lab, B)
        until_logged(lab, f"gone, its record is removed: {A} at ")
        check(nodes(lab) == [f"{B} {target.portal},1"], "the record of what is gone")
        # The last one, too.
        server.deregister(B)
        until_logged(lab, "the answer is empty")
        until_sessions(lab)
        # A person's logout is not undone, until the target was away.
        server.register(A, target.portal)
        until_sessions(lab, A)
        lab.logout(A)
        server.register(B, target.portal)
        until_sessions(lab, B)
        server.deregister(A)
        until_logged(lab, f"gone, its record is removed: {A} at ", 2)
        server.register(A, target.portal)
        until_sessions(lab, A, B)
        # A record that is changed back is not watched any more; its sessions stay.
        lab.adm("-m", "discoverydb", "-t", "isns", "-p", server.portal, "-o", "update", "-n",
                "discovery.isns.use_discoveryd", "-v", "No")
        until_logged(lab, "deregistered")
        check(sessions(lab) == [A, B], "sessions have gone with the watch")
        check("iqn.2026-01.org.example:lab-initiator" not in server.nodes(), "it is still registered")
        watch(lab, server)
        until_logged(lab, "registered as", 2)
        lab.end(daemon)
        check(daemon.returncode == 0, "iscsid did not end well")
        check("iqn.2026-01.org.example:lab-initiator" not in server.nodes(), "its end did not deregister it")


def ipv6():
    """All of it over IPv6: a discovery, a registration, inquiries and changes over UDP, and another spelling of the server's
    address."""
    if not has_ipv6():
        skip("no IPv6")
    with Lab() as lab:
        server, target = with_isnsd(lab, A, ipv6=True)
        daemon = lab.iscsid()
        found = lab.adm("-m", "discovery", "-t", "isns", "-p", server.portal, "-o", "nonpersistent")
        check(found.out == f"{target.portal6},1 {A}\n", "another list")
        watch(lab, server)
        until_sessions(lab, A)
        check("iqn.2026-01.org.example:lab-initiator" in server.nodes(), "it is not registered")
        target.add(B, [Lun(lab.disk("b", 4 * MIB))])
        server.register(B, target.portal6)
        until_sessions(lab, A, B)
        check(nodes(lab) == [f"{A} {target.portal6},1", f"{B} {target.portal6},1"], "the records")
        lab.end(server.process)
        server.process.expected_end = True
        server.start()
        for name in (A, B):
            server.register(name, target.portal6)
        until_logged(lab, "registered as", 2)
        lab.adm("-m", "discoverydb", "-t", "isns", "-p", f"[0:0::1]:{server.port}", "-o", "new")
        lab.adm("-m", "discoverydb", "-t", "isns", "-p", f"[0:0::1]:{server.port}", "-o", "update", "-n",
                "discovery.isns.use_discoveryd", "-v", "Yes")
        until_logged(lab, "are two spellings of one address")
        lab.end(daemon)
        check(daemon.returncode == 0, "iscsid did not end well")
        check("iqn.2026-01.org.example:lab-initiator" not in server.nodes(), "its end did not deregister it")


def watched_and_in_use():
    """What somebody uses is kept, and logged out of when nobody does any more."""
    with Lab() as lab:
        lab.configure({"iscsid.safe_logout": "No"})  # of what a person asks for
        server, target = with_isnsd(lab, A)
        lab.iscsid()
        watch(lab, server, {**WATCHED, "discovery.isns.discoveryd_poll_inval": "2"})
        until_sessions(lab, A)
        user = socket.socket(socket.AF_UNIX)
        user.connect(lab.export().split("socket=")[1])
        check(user.recv(8) == b"NBDMAGIC", "no NBD server")
        server.deregister(A)
        until_logged(lab, "gone, but kept: .* has 1 client")
        check(sessions(lab) == [A] and nodes(lab) == [f"{A} {target.portal},1"], "it was taken away")
        user.close()
        until_sessions(lab)
        until_logged(lab, "gone, its record is removed")


def server_restarts():
    """isnsd forgets everyone: we are registered again at the next inquiry that does not come, and hear of changes."""
    with Lab() as lab:
        server, target = with_isnsd(lab, A)
        lab.iscsid()
        watch(lab, server)
        until_sessions(lab, A)
        lab.end(server.process)
        server.process.expected_end = True
        server.start()
        server.register(A, target.portal)
        until_logged(lab, "registered as", 2)
        target.add(B, [Lun(lab.disk("b", 4 * MIB))])
        server.register(B, target.portal)
        until_sessions(lab, A, B)


def watched_send_targets():
    """The same with a target's own list: tgtd, asked every second."""
    with Lab() as lab:
        target = lab.tgtd()
        target.add(A, [Lun(lab.disk("a", 4 * MIB))])
        # So long a session without its target is kept: I/O could wait for it. Longer than two answers take.
        lab.configure({"node.session.timeo.replacement_timeout": int(10 * PATIENCE)})
        lab.iscsid()
        watch(lab, target, {"discovery.sendtargets.discoveryd_poll_inval": "1",
                            "discovery.sendtargets.use_discoveryd": "Yes"}, "st")
        until_sessions(lab, A)
        target.add(B, [Lun(lab.disk("b", 4 * MIB))])
        until_sessions(lab, A, B)
        target.remove(A)
        until_logged(lab, f"not in the answer: {A} at ")
        until_logged(lab, f"gone, but kept: {A} at .* replacement_timeout has not passed")
        until_sessions(lab, B, seconds=60)
        # Its session ends first.
        until_logged(lab, f"gone, its record is removed: {A} at ")
        check(nodes(lab) == [f"{B} {target.portal},1"], "the record of what is gone")


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
    in_a_network_of_its_own()
    main(globals()[sys.argv[1]])
