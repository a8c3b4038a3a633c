"""SendTargets in every shape, and logins by the thousand. Argument: the name of the function to run."""

import os
import re
import socket
import sys
import time

from lab import MIB, PATIENCE, Lab, check, main
from scripted import Discovery, listing
from targets import Chap, Lun, chap_settings

TARGET = "iqn.2026-01.org.example:disk"
MANY = 10_000
CROWD = 1_000
BAD_PORTALS = 20


def refused(lab, status, words, portal):
    """A discovery fails with these words in one of its lines, and no record is made; the portal's own stays, as with
    open-iscsi."""
    before = lab.adm("-m", "node", ok=None, quiet=True).out
    done = lab.adm("-m", "discovery", "-t", "st", "-p", portal, ok=None)
    check(done.status == status and not done.out, f"exit status {done.status}: {done.out}")
    said = done.err.splitlines()
    check(sum(bool(re.search(words, line)) for line in said) == 1, f"not one line says '{words}': {said}")
    check(all(line.startswith("iscsiadm: ") and len(line) < 512 for line in said), f"not fit to print: {said}")
    check(lab.adm("-m", "node", ok=None, quiet=True).out == before, "a record was made")


def resident_mib(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1)) / 1024


def ten_thousand():
    "a list in some ninety PDUs: every target printed and recorded, once; a second discovery changes nothing"
    with Lab() as lab:
        names = [f"{TARGET}-{number}" for number in range(MANY)]
        server = Discovery(lab, listing(*((name, "127.0.0.1:3260,1") for name in names)))
        daemon = lab.iscsid()
        idle = resident_mib(daemon)
        for word in ("first", "second"):
            found = lab.discover(server.portal, quiet=True, seconds=300)
            check(found.out.splitlines() == [f"127.0.0.1:3260,1 {name}" for name in names], "not the list that was sent")
            print(f"the {word} discovery of {MANY} targets took {found.seconds:.1f} s", flush=True)
        records = lab.adm("-m", "node", quiet=True).out.splitlines()
        check(sorted(records) == sorted(f"127.0.0.1:3260,1 {name}" for name in names), f"{len(records)} records")
        print(f"the daemon took {resident_mib(daemon) - idle:.1f} MiB for it", flush=True)


def a_million():
    "more names than anybody has: bounded memory, one clear line, nothing written"
    with Lab() as lab:
        server = Discovery(lab, listing(*((f"iqn.2026-01.a:{number}", "127.0.0.1,1") for number in range(1_000_000))))
        lab.configure({"discovery.sendtargets.reopen_max": 0})
        daemon = lab.iscsid()
        idle = resident_mib(daemon)
        refused(lab, 5, "more text than is bearable", server.portal)
        grew = resident_mib(daemon) - idle
        print(f"the daemon took {grew:.1f} MiB for it", flush=True)
        check(grew < 100, "memory grows with what the target says")


def nothing_there():
    "a target that shows nobody anything: open-iscsi's words and exit status"
    with Lab() as lab:
        server = Discovery(lab, b"")
        lab.iscsid()
        refused(lab, 21, "No portals found", server.portal)


def moved():
    "a discovery that is sent elsewhere follows, also with CHAP both ways, and gives up in a circle"
    with Lab() as lab:
        chap = Chap("operator", "secret-of-12-bytes", "target", "other-of-12-bytes")
        there = Discovery(lab, listing((TARGET, "127.0.0.1:3260,1")), chap)
        here = Discovery(lab, b"", moved_to=there.portal)
        lab.configure({**chap_settings(chap, "discovery.sendtargets"), "discovery.sendtargets.reopen_max": 0})
        lab.iscsid()
        found = lab.discover(here.portal)
        check(found.out == f"127.0.0.1:3260,1 {TARGET}\n" and here.accepted == there.accepted == 1, "not by way of both")
        circle = Discovery(lab, b"")
        circle.moved_to = circle.portal
        refused(lab, 5, "circle", circle.portal)


def everywhere_and_nowhere():
    "0.0.0.0 is where the target answered; a link-local address without a link is left out, and told"
    with Lab() as lab:
        server = Discovery(lab, b"")
        server.listing = listing((TARGET, f"0.0.0.0:{server.port},1"), (TARGET + "-6", "[fe80::1]:3260,1"))
        lab.iscsid()
        found = lab.discover(server.portal)
        check(found.out == f"{server.portal},1 {TARGET}\n", "not the portal that was asked")
        check("link-local" in found.err, "nobody said what was left out")


def bare_connects(port, count):
    """What the machine needs for the connections alone, one after the other."""
    begun = time.monotonic()
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", port)):
            pass
    return time.monotonic() - begun


def crowd():
    "a thousand targets in one login, twenty portals among them that refuse or say nothing: they delay nobody else"
    with Lab() as lab:
        target = lab.tgtd(threads=1)
        target.add_all([f"{TARGET}-{number}" for number in range(CROWD)], lab.disk("disk", MIB))
        lab.iscsid()
        found = lab.discover(target.portal, quiet=True, seconds=120)
        check(len(found.out.splitlines()) == CROWD, "not all were found")
        silent = socket.create_server(("127.0.0.1", 0), backlog=0)
        filler = [socket.socket() for _ in range(4)]
        for one in filler:
            one.setblocking(False)
            one.connect_ex(silent.getsockname())
        for number in range(BAD_PORTALS):
            port = silent.getsockname()[1] if number % 2 else 1
            lab.adm("-m", "node", "-o", "new", "-T", f"{TARGET}-bad-{number}", "-p", f"127.0.0.1:{port}", quiet=True)
        lab.adm("-m", "node", "-o", "update", "-n", "node.startup", "-v", "automatic", "-n",
                "node.session.initial_login_retry_max", "-v", "1", "-n", "node.conn[0].timeo.login_timeout", "-v",
                str(int(60 * PATIENCE)), quiet=True, seconds=120)
        begun = time.monotonic()
        log = open(os.path.join(lab.root, "login"), "wb")
        login = lab.start("login-all", [lab.program("iscsiadm"), "-m", "node", "-L", "all"], stdout=log)
        login.expected_end = True

        def sessions():
            return len(lab.adm("-m", "session", quiet=True, ok=None).out.splitlines())

        while sessions() < CROWD:
            check(login.poll() is None, f"the login ended with {sessions()} sessions")
            check(time.monotonic() - begun < 50 * PATIENCE, f"{sessions()} sessions only")
            time.sleep(0.05)
        took = time.monotonic() - begun
        bare = bare_connects(target.port, CROWD)
        print(f"{CROWD} logins took {took:.2f} s, as many bare connections {bare:.2f} s; those that answer do not wait "
              f"for the {BAD_PORTALS} that do not", flush=True)
        login.kill()
        lab.adm("-m", "node", "-u", quiet=True, seconds=120)


if __name__ == "__main__":
    main(globals()[sys.argv[1]])
