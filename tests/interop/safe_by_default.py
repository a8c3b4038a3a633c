"""Safe without being asked: who may read what is written and what is held in memory, who may ask what, and where secrets do
not show. By scenario, in a directory ISCSI_BUILD."""

import fcntl
import json
import os
import shutil
import signal
import socket
import stat
import sys
import time

from lab import MIB, PATIENCE, Lab, check, main, skip, wait_until
from targets import Chap, Lun, chap_settings

TARGET = "iqn.2026-01.org.example:disk"
CHAP = Chap("lab-user", "qZ7-of-the-lab-1", "lab-target", "qZ8-of-target-2")
WRONG = "qZ9-a-wrong-one"
SECRETS = (CHAP.secret, CHAP.secret_in, WRONG)
HIDDEN = "********"
NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}
DENIED = 13
REQUESTS = ("discover", "login", "logout", "sessions", "rescan", "stop", "info")


def with_target(lab):
    target = lab.tgtd()
    target.add(TARGET, [Lun(lab.disk("disk", 4 * MIB))], CHAP)
    return target


def stopped(process):
    """The daemon hears nobody from here on; whoever asks it waits."""
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT), 10, "the daemon to stand still")


def modes_below(folder):
    found = {}
    for place, folders, names in os.walk(folder):
        for name in [""] + folders + names:
            path = os.path.join(place, name).rstrip("/")
            what = os.lstat(path)
            if not stat.S_ISLNK(what.st_mode):
                found[path] = what.st_mode
    return found


def check_modes(lab, public):
    """Folders are 0700 and all else is 0600, but for what is public."""
    found = {**modes_below(f"{lab.root}/etc/iscsi"), **modes_below(f"{lab.root}/run")}
    for path, mode in sorted(found.items()):
        name = os.path.relpath(path, lab.root)
        wanted = public.get(name, 0o700 if stat.S_ISDIR(mode) else 0o600)
        check(stat.S_IMODE(mode) == wanted, f"{name} has the mode {stat.S_IMODE(mode):o}, not {wanted:o}")
    return {os.path.relpath(path, lab.root) for path in found}


def modes():
    """Whatever the umask of who starts them, the programs make folders and files for their user alone."""
    # Below it is the socket; the folder above is everybody's already on a machine.
    public = {"run": 0o755, "run/iscsid": 0o711, "run/iscsid/control.sock": 0o666}
    for umask in (0o000, 0o022):
        with Lab() as lab:
            shutil.rmtree(lab.etc)
            os.mkdir(os.path.join(lab.root, "run"))
            os.chmod(os.path.join(lab.root, "run"), 0o755)
            lab.run(lab.program("iscsi-gen-initiatorname"), umask=umask)
            before = os.umask(0o077)
            lab.configure({})
            os.umask(before)
            target = with_target(lab)
            lab.iscsid("-d", "8", umask=umask)
            lab.discover(target.portal, umask=umask)
            lab.adm("-m", "discoverydb", "-t", "st", "-p", target.portal, "-o", "new", umask=umask)
            lab.adm("-m", "iface", "-I", "lab", "-o", "new", umask=umask)
            lab.adm("-m", "node", "-T", TARGET, "-p", target.portal, "-I", "lab", "-o", "new", umask=umask)
            lab.update(TARGET, chap_settings(CHAP))
            lab.login(umask=umask)
            found = check_modes(lab, public)
            for wanted in ("etc/iscsi/initiatorname.iscsi", "etc/iscsi/ifaces/lab", f"etc/iscsi/nodes/{TARGET}",
                           "etc/iscsi/send_targets", "run/iscsid/control.sock", "run/iscsid/sessions"):
                check(wanted in found, f"there is no {wanted}")
            check(any(name.startswith("run/iscsid/luns/") for name in found), "no LUN is shown")
            lab.logout(umask=umask)
            check_modes(lab, public)


def no_cores():
    """No core of a program that may hold secrets is written: the kernel gives what there is of it in /proc to root."""
    if os.geteuid() != 0:
        skip("only root can be somebody else")
    with Lab() as lab:
        bin_ = os.path.join(lab.root, "bin")
        os.mkdir(bin_, 0o755)
        for name in ("iscsid", "iscsiadm", "iscsistart"):
            shutil.copy(lab.program(name), bin_)
        for place in [lab.root] + [os.path.join(place, name) for place, folders, names in os.walk(f"{lab.root}/etc")
                                   for name in folders + names] + [f"{lab.root}/etc"]:
            os.chown(place, NOBODY["user"], NOBODY["group"])

        def owner(process):
            check(process.poll() is None, f"{process.args[0]} ended with {process.returncode}")
            return os.stat(f"/proc/{process.pid}/mem").st_uid

        ordinary = lab.start("sleep", ["sleep", "1000"], **NOBODY)
        wait_until(lambda: owner(ordinary) == NOBODY["user"], 10, "an ordinary process to be of its user")
        daemon = lab.start("iscsid", [f"{bin_}/iscsid", "-f"], **NOBODY)
        wait_until(lambda: os.path.exists(f"{lab.root}/run/iscsid/control.sock"), 20, "iscsid to listen")
        stopped(daemon)
        # They wait for the daemon.
        start = [f"{bin_}/iscsistart", "-i", "iqn.2026-01.org.example:i", "-t", TARGET, "-g", "1", "-a", "127.0.0.1",
                 "-u", CHAP.user, "-w", CHAP.secret]
        for name, words in (("iscsiadm", [f"{bin_}/iscsiadm", "-m", "session"]), ("iscsistart", start)):
            process = lab.start(name, words, **NOBODY)
            process.expected_end = True
            wait_until(lambda p=process: owner(p) == 0, 10, f"{name} to be out of reach")
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                check(owner(process) == 0, f"{name} could be dumped")
        check(owner(daemon) == 0, "iscsid could be dumped")
        daemon.send_signal(signal.SIGCONT)


def _waiting(lab, name, words, wanted):
    """The program's command line, as ps has it, once it stands still."""
    process = lab.start(name, words)
    process.expected_end = True

    def line():
        check(process.poll() is None, f"{name} ended with {process.returncode}")
        with open(f"/proc/{process.pid}/stat", encoding="ascii", errors="replace") as file:
            if file.read().rpartition(")")[2].split()[0] != "S":
                return None
        with open(f"/proc/{process.pid}/cmdline", encoding="ascii", errors="replace") as file:
            said = file.read()
        return said if not any(secret in said for secret in SECRETS) else None

    said = wait_until(line, 10, f"the secrets to be gone from the command line of {name}")
    check(wanted in said, f"ps shows of {name}: {said!r}")
    return process


def command_lines():
    """A secret that was given in a program's command line is not in it any more while the program waits."""
    with Lab() as lab:
        daemon = lab.iscsid()
        lab.adm("-m", "node", "-T", TARGET, "-p", "127.0.0.1", "-o", "new")
        folder = f"{lab.root}/run/lock/iscsi"
        with open(f"{folder}/lock", "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            processes = [_waiting(lab, f"iscsiadm{number}", [
                lab.program("iscsiadm"), "-m", "node", "-T", TARGET, "-o", "update", "-n", "node.session.auth.password", *words],
                "node.session.auth.password")
                for number, words in enumerate((["-v", CHAP.secret], [f"--value={CHAP.secret}"], [f"-v{CHAP.secret}"]))]
        for process in processes:
            wait_until(lambda p=process: p.poll() is not None, 20, "iscsiadm to end")
            check(process.returncode == 0, "the value was not taken")
        check(CHAP.secret in lab.adm("-m", "node", "-T", TARGET, "-S", quiet=True).out, "another value was taken")
        stopped(daemon)
        start = [lab.program("iscsistart"), "-i", "iqn.2026-01.org.example:i", "-t", TARGET, "-g", "1", "-a", "127.0.0.1"]
        _waiting(lab, "iscsistart", [*start, "-u", CHAP.user, "-w", CHAP.secret, "-U", CHAP.user_in, f"-W{CHAP.secret_in}",
                                     "-P", f"node.session.auth.password_in={WRONG}"], "\0-w\0")
        daemon.send_signal(signal.SIGCONT)


def output_and_logs():
    """With everything logged, over good logins and refused ones, no secret is in any log, nor in any output but with -S."""
    with Lab() as lab:
        target = with_target(lab)
        lab.configure({"discovery.sendtargets.auth.authmethod": "CHAP", "discovery.sendtargets.auth.username": "lab-user",
                       "discovery.sendtargets.auth.password": WRONG})
        lab.iscsid("-d", "8")
        said = []

        def adm(*words, **options):
            for extra in ([], ["-d", "8"], ["-j"], ["-j", "-d", "8"]):
                done = lab.adm(*words, *extra, quiet=True, **options)
                said.append((" ".join(words + tuple(extra)), done.out + done.err))

        def check_secrets(when):
            for words, text in said:
                for secret in SECRETS:
                    check(secret not in text, f"{when}: a secret in the output of iscsiadm {words}")
            for name in os.listdir(lab.root):
                if name.endswith(".log") and not name.startswith("tgtd"):
                    with open(os.path.join(lab.root, name), encoding="utf-8", errors="replace") as file:
                        text = file.read()
                    check(not any(secret in text for secret in SECRETS), f"{when}: a secret in {name}")
            said.clear()

        refused = lab.discover(target.portal, ok=24)
        said.append(("-m discovery", refused.out + refused.err))
        adm("-m", "discoverydb", "-t", "st", "-p", target.portal)
        lab.configure({})
        lab.adm("-m", "discoverydb", "-t", "st", "-p", target.portal, "-o", "delete")
        lab.discover(target.portal)
        everywhere = ["-m", "node", "-T", TARGET, "-o", "update", "-d", "8"]
        for key, value in chap_settings(Chap(CHAP.user, WRONG, CHAP.user_in, CHAP.secret_in)).items():
            done = lab.adm(*everywhere, "-n", key, "-v", value, quiet=True)
            said.append((f"-o update -n {key}", done.out + done.err))
        lab.login(ok=24)
        lab.adm("-m", "node", "-l", "-d", "8", ok=24)
        check_secrets("after a refused login")
        lab.update(TARGET, chap_settings(CHAP))
        lab.adm("-m", "node", "-l", "-d", "8")
        connection = target.admin("--op", "show", "--mode", "conn", "--tid", "1").out
        sid = connection.split("Session: ")[1].split("\n")[0].strip()
        target.admin("--op", "delete", "--mode", "conn", "--tid", "1", "--sid", sid, "--cid", "0")

        def log():
            with open(os.path.join(lab.root, "iscsid.log"), encoding="utf-8", errors="replace") as file:
                return file.read()

        wait_until(lambda: " is back after " in log(), 20, "the session to be back")
        check("iscsid " in log() and TARGET in log(), "the daemon logs")
        adm("-m", "node", "-T", TARGET)
        adm("-m", "node", "-T", TARGET, "-o", "show")
        for level in range(4):
            adm("-m", "session", "-P", str(level))
        for level in range(5):
            adm("-m", "host", "-P", str(level))
        adm("-m", "session", "-s")
        adm("-m", "session", "-R")
        adm("-m", "discoverydb", "-t", "st", "-p", target.portal)
        adm("-m", "discovery", "-P", "1")
        adm("-m", "node", "-P", "1")
        check(any(HIDDEN in text for _, text in said), "nothing was hidden in the output")
        check_secrets("in a session")
        for words in (["-m", "node", "-T", TARGET], ["-m", "session", "-P", "2"], ["-m", "session", "-P", "3", "-j"]):
            shown = lab.adm(*words, "-S", quiet=True).out
            check(CHAP.secret in shown and CHAP.secret_in in shown, f"-S does not show secrets: {words}")
        lab.logout()
        check_secrets("after the logout")


def _recorded(lab, kind, *words):
    """The request of this kind that iscsiadm makes, to a server that has no session."""
    path = os.path.join(lab.root, "run/iscsid/control.sock")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        process = lab.start("asks", [lab.program("iscsiadm"), *words])
        process.expected_end = True
        server.settimeout(20 * PATIENCE)
        asked = {}
        while asked.get("request") != kind:
            client, _ = server.accept()
            with client, client.makefile("rw") as stream:
                while (line := stream.readline()) and (asked := json.loads(line))["request"] == "sessions":
                    stream.write(json.dumps({"reply": "sessions", "v": 1, "id": asked["id"], "sessions": []}) + "\n")
                    stream.flush()
    os.unlink(path)
    wait_until(lambda: process.poll() is not None, 20, "iscsiadm to end")
    return line


def _ask(lab, line, uid):
    """What the daemon answers to a user, who is one in earnest when he connects and sends."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if uid:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(20 * PATIENCE)
                client.connect(os.path.join(lab.root, "run/iscsid/control.sock"))
                client.sendall(line.encode())
                answer = b""
                while not answer.endswith(b"\n") and (piece := client.recv(65536)):
                    answer += piece
                os.write(writing, answer)
                status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = pipe.read()
    check(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, f"user {uid} could not ask")
    return json.loads(answer)


def who_may_ask_what():
    """At the real socket, each request there is: another user gets the list of sessions, and nothing else is done for him."""
    if os.geteuid() != 0:
        skip("only root can be somebody else")
    with Lab() as lab:
        target = with_target(lab)
        for place in (lab.root, f"{lab.root}/etc"):
            os.chmod(place, 0o711)
        lab.adm("-m", "node", "-T", TARGET, "-p", target.portal, "-o", "new")
        lab.update(TARGET, chap_settings(CHAP))
        lines = {"login": _recorded(lab, "login", "-m", "node", "-l"),
                 "discover": _recorded(lab, "discover", "-m", "discovery", "-t", "st", "-p", target.portal)}
        for kind in REQUESTS:
            more = {"sid": 1} if kind in ("logout", "rescan") else {}
            lines.setdefault(kind, json.dumps({"request": kind, "v": 1, "id": 1, **more}) + "\n")
        shutil.rmtree(os.path.join(lab.root, "run"))
        daemon = lab.iscsid()
        os.chmod(os.path.join(lab.root, "run"), 0o711)
        lab.login()

        def sessions():
            return lab.adm("-m", "session", quiet=True).out

        before = sessions()
        for kind in REQUESTS:
            answer = _ask(lab, lines[kind], NOBODY["user"])
            if kind == "sessions":
                check(answer["reply"] == "sessions" and TARGET in json.dumps(answer), f"no list for others: {answer}")
                check(not any(secret in json.dumps(answer) for secret in SECRETS), "the list has secrets")
            else:
                check(answer["reply"] == "error" and answer["exit_code"] == DENIED and TARGET not in json.dumps(answer),
                      f"to another user's '{kind}' it said: {answer}")
            check(daemon.poll() is None and sessions() == before, f"after another user's '{kind}' it is not as it was")
        for kind in sorted(REQUESTS, key=("sessions", "info", "rescan", "discover", "login", "logout", "stop").index):
            answer = _ask(lab, lines[kind], 0)
            check(answer.get("exit_code") != DENIED, f"root's '{kind}' was denied")
        wait_until(lambda: daemon.poll() == 0, 20, "the daemon to stop, as root had asked")


if __name__ == "__main__":
    main({function.__name__: function for function in (modes, no_cores, command_lines, output_and_logs, who_may_ask_what)}
         [sys.argv[1]])
