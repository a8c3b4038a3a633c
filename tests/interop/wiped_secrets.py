"""What the daemon keeps of secrets: its whole memory, heap and stacks, is read while sessions live and after they ended.
In a directory ISCSI_BUILD."""

import os

from lab import MIB, Lab, check, main, skip, wait_until
from targets import Chap, Lun, chap_settings

TARGET = "iqn.2026-01.org.example:disk"
# Short ones fit into a std::string itself, long ones take memory of their own: both ways have to be wiped.
KINDS = {"short": Chap("lab-user", "qZ7-short-one", "lab-target", "qZ8-other-one"),
         "long": Chap("lab-user", "qZ7-a-secret-of-many-bytes-" + "x" * 40, "lab-target", "qZ8-another-secret-" + "y" * 40)}
WRONG = {"short": "qZ9-wrong-one", "long": "qZ9-a-wrong-secret-of-many-bytes-" + "z" * 40}
CONFIGURED = "qZ6-of-the-configuration"
# So long is what is looked for of each: what is left of a text that was moved or cut is found, too.
NEEDLE_BYTES = 10


def memory(pid):
    """What the process may write to, in pieces."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            place, rights, _, _, _, *name = line.split()
            begin, end = (int(number, 16) for number in place.split("-"))
            # Address sanitizer's shadow is terabytes of nothing; the kernel's own pages cannot be read.
            if not rights.startswith("rw") or end - begin > 1 << 34 or name[:1] == ["[vvar]"]:
                continue
            for at in range(begin, end, 64 * MIB):
                try:
                    mem.seek(at)
                    yield at, mem.read(min(64 * MIB, end - at))
                except OSError:  # a mapping of a ring, or one that went
                    continue


def found(pid, secret):
    needle = secret.encode()[:NEEDLE_BYTES]
    places = []
    for begin, piece in memory(pid):
        at = piece.find(needle)
        while at >= 0:
            around = piece[max(0, at - 24):at + 40]
            places.append(f"{begin + at:#x}: {around!r}")
            at = piece.find(needle, at + 1)
    return places


def check_gone(pid, secrets, when):
    for secret in secrets:
        left = found(pid, secret)
        check(not left, f"{when}: {len(left)} traces of '{secret[:NEEDLE_BYTES]}':\n  " + "\n  ".join(left[:20]))


def brought_back(lab, chap):
    """A session that the next daemon takes over, from a file that has its secrets; gives that daemon."""
    lab.update(TARGET, chap_settings(chap))
    lab.login()
    for name, process in list(lab.processes):
        if name == "iscsid":
            lab.end(process)
            lab.processes.remove((name, process))
    process = lab.iscsid()
    wait_until(lambda: lab.session().exports, 20, "the session to be back")
    check(found(process.pid, chap.secret), "the session that came back has its secret")
    lab.logout()
    check_gone(process.pid, [chap.secret, chap.secret_in], "after the logout of a session that was brought back")
    return process


def wiped_secrets():
    with Lab() as lab:
        target = lab.tgtd()
        tid = target.add(TARGET, [Lun(lab.disk("disk", 4 * MIB))])
        lab.configure({"discovery.sendtargets.auth.username": "lab-user",
                       "discovery.sendtargets.auth.password": CONFIGURED, "node.session.auth.password": CONFIGURED})
        process = lab.iscsid()
        lab.configure({})
        lab.discover(target.portal)
        try:
            check(found(process.pid, TARGET), "the daemon's memory shows what was asked of it")
        except PermissionError as error:
            skip(f"no access to the daemon's memory: {error}")
        check_gone(process.pid, [CONFIGURED], "after the start, the configuration's secrets")
        for kind, chap in KINDS.items():
            target.account(tid, chap.user, chap.secret)
            target.account(tid, chap.user_in, chap.secret_in, "--outgoing")
            lab.update(TARGET, chap_settings(Chap(chap.user, WRONG[kind], chap.user_in, chap.secret_in)))
            lab.login(ok=24)
            check_gone(process.pid, [WRONG[kind], chap.secret_in], f"after a refused login, {kind} secrets")
            path = os.path.join(lab.root, "secret")
            with open(path, "w", encoding="ascii") as file:
                file.write(chap.secret + "\n")
            os.chmod(path, 0o600)
            for password in (chap.secret, f"file:{path}"):
                lab.update(TARGET, chap_settings(Chap(chap.user, password, chap.user_in, chap.secret_in)))
                lab.login()
                check(found(process.pid, chap.secret), "a session has its secret, for when it has to log in again")
                lab.adm("-m", "session", "-P", "2", "-S", quiet=True)
                lab.adm("-m", "session", "-P", "3", quiet=True)
                lab.adm("-m", "session", "--rescan", quiet=True)
                lab.logout()
                check_gone(process.pid, [chap.secret, chap.secret_in], f"after the logout, {kind} secrets, {password[:5]}")
            process = brought_back(lab, chap)
            target.admin("--op", "delete", "--mode", "account", "--user", chap.user)
            target.admin("--op", "delete", "--mode", "account", "--user", chap.user_in)


if __name__ == "__main__":
    main(wiped_secrets)
