"""Somebody else where we have been: another disk behind our LUN's number, another host with our name."""

import time

from faultlab import MIB, FaultLab, Stack, TGTD, check, scenarios, shows, wait_until
from targets import Lun

SHARED = "iqn.2026-01.org.example:shared"
FIGHTS = "does another initiator use the name"


def _only_zeros(path):
    with open(path, "rb") as file:
        return not any(file.read())


@shows("F-13")
def another_disk():
    """a target that comes back with another disk behind the number of ours gets no write; the log names both; when the
    disk is itself again, it is served again"""
    with FaultLab() as lab:
        stack, target = Stack(lab), lab.tgtd()
        target.add(stack.name, [stack.lun], parameters=TGTD)
        stack.stand_before(target)
        lab.iscsid()
        stack.load()
        stack.oracle.goes_on()
        stack.proxy.say("refuse")
        stack.proxy.say("reset now")
        other = Lun(lab.disk("other", 16 * MIB), stack.lun.number)
        target.remove(stack.name)
        target.targets["iqn.2026-01.org.example:room"] = "1"  # tgtd makes a disk's name of its target's number
        target.add(stack.name, [other], parameters=TGTD)
        stack.proxy.say("refuse off")
        lab.wait_log("no I/O is sent to it")
        line = next(line for line in lab.log().splitlines() if "no I/O is sent to it" in line)
        print(line, flush=True)
        check("00010001" in line and "00020001" in line, f"not both names are in '{line}'")
        time.sleep(3)  # there is a load that would write
        check(_only_zeros(other.path), "the other disk was written to")
        target.remove(stack.name)
        target.targets.clear()
        target.add(stack.name, [stack.lun], parameters=TGTD)
        stack.oracle.goes_on(60)
        stack.oracle.settle(stack.lun.path, errors=True)
        check(_only_zeros(other.path), "the other disk was written to")
        lab.adm("-m", "node", "-u", quiet=True)


@shows("F-18")
def another_host():
    """two hosts with one name end each other's sessions: both say so in words and try more and more rarely; when one of
    them goes, the other one's disk is served"""
    with FaultLab() as lab, FaultLab() as twin:
        target = lab.tgtd()
        luns = [lab.lun(1, 16 * MIB), lab.lun(2, 16 * MIB)]
        target.add(SHARED, luns, parameters=TGTD)
        for each in (lab, twin):
            each.iscsid()
        # With a pause before a login: else the twin's first one is ended before it has seen the disks, and it gives up.
        pause = {"node.session.iscsi.DefaultTime2Wait": 3}
        lab.log_in(target.portal, SHARED, pause)
        oracle = lab.oracle(uri=lab.uri(target.portal, SHARED, 1))
        oracle.fill()
        oracle.go()
        twin.log_in(target.portal, SHARED, pause)
        for each in (lab, twin):
            each.wait_log(FIGHTS, seconds=60)
        time.sleep(1)
        before, begun = [each.log().count(" is back ") for each in (lab, twin)], time.monotonic()
        time.sleep(12)
        logins = sum(each.log().count(" is back ") for each in (lab, twin)) - sum(before)
        print(f"{logins} logins in {time.monotonic() - begun:.0f} s", flush=True)
        check(logins <= 12, f"{logins} logins in 12 s")
        twin.kill_daemon()
        oracle.goes_on(60)
        oracle.settle(luns[0].path)
        wait_until(lambda: "LOGGED IN" in lab.session().text, 30, "the session to be logged in")
        lab.adm("-m", "node", "-u", quiet=True)


if __name__ == "__main__":
    scenarios(globals())
