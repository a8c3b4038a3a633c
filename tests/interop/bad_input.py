"""Bad input gets clear words, the right exit status, and changes nothing. Argument: the name of the function to run.

Every refusal is held to the same: the exit status; lines on stderr that all begin with the program's name, as many
as stated and one of them with the given words; nothing on stdout but what is stated; the database as it was.
"""

import os
import re
import sys

from lab import MIB, Lab, check, main, skip
from scripted import Discovery, Http, Random, Silent, listing
from targets import Chap, Lun, chap_settings

TARGET = "iqn.2026-01.org.example:disk"
# A login that fails for good after a moment and not after minutes.
IMPATIENT = {
    "node.session.initial_login_retry_max": 1,
    "node.conn[0].timeo.login_timeout": 3,
    "discovery.sendtargets.timeo.login_timeout": 3,
    "discovery.sendtargets.reopen_max": 0,
}
LOGIN_LINES = 4  # why; could not log in to this one; the number of the reason; could not log in to all
ADVISED_LINES = LOGIN_LINES + 1  # and what to try


def refused(lab, status, words, *args, lines=1, out=r"", **options):
    before = lab.database()
    done = lab.adm(*args, ok=None, **options)
    check(done.status == status, f"exit status {done.status}, not {status}")
    said = done.err.splitlines()
    check(all(line.startswith("iscsiadm: ") for line in said), f"not in the program's name: {said}")
    check(len(said) == lines, f"{len(said)} lines on stderr, not {lines}: {said}")
    check(all(len(line) < 512 and line.isprintable() for line in said), f"not fit to print: {said}")
    check(any(re.search(words, line) for line in said), f"no line says '{words}': {said}")
    check(re.fullmatch(out, done.out), f"stdout: {done.out!r}")
    after = lab.database()
    changed = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    check(not changed, f"the database changed: {changed}")
    return done


LOGGING_IN = r"(Logging in to \[.*\]( \(multiple\))?\n)?"


def with_disk(lab, chap=None):
    lab.configure(IMPATIENT)
    target = lab.tgtd()
    target.add(TARGET, [Lun(lab.disk("disk", 4 * MIB))], chap)
    target.initiator = lab.iscsid()
    lab.discover(target.portal)
    return target


def malformed_target_name():
    with Lab() as lab:
        with_disk(lab)
        for name in ("../../../escape", "iqn.2026-01.org.example:a/b", "iqn.2026-01.org.example:a b", ".disk", "$(disk)",
                     "iqn.2026-01.org.example:\x07", "iqn.2026-01.org.example:" + "x" * 200, "..", "eui=12", ""):
            refused(lab, 7, "iSCSI name", "-m", "node", "-T", name, "-o", "new", "-p", "127.0.0.1:3260,1")
            # As a filter it is a name that no record has.
            for verb in (["-l"], ["-o", "delete"], ["-o", "update", "-n", "node.startup", "-v", "automatic"]):
                refused(lab, 21, "No records found", "-m", "node", "-T", name, *verb)


def other_users():
    """Who is not root sees the sessions, and neither their secrets nor any way to change them."""
    if os.geteuid() != 0:
        skip("only root can be somebody else")
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    with Lab() as lab:
        chap = Chap("lab-user", "secret-of-the-lab-1", "lab-target", "secret-of-target-2")
        with_disk(lab, chap)
        lab.update(TARGET, chap_settings(chap))
        lab.login()
        for place in ("", "etc", "run"):
            os.chmod(os.path.join(lab.root, place), 0o711)
        if lab.run("test", "-x", lab.program("iscsiadm"), ok=None, **nobody).status:
            skip("the build directory is not readable for other users")
        roots = lab.adm("-m", "session").out
        check(lab.adm("-m", "session", **nobody).out == roots, "the list is another one")
        check(chap.secret in lab.adm("-m", "session", "-P", "3", "-S").out, "root does not see the secret")
        for words in (["session", "-P", "3", "-S"], ["session", "-j", "-S", "-P", "3"], ["host", "-P", "4", "-j"]):
            done = lab.adm("-m", *words, **nobody)
            check(TARGET in done.out and done.err == "", "the session is not shown")
            check(not any(word in done.out for word in (chap.user, chap.secret, "lab-target", "secret-of-target-2")),
                  "CHAP names or secrets are shown")
        for words in (["session", "-u"], ["session", "-R"], ["session", "-r", "1", "-u"]):
            done = lab.adm("-m", *words, ok=13, **nobody)
            check("(13 - " in done.err, "the reason is missing")
        lab.adm("-k", "0", ok=13, **nobody)
        for place in ("luns", "by-path", "sessions"):
            lab.run("ls", os.path.join(lab.root, "run/iscsid", place), ok=2, **nobody)
        check(lab.adm("-m", "session").out == roots, "the session is gone")
        lab.logout()


def names_of_their_own():
    """Targets in the field are called as they like: they are found, logged in to and listed."""
    with Lab() as lab:
        target = with_disk(lab)
        for name in ("target1", "iqn.com.example", "iqn.2001-4.com.x:y"):
            target.add(name, [Lun(lab.disk(name, 4 * MIB))])
        found = lab.discover(target.portal).out
        for name in ("target1", "iqn.com.example", "iqn.2001-4.com.x:y"):
            check(f" {name}\n" in found, f"{name} was not found")
            lab.login(name)
            check(f" {name} (non-flash)\n" in lab.adm("-m", "session").out, f"{name} is not listed")
            lab.logout(name)


def transport_that_is_not_there():
    with Lab() as lab:
        target = with_disk(lab)
        refused(lab, 12, "transport iser is not available", "-m", "discovery", "-t", "st", "-p", target.portal, "-o",
                "nonpersistent", "-I", "iser", lines=2)
        lab.adm("-m", "node", "-T", TARGET, "-p", target.portal, "-I", "iser", "-o", "new")
        refused(lab, 12, "transport iser is not available", "-m", "node", "-I", "iser", "-l", lines=LOGIN_LINES,
                out=LOGGING_IN)
        lab.adm("-m", "session", ok=21)


def portal_with_a_bad_port():
    with Lab() as lab:
        with_disk(lab)
        for portal in ("127.0.0.1:99999", "127.0.0.1:port", "127.0.0.1:0", "127.0.0.1:-1", "127.0.0.1:", "[::1]:70000",
                       "127.0.0.1:3260x", "[::1", "127.0.0.1:3260,99999", ""):
            refused(lab, 7, f"portal '{re.escape(portal)}': ", "-m", "discovery", "-t", "st", "-p", portal)
            refused(lab, 7, f"portal '{re.escape(portal)}': ", "-m", "node", "-T", TARGET, "-p", portal,
                    "-o", "new")


def wrong_secret():
    with Lab() as lab:
        chap = Chap("lab-user", "secret-of-the-lab-1")
        with_disk(lab, chap)
        for wrong in (Chap("lab-user", "another-secret-12"), Chap("nobody", "secret-of-the-lab-1"), None):
            lab.update(TARGET, chap_settings(wrong))
            done = refused(lab, 24, r"\(24 - ", "-m", "node", "-l", lines=ADVISED_LINES, out=LOGGING_IN)
            check(not any(secret in done.err for secret in ("another-secret-12", chap.secret)), "the secret is in the message")
            lab.adm("-m", "session", ok=21)
        lab.update(TARGET, chap_settings(chap))
        lab.login()


def wrong_mutual_secret():
    with Lab() as lab:
        chap = Chap("lab-user", "secret-of-the-lab-1", "lab-target", "secret-of-target-2")
        with_disk(lab, chap)
        for user, secret in (("lab-target", "not-its-secret-12"), ("somebody", "secret-of-target-2")):
            lab.update(TARGET, chap_settings(Chap(chap.user, chap.secret, user, secret)))
            refused(lab, 24, r"\(24 - ", "-m", "node", "-l", lines=ADVISED_LINES, out=LOGGING_IN)
            lab.adm("-m", "session", ok=21)
        lab.update(TARGET, chap_settings(chap))
        lab.login()


def target_that_is_not_there():
    with Lab() as lab:
        target = with_disk(lab)
        nowhere = f"127.0.0.1:{lab.port()}"
        refused(lab, 11, "connect", "-m", "discovery", "-t", "st", "-o", "nonpersistent", "-p", nowhere,
                lines=4)  # why; after how many attempts; what failed; what to try
        lab.adm("-m", "node", "-T", TARGET, "-p", f"{nowhere},1", "-o", "new")
        refused(lab, 8, r"\(8 - ", "-m", "node", "-T", TARGET, "-p", nowhere, "-l",
                lines=ADVISED_LINES, out=LOGGING_IN)
        # The portal is there, the target is not.
        missing = "iqn.2026-01.org.example:missing"
        lab.adm("-m", "node", "-T", missing, "-p", f"{target.portal},1", "-o", "new")
        refused(lab, 19, r"\(19 - ", "-m", "node", "-T", missing, "-l", lines=ADVISED_LINES, out=LOGGING_IN)


def no_target_at_all(kind, status, discovery_lines):
    with Lab() as lab:
        lab.configure(IMPATIENT)
        server = kind(lab)
        lab.iscsid()
        refused(lab, status, "discovery login to 127.0.0.1 rejected: ", "-m", "discovery", "-t", "st", "-o",
                "nonpersistent", "-p", server.portal, lines=discovery_lines)
        lab.adm("-m", "node", "-T", TARGET, "-p", f"{server.portal},1", "-o", "new")
        refused(lab, status, rf"\({status} - ", "-m", "node", "-T", TARGET, "-l", lines=ADVISED_LINES, out=LOGGING_IN)
        check(server.accepted >= 2, "it was not even asked")
        lab.adm("-m", "session", ok=21)


def target_that_speaks_http():
    no_target_at_all(Http, 5, 3)


def target_that_answers_with_random_bytes():
    no_target_at_all(Random, 5, 3)


def target_that_says_nothing():
    no_target_at_all(Silent, 11, 4)


def daemon_not_running():
    with Lab() as lab:
        lab.adm("-m", "node", "-T", TARGET, "-p", "127.0.0.1:3260,1", "-o", "new")
        refused(lab, 20, "iscsid", "-m", "discovery", "-t", "st", "-o", "nonpersistent", "-p", "127.0.0.1:3260",
                lines=3)
        refused(lab, 20, r"\(20 - ", "-m", "node", "-l", lines=ADVISED_LINES, out=LOGGING_IN)


def second_login():
    with Lab() as lab:
        with_disk(lab)
        lab.login()
        refused(lab, 15, r"1 session(\(s\))? requested, but 1 already present", "-m", "node", "-l", lines=2,
                out=LOGGING_IN)
        check(len(lab.adm("-m", "session").out.splitlines()) == 1, "there are not one but more sessions")
        lab.logout()
        lab.login()


def unwritable_database():
    with Lab() as lab:
        lab.end(with_disk(lab).initiator)
        nobody = {}
        if os.geteuid() == 0:
            # Root may write anywhere; somebody else, who may read all of it and lock, may not.
            nobody = {"user": 65534, "group": 65534, "extra_groups": []}
            for place, folders, names in os.walk(lab.root):
                for name in folders + names:
                    path = os.path.join(place, name)
                    if not os.path.islink(path):
                        os.chmod(path, 0o755 if os.path.isdir(path) else 0o644)
            os.chmod(lab.root, 0o755)
            run = os.path.join(lab.root, "run")
            os.makedirs(f"{run}/lock/iscsi", exist_ok=True)
            for place, folders, names in os.walk(f"{run}/lock"):
                for name in [""] + folders + names:
                    os.chmod(os.path.join(place, name), 0o777)
        else:
            for place, _, _ in os.walk(lab.etc):
                os.chmod(place, 0o555)
            lab.undo.append(lambda: [os.chmod(place, 0o755) for place, _, _ in os.walk(lab.etc)])
        program = lab.program("iscsiadm")
        if nobody and lab.run("test", "-x", program, ok=None, **nobody).status:
            skip("the build directory is not readable for other users")
        refused(lab, 6, "(?i)permission|read-only|write", "-m", "node", "-T", TARGET + "2", "-p", "127.0.0.1:3260,1",
                "-o", "new", **nobody)
        for verb in (["update", "-n", "node.startup", "-v", "automatic"], ["delete"]):
            refused(lab, 6, "(?i)permission|read-only|write", "-m", "node", "-T", TARGET, "-o", *verb,
                    lines=2, **nobody)  # why; and that the operation was not done on all records


GOOD = "iqn.2026-01.org.example:good"
ADDRESS = "127.0.0.1:3260,1"
HOSTILE = [
    ("../../../../escape", ADDRESS),
    ("iqn.2026-01.org.example:a/../../b", ADDRESS),
    ("..", ADDRESS),
    ("", ADDRESS),
    ("/etc/escape", ADDRESS),
    ("iqn.2026-01.org.example:line\nnode.startup = automatic", ADDRESS),
    ("iqn.2026-01.org.example:\x1b[31m", ADDRESS),
    ("iqn.2026-01.org.example:" + "x" * 200, ADDRESS),
    (b"iqn.2026-01.org.example:\xff\xfe", ADDRESS),
    ("iqn.2026-01.org.example:place", "../../escape:3260,1"),
    ("iqn.2026-01.org.example:port", "127.0.0.1:99999,1"),
    ("iqn.2026-01.org.example:host", "a/b:3260,1"),
]


def hostile_names_from_a_target():
    check(len(HOSTILE[7][0]) == 224, "the long name is one byte too long")
    for bad in HOSTILE:
        with Lab() as lab:
            lab.configure(IMPATIENT)
            server = Discovery(lab, listing(bad, (GOOD, ADDRESS)))
            lab.iscsid()
            done = lab.discover(server.portal, ok=None)
            lines = (done.out + done.err).splitlines()
            check(all(line.isprintable() for line in lines), "control characters reached the terminal")
            check(done.out.splitlines() in ([], [f"{ADDRESS} {GOOD}"]), "stdout has more than the good target")
            check(done.err.startswith("iscsiadm: "), "nothing was said about the bad name")
            check(not [l for l in done.err.splitlines() if not l.startswith("iscsiadm: ")], "stderr")
            files = sorted(lab.database())
            allowed = ("etc/iscsi", "etc/iscsi/iscsid.conf", "etc/iscsi/initiatorname.iscsi", "etc/iscsi/nodes",
                       "etc/iscsi/send_targets", "etc/iscsi/ifaces", "etc/iscsi/static")
            for path in files:
                good = path in allowed or path.startswith((f"etc/iscsi/nodes/{GOOD}",
                                                           f"etc/iscsi/send_targets/127.0.0.1,{server.port}"))
                check(good and path.count("..") == 0, f"{bad} left {path} behind")
            outside = [name for name in os.listdir(lab.root) if "escape" in name] + \
                [name for name in os.listdir("/tmp") if name == "escape"]
            check(not outside and not os.path.exists("/etc/escape"), f"{bad} wrote {outside}")
            listed = lab.adm("-m", "node", ok=None)
            check(listed.status in (0, 21), "the list of records is broken")


if __name__ == "__main__":
    main(globals()[sys.argv[1]])
