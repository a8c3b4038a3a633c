"""iscsid under a service manager, which this test plays: what it says of itself (sd_notify(3)), the socket that it is given
(sd_listen_fds(3)), its signs of life (sd_watchdog_enabled(3)). Argument: the name of the function to run. In a directory
ISCSI_BUILD."""

import contextlib
import os
import re
import select
import signal
import socket
import sys
import time

from lab import PATIENCE, Lab, check, listener_of, main, wait_until

# What a service manager does between fork and exec: the descriptors 3 and on, the number of the process in the environment.
# Arguments: the descriptors, the program and its words.
STARTER = """
import fcntl, os, sys
fds = [fcntl.fcntl(int(fd), fcntl.F_DUPFD_CLOEXEC, 100) for fd in sys.argv[1].split(",")]
for place, fd in enumerate(fds, 3):
    os.dup2(fd, place, inheritable=True)
os.environ.update(LISTEN_FDS=str(len(fds)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=":".join(["iscsid"] * len(fds)))
os.execv(sys.argv[2], sys.argv[2:])
"""
# The same for the watchdog. Arguments: microseconds, the program and its words.
WATCHED = """
import os, sys
os.environ.update(WATCHDOG_USEC=sys.argv[1], WATCHDOG_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""
NO_SESSIONS = 21


class Manager:
    """The socket that a daemon tells things to."""

    def __init__(self, lab, abstract=False):
        self.name = f"\0{lab.root}/notify" if abstract else os.path.join(lab.root, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.name)
        lab.env["NOTIFY_SOCKET"] = self.name.replace("\0", "@")

    def hear(self, seconds=20):
        """The lines of the next message; None when there is none in time."""
        self.socket.settimeout(seconds * PATIENCE)
        try:
            return self.socket.recv(4096).decode().splitlines()
        except TimeoutError:
            return None

    def expect(self, line):
        said = self.hear()
        check(said is not None and line in said, f"'{line}' was expected, not {said}")
        return said


def control_socket(lab):
    return os.path.join(lab.root, "run/iscsid/control.sock")


def end_well(process):
    process.send_signal(signal.SIGTERM)
    status = process.wait(20 * PATIENCE)
    check(status == 0, f"iscsid ended with {status}")


def ready_and_stopping():
    with Lab() as lab:
        manager = Manager(lab)
        daemon = lab.start("iscsid", [lab.program("iscsid"), "-f"])
        said = manager.expect("READY=1")
        check(not any(line.startswith("MAINPID=") for line in said), f"it is the process that was started: {said}")
        check(listener_of(control_socket(lab)) == daemon.pid, "one that is ready listens")
        lab.adm("-m", "session", ok=NO_SESSIONS)
        daemon.send_signal(signal.SIGTERM)
        manager.expect("STOPPING=1")
        end_well(daemon)
        check(not os.path.exists(control_socket(lab)), "its own socket goes with it")


@contextlib.contextmanager
def background_daemon(lab, *words, **options):
    """A daemon that goes to the background: its process number. It is told to end, and does."""
    lab.run(*words, **options)
    with open(os.path.join(lab.root, "run/iscsid.pid"), encoding="ascii") as file:
        pid = int(file.read())
    process = os.pidfd_open(pid)
    lab.undo.append(lambda: signal.pidfd_send_signal(process, signal.SIGKILL))
    yield pid
    signal.pidfd_send_signal(process, signal.SIGTERM)
    check(select.select([process], [], [], 20 * PATIENCE)[0], "iscsid ends when it is told to")
    lab.undo.pop()


def listening(lab):
    """As a socket unit makes it."""
    os.makedirs(os.path.dirname(control_socket(lab)), mode=0o711, exist_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(control_socket(lab))
    os.chmod(control_socket(lab), 0o600)
    made.listen(16)
    return made


def given(lab, sockets):
    """How a daemon is started that is given these."""
    numbers = [one.fileno() for one in sockets]
    words = [sys.executable, "-c", STARTER, ",".join(map(str, numbers)), lab.program("iscsid")]
    return words, {"pass_fds": numbers}


def passed_socket():
    with Lab() as lab:
        manager = Manager(lab)
        sock = listening(lab)
        sock.setblocking(False)  # as socket units are; the one who is given it may have it otherwise
        inode = os.stat(control_socket(lab)).st_ino
        words, options = given(lab, [sock])
        first = lab.start("iscsid", [*words, "-f"], **options)
        manager.expect("READY=1")
        lab.adm("-m", "session", ok=NO_SESSIONS)
        check(os.get_blocking(sock.fileno()), "its ring waits at the socket")
        open_files = [os.readlink(f"/proc/{first.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{first.pid}/fd")]
        link = os.readlink(f"/proc/self/fd/{sock.fileno()}")
        check(link in open_files, f"{link} is the socket it serves: {open_files}")
        end_well(first)
        manager.expect("STOPPING=1")
        there = os.stat(control_socket(lab))
        check(there.st_ino == inode and there.st_mode & 0o777 == 0o600, "the socket's file is as it was")

        waiting = lab.start("iscsiadm", [lab.program("iscsiadm"), "-m", "session"])
        waiting.expected_end = True
        check(select.select([sock], [], [], 20 * PATIENCE)[0], "a client connects while no daemon runs")
        check(waiting.poll() is None, "it waits")
        second = lab.start("iscsid", [*words, "-f"], **options)
        check(waiting.wait(20 * PATIENCE) == NO_SESSIONS, "the next daemon answers it")
        manager.expect("READY=1")
        end_well(second)
        manager.expect("STOPPING=1")
        check(os.path.exists(control_socket(lab)), "the socket's file is still there")


def passed_socket_in_the_background():
    """The daemon is not the process that LISTEN_PID names, but a child of it."""
    with Lab() as lab:
        manager = Manager(lab, abstract=True)
        sock = listening(lab)
        words, options = given(lab, [sock])
        with background_daemon(lab, *words, **options) as pid:
            said = manager.expect("READY=1")
            check(f"MAINPID={pid}" in said, f"who the daemon is: {said}")
            lab.adm("-m", "session", ok=NO_SESSIONS)
        manager.expect("STOPPING=1")
        check(os.path.exists(control_socket(lab)), "the socket's file is still there")


def wrong_descriptors():
    with Lab() as lab, contextlib.ExitStack() as opened:
        def refused(sockets, words):
            command, options = given(lab, sockets)
            for option in (["-f"], []):
                done = lab.run(*command, *option, ok=1, **options)
                check(re.search(words, done.err) and len(done.err.splitlines()) == 1, f"'{words}' was expected: {done.err}")

        right = opened.enter_context(listening(lab))
        tcp = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        datagrams = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        datagrams.bind(os.path.join(lab.root, "datagrams"))
        elsewhere = opened.enter_context(socket.socket(socket.AF_UNIX))
        elsewhere.bind(os.path.join(lab.root, "elsewhere"))
        elsewhere.listen()
        deaf = opened.enter_context(socket.socket(socket.AF_UNIX))
        deaf.bind(os.path.join(lab.root, "deaf"))
        nothing = opened.enter_context(open("/dev/null", "rb"))
        path = re.escape(control_socket(lab))
        for wrong in (tcp, datagrams, elsewhere, deaf, nothing):
            refused([wrong], f"not a Unix stream socket that listens at {path}")
        refused([right, elsewhere], "2 sockets .* one")
        check(os.path.exists(control_socket(lab)), "the socket's file is still there")


def beside_another():
    """There is a daemon, but the socket is the service manager's, so the next one cannot ask there: it waits for the end of the
    first, and not for ever."""
    with Lab() as lab:
        manager = Manager(lab)
        first = lab.start("iscsid", [lab.program("iscsid"), "-f"])
        manager.expect("READY=1")
        os.unlink(control_socket(lab))
        sock = listening(lab)
        words, options = given(lab, [sock])
        done = lab.run(*words, "-f", ok=1, **options)
        check("another iscsid is running" in done.err, f"why it did not start: {done.err}")
        check(first.poll() is None, "the first one goes on")
        second = lab.start("iscsid", [*words, "-f"], **options)
        check(manager.hear(0.3) is None, "two at once")
        end_well(first)
        manager.expect("STOPPING=1")
        manager.expect("READY=1")
        end_well(second)


def watchdog():
    usec = int(400000 * PATIENCE)
    with Lab() as lab:
        manager = Manager(lab)
        words = [sys.executable, "-c", WATCHED, str(usec), lab.program("iscsid"), "-f"]
        daemon = lab.start("iscsid", words)
        heard = []

        def ready():
            heard.extend(manager.hear() or ["nothing"])
            return "READY=1" in heard

        wait_until(ready, 20, "READY=1")
        begun = time.monotonic()
        for _ in range(10):
            said = manager.hear(10)
            check(said == ["WATCHDOG=1"], f"a ping was expected, not {said}")
        taken = time.monotonic() - begun
        check(taken < 10 * usec / 1e6, f"ten pings in {taken:.2f} s: a service manager would have ended it")
        daemon.send_signal(signal.SIGTERM)
        wait_until(lambda: manager.hear() == ["STOPPING=1"], 20, "STOPPING=1")
        end_well(daemon)


def not_asked():
    """Without a watchdog nothing is said after the start; what is meant for another process is not taken."""
    with Lab() as lab:
        manager = Manager(lab)
        env = {"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1", "LISTEN_FDS": "1", "LISTEN_PID": "1"}
        daemon = lab.start("iscsid", [lab.program("iscsid"), "-f"], env=env)
        manager.expect("READY=1")
        check(manager.hear(0.2) is None, "it has nothing to say")
        end_well(daemon)
        manager.expect("STOPPING=1")


if __name__ == "__main__":
    main(globals()[sys.argv[1]])
