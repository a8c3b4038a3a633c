"""More sessions than anybody's test bench has, and fewer descriptors than the sessions want."""

import os
import re

from faultlab import MIB, TARGET, FaultLab, check, kill, scenarios, shows, wait_until

SESSIONS = 100
LUNS = 64  # of one of them


def _crowd(lab, count, more=0):
    """A tgtd with so many targets of one LUN each, the first with so many more. Gives it and the LUNs by target."""
    crowd = {f"{TARGET}-{number}": [lab.lun(1, MIB, f"disk-{number}-")] for number in range(count)}
    crowd[f"{TARGET}-0"] += [lab.lun(number, MIB, "disk-0-") for number in range(2, more + 2)]
    target = lab.tgtd(threads=1)
    _serve(target, crowd)
    return target, crowd


def _serve(target, crowd):
    for name, luns in crowd.items():
        target.add(name, luns)


def _resident_mib(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) / 1024


def _descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


@shows("F-33")
def many_sessions():
    "a hundred sessions, one of them with 64 LUNs: all come back when their target was killed, and when the daemon was"
    with FaultLab() as lab:
        target, crowd = _crowd(lab, SESSIONS, LUNS - 1)
        daemon = lab.iscsid()
        empty, descriptors = _resident_mib(daemon), _descriptors(daemon)
        lab.discover(target.portal, quiet=True)
        took = lab.adm("-m", "node", "-l", quiet=True, seconds=300).seconds
        full = _resident_mib(daemon)
        print(f"{SESSIONS} logins with {SESSIONS + LUNS - 1} LUNs took {took:.1f} s, {full - empty:.0f} MiB and "
              f"{_descriptors(daemon) - descriptors} descriptors", flush=True)
        check(len(lab.adm("-m", "session", quiet=True).out.splitlines()) == SESSIONS, "not all sessions are there")
        served = [(list(crowd)[0], LUNS), (list(crowd)[-1], 1)]
        oracles = [lab.oracle("--depth", "4", name=f"oracle-{lun}", uri=lab.uri(target.portal, name, lun))
                   for name, lun in served]
        for oracle in oracles:
            oracle.fill()
            oracle.go()
        drops = lab.log().count(" lost: ")
        kill(target)
        lab.wait_log(" lost: ", drops + SESSIONS, 60)
        target.start()
        _serve(target, crowd)
        for oracle in oracles:
            oracle.goes_on(seconds=60)
            oracle.pause()
        lab.wait_log(" is back after ", SESSIONS, 60)
        share = lab.cpu_share(daemon, 2)
        check(share < 0.2, f"idle, the daemon takes {share:.1%} of a processor")
        lab.kill_daemon()
        daemon = lab.iscsid()
        for oracle in oracles:
            oracle.go()
            oracle.goes_on(seconds=60)
            oracle.settle(flush_errors=True)
        wait_until(lambda: lab.adm("-m", "session", "-P", "1", quiet=True).out.count("LOGGED IN") >= SESSIONS, 60,
                   "every session of the daemon that was killed")
        lab.adm("-m", "node", "-u", quiet=True, seconds=300)
        check(_descriptors(daemon) <= descriptors + 8, f"{_descriptors(daemon)} descriptors are left of {descriptors}")


@shows("F-33")
def few_descriptors():
    "when descriptors run out, a login is refused in words; sessions that are there go on, also over a drop"
    with FaultLab() as lab:
        lab.inside["iscsid"] = ["prlimit", "--nofile=64:64"]
        target, crowd = _crowd(lab, 60)
        names = list(crowd)
        proxy = lab.proxy(target.portal)
        daemon = lab.iscsid()
        for name in names:
            lab.adm("-m", "node", "-o", "new", "-T", name, "-p", proxy.portal, quiet=True)
        lab.adm("-m", "node", "-o", "update", "-n", "node.session.initial_login_retry_max", "-v", "1",
                "-n", "node.conn[0].timeo.login_timeout", "-v", "3", quiet=True)
        lab.log_in(proxy.portal, names[0], quiet=True)
        oracle = lab.oracle("--depth", "4", uri=lab.uri(proxy.portal, names[0]))
        oracle.fill()
        oracle.go()
        lab.adm("-m", "node", "-l", ok=None, quiet=True)
        sessions = lab.adm("-m", "session", quiet=True).out
        missing = [name for name in names if not re.search(rf" {re.escape(name)} ", sessions)]
        check(1 < len(missing) < len(names) - 1, f"{len(missing)} without a session: descriptors did not run out")
        # Which ones got in, all at once, is chance; what a try needed for a moment may be enough for another one.
        refused = [lab.adm("-m", "node", "-T", name, "-l", ok=None) for name in missing]
        check(refused[-1].status == 8 and "Too many open files" in refused[-1].err, "nobody says what ran out")
        oracle.goes_on()
        proxy.say("reset now")
        oracle.goes_on()
        other = next(name for name in names[1:] if name not in missing)
        lab.adm("-m", "node", "-T", other, "-u", quiet=True)
        lab.adm("-m", "node", "-T", other, "-l", quiet=True)
        oracle.goes_on()
        oracle.settle()
        lab.adm("-m", "node", "-u", quiet=True, seconds=120)
        check(daemon.poll() is None, "iscsid has ended")


if __name__ == "__main__":
    scenarios(globals())
