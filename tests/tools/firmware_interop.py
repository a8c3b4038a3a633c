"""Targets that boot firmware names, with real ones behind: iscsistart -b without a daemon as in an initramfs, iscsiadm -m fw -l
and a discovery with a login. One target asks for CHAP, the other for mutual CHAP. In a directory ISCSI_BUILD."""

import os
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TESTS, "interop"), os.path.join(TESTS, "cli")]
import firmware  # noqa: E402  (their folders had to be found first)
from boot_interop import daemon_of, stop  # noqa: E402
from lab import MIB, Lab, check, main, wait_until  # noqa: E402
from targets import Chap, Lun  # noqa: E402

FIRST, SECOND = "iqn.2026-01.org.example:first", "iqn.2026-01.org.example:second"
ONE_WAY = Chap("lab-user", "secret-of-the-lab-1")
MUTUAL = Chap("lab-user", "secret-of-the-lab-1", "lab-target", "secret-of-target-2")


def table(target, secret=ONE_WAY.secret):
    address, port = target.portal.split(":")
    changes = {}
    for i, name in enumerate((FIRST, SECOND)):
        changes.update({f"target{i}__target_name": name, f"target{i}__ip_addr": address, f"target{i}__port": port,
                        f"target{i}__chap_name": ONE_WAY.user, f"target{i}__chap_secret": secret})
    return firmware.table(targets=2, target1__rev_chap_name=MUTUAL.user_in, target1__rev_chap_name_secret=MUTUAL.secret_in,
                          **changes)


def sessions(lab):
    return lab.adm("-m", "session", ok=None).out


def both_are_there(lab):
    said = lab.adm("-m", "session", "-P", "1").out
    check(said.count("Target: ") == 2 and FIRST in said and SECOND in said, f"there are both sessions: {said}")
    check(said.count(f"Iface Initiatorname: {firmware.INITIATOR}\n") == 2, "the targets were told the firmware's name")


def out_again(lab):
    check(lab.adm("-m", "node", "-U", "all", ok=None).status == 21, "-U all leaves what boots alone")
    both_are_there(lab)
    lab.adm("-m", "session", "-u")
    check(sessions(lab) == "", "there is no session")


def one_way_is_enough(lab):
    """The table's second target is away while the first is logged in to: the daemon goes on without the one who asked."""
    first, away = lab.tgtd(), lab.port()
    first.add(FIRST, [Lun(lab.disk("way", 4 * MIB))], ONE_WAY)
    firmware.lay(lab.root, {**table(first), "ibft/target1/port": str(away)})
    done = lab.run(lab.program("iscsistart"), "-b", "-P", "node.conn[0].timeo.login_timeout=2")
    check(f"no session with {SECOND} 127.0.0.1:{away},1 yet: iscsid goes on trying" in done.err, "the other is told")
    check(FIRST in sessions(lab) and SECOND not in sessions(lab), "there is one session")
    second = lab.tgtd(port=away)
    second.add(SECOND, [Lun(lab.disk("other way", 4 * MIB))], MUTUAL)
    wait_until(lambda: SECOND in sessions(lab), 30, "the session with the target that was away")
    out_again(lab)


def boot_firmware():
    with Lab() as lab:
        os.remove(f"{lab.etc}/initiatorname.iscsi")
        target = lab.tgtd()
        target.add(FIRST, [Lun(lab.disk("first", 4 * MIB))], ONE_WAY)
        target.add(SECOND, [Lun(lab.disk("second", 4 * MIB))], MUTUAL)
        firmware.lay(lab.root, table(target))
        done = lab.run(lab.program("iscsistart"), "-b")
        try:
            check(done.out.count("iscsistart: LUN 1: ") == 2, "both units are named")
            both_are_there(lab)
            out_again(lab)
            check(not os.path.exists(f"{lab.etc}/nodes"), "no record was made")
            check(lab.adm("-m", "fw", "-l").out.count(" successful.\n") == 2, "iscsiadm logs in to both")
            check(lab.adm("-m", "fw", "-l").out == "", "sessions that are there are as good")
            out_again(lab)
            check(not os.path.exists(f"{lab.etc}/nodes"), "no record was made")
            found = lab.adm("-m", "discovery", "-t", "fw", "-l").out
            check(found.startswith(f"{target.portal},1 {FIRST}\n{target.portal},1 {SECOND}\nLogging in"), "both are found")
            out_again(lab)
            lab.adm("-m", "node", "-L", "onboot")
            out_again(lab)
            firmware.lay(lab.root, table(target, "not-the-secret-at-all"))
            failed = lab.adm("-m", "fw", "-l", ok=None)
            check(failed.status == 24 and sessions(lab) == "", "a wrong secret is no login")
            check("not-the-secret" not in failed.out + failed.err, "and is not shown")
            one_way_is_enough(lab)
        finally:
            stop(daemon_of(lab))


if __name__ == "__main__":
    main(boot_firmware)
