"""What somebody sees who looks for the reason: transcripts of logins that fail, the state of everything, a daemon that
stands still. In a directory ISCSI_BUILD. Argument: the name of the function to run."""

import json
import os
import re
import signal
import subprocess
import sys

from lab import MIB, Lab, check, main, wait_until
from scripted import Silent
from targets import Chap, Lun, chap_settings

TARGET = "iqn.2026-01.org.example:disk"
OTHER = "iqn.2026-01.org.example:other"
CHAP = Chap("lab-user", "secret-of-the-lab-1", "lab-target", "secret-of-target-2")
SECRETS = ("secret-of-the-lab-1", "secret-of-target-2", "another-secret-12")
IMPATIENT = {"node.session.initial_login_retry_max": 1, "node.conn[0].timeo.login_timeout": 5,
             "discovery.sendtargets.timeo.login_timeout": 5, "discovery.sendtargets.reopen_max": 0}
BEGIN = "transcript of the login that failed"


def log_of(lab, words=""):
    with open(os.path.join(lab.root, "iscsid.log"), encoding="utf-8", errors="replace") as file:
        return [line.rstrip("\n") for line in file if words in line]


def no_secret(lab):
    """Neither a secret, nor a challenge or a response: those are long numbers, in whatever form."""
    for line in log_of(lab):
        check(not any(secret in line for secret in SECRETS), f"a secret is in the log: {line}")
        check(not re.search(r"0[xXbB][0-9a-zA-Z+/=]{16}", line), f"a challenge or a response is in the log: {line}")


def transcript(lab, number):
    """The lines of that one."""
    wait_until(lambda: len(log_of(lab, "end of the transcript")) >= number, 20, f"transcript {number}")
    lines = log_of(lab)
    begin = [i for i, line in enumerate(lines) if BEGIN in line][number - 1]
    end = next(i for i, line in enumerate(lines) if i > begin and "end of the transcript" in line)
    return "\n".join(lines[begin:end])


def says(text, *words):
    for word in words:
        check(word in text, f"'{word}' is not in the transcript:\n{text}")


def transcripts():
    with Lab() as lab:
        lab.configure(IMPATIENT)
        target = lab.tgtd()
        target.add(TARGET, [Lun(lab.disk("disk", 4 * MIB))], CHAP)
        target.add(OTHER, [Lun(lab.disk("other", 4 * MIB))])
        daemon = lab.iscsid("-d", "1")
        lab.discover(target.portal)
        lab.update(TARGET, chap_settings(CHAP))
        lab.login(TARGET)
        check(not log_of(lab, BEGIN), "a login that succeeds has no transcript")
        lab.logout(TARGET)
        # A wrong secret.
        lab.update(TARGET, chap_settings(Chap(CHAP.user, "another-secret-12")))
        lab.login(TARGET, ok=24)
        says(transcript(lab, 1), "> Login Request, CSG=0 (security negotiation)", "    AuthMethod=CHAP", "    CHAP_A=5",
             "    CHAP_C=<", "bytes, not shown>", "    CHAP_N=lab-user", "    CHAP_R=<34 bytes, not shown>",
             "status 0201 (initiator error: authentication failure)")
        # Wrong the other way.
        lab.update(TARGET, chap_settings(Chap(CHAP.user, CHAP.secret, CHAP.user_in, "another-secret-12")))
        lab.login(TARGET, ok=24)
        says(transcript(lab, 2), "    CHAP_N=lab-target")
        # A target that is not there.
        missing = f"{TARGET}.missing"
        lab.adm("-m", "node", "-T", missing, "-p", f"{target.portal},1", "-o", "new")
        lab.login(missing, ok=19)
        says(transcript(lab, 3), f"    TargetName={missing}", "status 0203 (initiator error: target not found)")
        # A key that the target does not want as the record demands it.
        lab.update(OTHER, {"node.conn[0].iscsi.HeaderDigest": "CRC32C"})
        target.admin("--op", "update", "--mode", "target", "--tid", target.targets[OTHER], "--name", "HeaderDigest",
                     "--value", "None")
        lab.login(OTHER, ok=19)
        said = transcript(lab, 4)
        says(said, "CSG=1 (operational negotiation) NSG=3 (full feature phase) T", "    HeaderDigest=CRC32C")
        check(re.search(r"    HeaderDigest=(None|Reject)", said), f"what did the target answer?\n{said}")
        told_once(lab, target)
        no_secret(lab)
        lab.end(daemon)
        # Nothing at the usual level.
        count = len(log_of(lab, BEGIN))
        lab.iscsid()
        lab.login(missing, ok=19)
        check(len(log_of(lab, BEGIN)) == count, "a transcript without -d")


def told_once(lab, target):
    """A recovery tries again all the time."""
    count = len(log_of(lab, BEGIN))
    lab.update(TARGET, chap_settings(CHAP))
    lab.login(TARGET)
    target.remove(TARGET)
    wait_until(lambda: log_of(lab, "(try 4)"), 60, "some tries")
    says(transcript(lab, count + 1), "target not found")
    check(len(log_of(lab, BEGIN)) == count + 1, f"told {len(log_of(lab, BEGIN)) - count} times")
    lab.logout(TARGET)


def transcript_of_a_discovery():
    with Lab() as lab:
        lab.configure(IMPATIENT)
        target = lab.istgt(TARGET, [Lun(lab.disk("disk", 256 * MIB), 0)], CHAP, discovery_chap=True)
        lab.iscsid("-d", "1")
        lab.discover(target.portal, ok=24)
        says(transcript(lab, 1), "discovery at 127.0.0.1", "    SessionType=Discovery", "< Login Response, status 0")
        lab.discover(target.portal, ok=24)
        transcript(lab, 2)  # who asks again wants to see it again
        no_secret(lab)


def dump(lab, daemon):
    """The lines of a new one."""
    before = len(log_of(lab, "state: that is all"))
    daemon.send_signal(signal.SIGUSR1)
    wait_until(lambda: len(log_of(lab, "state: that is all")) > before, 20, "the state")
    lines = log_of(lab, "state: ")
    begin = max(i for i, line in enumerate(lines) if re.search(r"state: iscsid \S+: \d+ session", line))
    for line in lines[begin:]:
        print(line)
    return "\n".join(lines[begin:])


def state_of_everything():
    with Lab() as lab:
        silent = Silent(lab)
        lab.configure({**IMPATIENT, "iscsid.shards": 2, "iscsid.queues": 2, "node.session.timeo.replacement_timeout": 600})
        target = lab.tgtd()
        target.add(TARGET, [Lun(lab.disk("disk", 4 * MIB))], CHAP)
        target.add(OTHER, [Lun(lab.disk("other", 4 * MIB))])
        daemon = lab.iscsid()
        says(dump(lab, daemon), "state: iscsid", "0 session(s)", "shard 1: 0 session(s), buffer pool: 0 of ")
        lab.discover(target.portal)
        lab.update(TARGET, chap_settings(CHAP))
        lab.login(TARGET)
        says(dump(lab, daemon), "session 1: running, 1 unit(s)", f"target: {TARGET}", "session 1 queue 1: running",
             "session 1 queue 0: path up, CmdSN ", " ExpCmdSN ", " MaxCmdSN ", "NOP-Out: ", "0 at the target",
             "session 1 queue 0 LUN 1: ", "0 requests in hand")
        target.remove(TARGET)
        wait_until(lambda: log_of(lab, "(try 2)"), 60, "tries")
        said = dump(lab, daemon)
        says(said, "session 1: recovering", "down for ", "I/O fails in 5", "try ", "last error: the target refused the login with "
             "status 0203", "session 1 queue 0: path down, no session on a connection")
        logging_in(lab, daemon, silent)
        no_secret(lab)
        lab.logout(TARGET)


def logging_in(lab, daemon, silent):
    lab.adm("-m", "node", "-T", OTHER, "-p", f"127.0.0.1:{silent.port},1", "-o", "new")
    command = [lab.program("iscsiadm"), "-m", "node", "-T", OTHER, "-p", f"127.0.0.1:{silent.port}", "-l"]
    with subprocess.Popen(command, env=lab.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as login:
        wait_until(lambda: log_of(lab, "session 2: logging in to"), 20, "the login")
        says(dump(lab, daemon), "session 2: logging in", "session 1: recovering", "try 1")
        login.communicate()


def a_daemon_that_stands_still():
    with Lab() as lab:
        target = lab.tgtd()
        target.add(TARGET, [Lun(lab.disk("disk", 4 * MIB))])
        daemon = lab.iscsid()
        lab.discover(target.portal)
        lab.login()
        daemon.send_signal(signal.SIGSTOP)
        lab.undo.append(lambda: daemon.send_signal(signal.SIGCONT))
        done = lab.adm("doctor", "-T", TARGET, "-j", ok=33, seconds=60)
        steps = {step["step"]: step for step in json.loads(done.out)["steps"]}
        check(steps["iscsid"]["state"] == "wrong" and "has not answered for 5 s" in steps["iscsid"]["what"], f"{steps['iscsid']}")
        check(steps["connect"]["state"] == "ok", "the way is looked at all the same")
        daemon.send_signal(signal.SIGCONT)
        lab.adm("doctor", "-T", TARGET)
        lab.logout()


def a_target_without_targets():
    """tgtd closes each connection then, which may pass: the login tries for as long as the record says, and ends."""
    with Lab() as lab:
        lab.configure(IMPATIENT)
        target = lab.tgtd()
        lab.iscsid("-d", "1")
        lab.adm("-m", "node", "-T", TARGET, "-p", f"{target.portal},1", "-o", "new")
        done = lab.login(TARGET, ok=8)
        check("Try: " in done.err, "nothing to try")
        lab.discover(target.portal, ok=11)


if __name__ == "__main__":
    main(globals()[sys.argv[1]])
