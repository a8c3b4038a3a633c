"""iscsistart with a real target, as an initramfs has it: no database, no daemon, no initiatorname.iscsi. The daemon that it
starts keeps the session; another one takes it over, as the system's own iscsid does later. In a directory ISCSI_BUILD."""

import os
import select
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "interop"))
from lab import MIB, Lab, check, main, wait_until  # noqa: E402  (their folder had to be found first)
from targets import Chap, Lun  # noqa: E402

TARGET = "iqn.2026-01.org.example:root"
CHAP = Chap("lab-user", "secret-of-the-lab-1")


def daemon_of(lab):
    """A handle of the iscsid that nobody here is the parent of."""
    with open(os.path.join(lab.root, "run/iscsid.pid"), encoding="ascii") as file:
        return os.pidfd_open(int(file.read()))


def stop(daemon):
    """SIGTERM; 0 or more seconds later the process is gone."""
    signal.pidfd_send_signal(daemon, signal.SIGTERM)
    waiting = select.poll()
    waiting.register(daemon, select.POLLIN)
    check(waiting.poll(30000), "iscsid did not end on SIGTERM")
    os.close(daemon)


def boot():
    with Lab() as lab:
        os.remove(f"{lab.etc}/initiatorname.iscsi")
        target = lab.tgtd()
        target.add(TARGET, [Lun(lab.disk("root", 4 * MIB))], CHAP)
        address, port = target.portal.split(":")
        start = [lab.program("iscsistart"), "-i", "iqn.2026-01.org.example:host", "-t", TARGET, "-g", "1", "-a", address,
                 "-p", port, "-u", CHAP.user, "-w", CHAP.secret]
        done = lab.run(*start, ok=None)
        daemon = daemon_of(lab)
        try:
            check(done.status == 0, "iscsistart succeeds")
            check(f"Logging into {TARGET} {target.portal},1\n" in done.out, "the target is named")
            check("iscsistart: LUN 1: " in done.out, "the unit is named")
            before = lab.adm("-m", "session").out
            check(TARGET in before, "there is a session")
            check("Iface Initiatorname: iqn.2026-01.org.example:host\n" in lab.adm("-m", "session", "-P", "1").out,
                  "the target was told the name of -i")
            check(not os.path.exists(f"{lab.etc}/nodes"), "no record was made")
            check("there is a session" in lab.run(*start).out, "once more is as good")
        finally:
            stop(daemon)
        lab.iscsid()
        wait_until(lambda: lab.session().exports, 20, "the export to be back")
        check(lab.adm("-m", "session").out == before, "the session came back")
        lab.run(*start[:-1], "not-the-secret-at-all", "-P", "node.session.nr_sessions=2", ok=1)
        lab.adm("-m", "session", "-u")


if __name__ == "__main__":
    main(boot)
