"""What an operator is told by real targets' doing: the reason, what to try, and where doctor finds the chain broken. In a
directory ISCSI_BUILD. Argument: the name of the function to run."""

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios

from lab import MIB, PATIENCE, Lab, check, main, skip, wait_until
from netns import in_a_network_of_its_own
from targets import Chap, Lun, chap_settings

TARGET = "iqn.2026-01.org.example:disk"
CHAP = Chap("lab-user", "secret-of-the-lab-1")
MUTUAL = Chap("lab-user", "secret-of-the-lab-1", "lab-target", "secret-of-target-2")
SECRETS = ("secret-of-the-lab-1", "secret-of-target-2", "not-its-secret-12", "another-secret-12")
IMPATIENT = {
    "node.session.initial_login_retry_max": 1,
    "node.conn[0].timeo.login_timeout": 5,
    "discovery.sendtargets.timeo.login_timeout": 5,
    "discovery.sendtargets.reopen_max": 0,
}


def advice(done):
    """The last line, which is to say what to try."""
    check(not any(secret in done.out + done.err for secret in SECRETS), "a secret was printed")
    last = done.err.splitlines()[-1]
    check(last.startswith("iscsiadm: Try: "), f"nothing to try: {last}")
    return last


def doctor(lab, *words, ok=0, **options):
    """{step: (state, what, try)}, in order."""
    done = lab.adm("doctor", *words, "-j", ok=ok, quiet=True, **options)
    check(not any(secret in done.out + done.err for secret in SECRETS) and done.err == "", "more was said than is to be")
    return {step["step"]: (step["state"], step["what"], step["try"]) for step in json.loads(done.out)["steps"]}


def ends(steps, name, state="wrong"):
    last = list(steps)[-1]
    check((last, steps[last][0]) == (name, state), f"the chain was to end at {name}, {state}: {steps}")
    return steps[last]


def login_refused(lab, settings, status, words):
    if settings:
        lab.update(TARGET, settings)
    said = advice(lab.login(TARGET, ok=status))
    check(words in said, f"'{words}' was expected: {said}")


def refusals_of_tgtd():
    with Lab() as lab:
        lab.configure(IMPATIENT)
        target = lab.tgtd()
        target.add(TARGET, [Lun(lab.disk("disk", 4 * MIB))], MUTUAL)
        lab.iscsid()
        lab.discover(target.portal)
        login_refused(lab, {}, 24, "the record has no secret: set node.session.auth.username")
        login_refused(lab, chap_settings(Chap(MUTUAL.user, "another-secret-12")), 24, "did not take our CHAP name or secret")
        login_refused(lab, chap_settings(Chap("nobody", MUTUAL.secret)), 24, "did not take our CHAP name or secret")
        login_refused(lab, chap_settings(Chap(MUTUAL.user, MUTUAL.secret, MUTUAL.user_in, "not-its-secret-12")), 24,
                      "node.session.auth.username_in and node.session.auth.password_in")
        # The same, found by the doctor.
        state, what, attempt = ends(doctor(lab, "-T", TARGET, "-l", ok=24), "CHAP")
        check("failed to authenticate itself" in what and "password_in" in attempt, f"{state} {what} {attempt}")
        lab.update(TARGET, chap_settings(MUTUAL))
        steps = doctor(lab, "-T", TARGET, "-l")
        ends(steps, "logout", "ok")
        check(steps["CHAP"][:2] == ("ok", "mutual CHAP was done"), f"{steps}")
        lab.adm("-m", "session", ok=21)
        missing = f"{TARGET}.missing"
        lab.adm("-m", "node", "-T", missing, "-p", f"{target.portal},1", "-o", "new")
        check("-m discovery -t st -p" in advice(lab.login(missing, ok=19)), "where is the list of those that are there?")
        check("lists 1 target, and not this one" in ends(doctor(lab, "-T", missing, ok=21), "login")[1], "not the reason")


def refusals_of_istgt():
    with Lab() as lab:
        lab.configure(IMPATIENT)
        target = lab.istgt(TARGET, [Lun(lab.disk("disk", 256 * MIB), 0)], CHAP, discovery_chap=True)
        lab.iscsid()
        done = lab.discover(target.portal, ok=24)
        check("discovery.sendtargets.auth.username" in advice(done), "not the keys of a discovery")
        lab.adm("-m", "node", "-T", TARGET, "-p", f"{target.portal},1", "-o", "new")
        login_refused(lab, {}, 24, "node.session.auth.password")
        login_refused(lab, chap_settings(Chap(CHAP.user, "another-secret-12")), 24, "did not take our CHAP name or secret")
        steps = doctor(lab, "-T", TARGET, ok=2)
        check(steps["login"][0] == "not seen" and "CHAP of their own" in steps["login"][1], f"{steps}")
        lab.update(TARGET, chap_settings(CHAP))
        lab.login(TARGET)
        check(doctor(lab, "-T", TARGET)["CHAP"][:2] == ("ok", "CHAP was done"), "CHAP is not told")
        lab.logout(TARGET)


def unreachable():
    in_a_network_of_its_own()
    with Lab() as lab:
        lab.configure(IMPATIENT)
        lab.iscsid()
        for place, step, words in ((f"127.0.0.1:{lab.port()}", "connect", "nobody listens at 127.0.0.1:"),
                                   ("198.51.100.1:3260", "route", "ip route get 198.51.100.1"),
                                   ("nowhere.invalid:3260", "name", "getent hosts nowhere.invalid")):
            check(words in advice(lab.discover(place, ok=None)), f"discovery at {place}")
            lab.adm("-m", "node", "-T", TARGET, "-p", f"{place},1", "-o", "new")
            done = lab.login(TARGET, ok=8)
            check(words in advice(done), f"login at {place}")
            state, what, attempt = ends(doctor(lab, "-T", TARGET, ok=4), step)
            check(words in attempt, f"{state} {what} {attempt}")
            lab.adm("-m", "node", "-T", TARGET, "-o", "delete")


def a_running_session_is_not_disturbed():
    with Lab() as lab:
        lab.configure({**IMPATIENT, "node.session.timeo.replacement_timeout": 60})
        target = lab.tgtd()
        target.add(TARGET, [Lun(lab.disk("disk", 4 * MIB))], CHAP)
        daemon = lab.iscsid()
        lab.discover(target.portal)
        lab.update(TARGET, chap_settings(CHAP))
        lab.login()

        def connections():
            return target.admin("--op", "show", "--mode", "conn", "--tid", "1").out

        before, listed = connections(), lab.adm("-m", "session").out
        for words in ((), ("-T", TARGET), ("-T", TARGET, "-p", target.portal), ("-T", TARGET, "-l")):
            steps = doctor(lab, *words)
            check({state for state, _, _ in steps.values()} <= {"ok"}, f"{steps}")
            check({"connection", "CHAP", "session", "LUNs", "device", "link", "mount"} <= set(steps), f"{steps}")
        lab.adm("doctor")
        check((connections(), lab.adm("-m", "session").out) == (before, listed), "the session is another one")
        snapshot = json.loads(lab.adm("-m", "session", "-j", quiet=True).out)["sessions"][0]
        check(snapshot["authentication"] == "CHAP" and snapshot["age_s"] is not None and snapshot["down_s"] is None, "no facts")
        others_see_it(lab)
        # A daemon that takes the session over knows its age, and one that is not there hides nothing else.
        lab.end(daemon)
        steps = doctor(lab, "-T", TARGET, ok=20)
        check(steps["iscsid"][0] == "wrong" and steps["connect"][0] == "ok", f"{steps}")
        daemon = lab.iscsid()
        wait_until(lambda: "LOGGED_IN" in lab.adm("-m", "session", "-P", "1", quiet=True).out, 30, "the session to be back")
        again = json.loads(lab.adm("-m", "session", "-j", quiet=True).out)["sessions"][0]
        check(again["age_s"] is not None and again["age_s"] >= snapshot["age_s"], f"its age: {again['age_s']}")
        lost(lab, target)


def on_a_terminal(lab, columns):
    """The lines of `iscsiadm -m session` where a person looks."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    subprocess.run([lab.program("iscsiadm"), "-m", "session"], env=lab.env, stdin=subprocess.DEVNULL, stdout=slave,
                   timeout=60 * PATIENCE, check=True)
    os.close(slave)
    said = os.read(master, 65536).decode()
    os.close(master)
    print(said.replace("\r", ""), flush=True)
    return said.split("\r\n")[:-1]


def at_a_glance():
    """Everything that is asked for, from real sessions, in the table and in the document: of a unit that gives itself a name
    that would write to the terminal, of a session with CHAP and digests and one without, and of lost ones."""
    with Lab() as lab:
        target = lab.tgtd()
        target.add(TARGET, [Lun(lab.disk("one", 4 * MIB), 1), Lun(lab.disk("two", 8 * MIB), 2)], CHAP,
                   {"HeaderDigest": "CRC32C,None", "DataDigest": "CRC32C,None"})
        target.add(f"{TARGET}.plain", [Lun(lab.disk("three", 16 * MIB), 1)])
        target.admin("--op", "update", "--mode", "logicalunit", "--tid", "1", "--lun", "2", "--params",
                     "vendor_id=\x1b[2J,product_id=\x1b]0;evil\x07")
        lab.iscsid()
        lab.discover(target.portal)
        lab.update(TARGET, {**chap_settings(CHAP), "node.conn[0].iscsi.HeaderDigest": "CRC32C",
                            "node.conn[0].iscsi.DataDigest": "CRC32C"})
        lab.login(TARGET)
        lab.login(f"{TARGET}.plain")
        lines = on_a_terminal(lab, 200)
        check(lines[0].split() == "SID STATE DEVICE SIZE LUN TARGET PORTAL MODEL CHAP DIGESTS AGE".split(), f"{lines[0]}")
        for line, pattern in zip(lines[1:], (
                rf"1 +up +socket +4 MiB +1 +{TARGET} +{target.portal} +IET +VIRTUAL-DISK +one way +both +\d+ s",
                rf"1 +up +socket +8 MiB +2 +{TARGET} +{target.portal} +\S*x1b\[2J .*evil.* +one way +both +\d+ s",
                rf"2 +up +socket +16 MiB +1 +{TARGET}.plain +{target.portal} +IET +VIRTUAL-DISK +none +none +\d+ s")):
            check(re.fullmatch(" +" + pattern, line) and line.isprintable(), f"{line!r} is not {pattern}")
        check(max(map(len, on_a_terminal(lab, 80))) <= 80, "lines are longer than the terminal")
        check(on_a_terminal(lab, 80)[-1].startswith("No room for "), "what is left out is not said")
        on_a_terminal(lab, 20)
        first, second = json.loads(lab.adm("-m", "session", "-j", quiet=True).out)["sessions"]
        check([(unit["state"], unit["size_bytes"] // MIB) for unit in first["luns"]] == [("running", 4), ("running", 8)], "units")
        check(all({"device", "uri", "vendor", "product"} <= set(unit) for unit in first["luns"]), "what a unit is")
        check({first["negotiated"]["header_digest"], first["negotiated"]["data_digest"]} == {"CRC32C"}, "digests")
        check((first["authentication"], second["authentication"]) == ("CHAP", "None"), "CHAP")
        check(first["age_s"] >= 0 and first["down_s"] is None and first["session_state"] == "LOGGED_IN", "age and state")
        target.process.expected_end = True
        lab.end(target.process)
        wait_until(lambda: all(re.search(r" [12] +recovering \d+ s ", line) for line in on_a_terminal(lab, 200)[1:]), 30,
                   "the table to say since when")


def others_see_it(lab):
    if os.geteuid() != 0:
        return
    for place in ("", "etc", "run"):
        os.chmod(os.path.join(lab.root, place), 0o711)
    os.chmod(lab.etc, 0o700)
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    if lab.run("test", "-x", lab.program("iscsiadm"), ok=None, **nobody).status:
        skip("the build directory is not readable for other users")
    steps = doctor(lab, **nobody)
    check((steps["record"][0], steps["session"][0], steps["device"][0]) == ("not seen", "ok", "not seen"), f"{steps}")
    os.chmod(lab.etc, 0o755)


def lost(lab, target):
    target.process.expected_end = True
    lab.end(target.process)

    def told():
        snapshot = json.loads(lab.adm("-m", "session", "-j", quiet=True).out)["sessions"][0]
        return snapshot["down_s"] is not None and "refused" in snapshot["last_error"]

    wait_until(told, 30, "the reason why the session is lost")
    check("nobody listens" in ends(doctor(lab, "-T", TARGET, ok=4), "connect")[2], "the way is not looked at")


if __name__ == "__main__":
    main(globals()[sys.argv[1]])
