"""iscsiadm monitor beside a real target: what happens is told in its order, as text and as JSON lines; how the monitor begins,
waits and ends; and no secret in any line of any log. In a directory ISCSI_BUILD. Argument: the name of the function to run."""

import json
import os
import re
import signal
import subprocess
import sys

from lab import MIB, PATIENCE, Lab, check, main, wait_until
from targets import Chap, Lun, chap_settings

TARGET = "iqn.2026-01.org.example:watched"
OTHER = "iqn.2026-01.org.example:other"
MEMBERS = {"time", "event", "level", "message", "sid", "target", "portal", "iface", "lun", "device", "lost"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TEXT = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) (error|warning|info) (\w+): (.+)")


class Monitor:
    """One that writes into a file of the lab's."""

    def __init__(self, lab, name, *words):
        self.lab, self.path = lab, os.path.join(lab.root, f"{name}.log")
        self.process = lab.start(name, [lab.program("iscsiadm"), "monitor", *words])
        self.process.expected_end = True
        self.wait("monitoring")

    def text(self):
        with open(self.path, encoding="utf-8") as file:
            return file.read()

    def lines(self):
        text = self.text()
        return text[:text.rfind("\n") + 1].splitlines()  # one may be on its way

    def events(self):
        """[(name, message, all of it)], whether they are JSON or text."""
        out = []
        for line in self.lines():
            if line.startswith("{"):
                event = json.loads(line)
                check(set(event) == MEMBERS and TIME.fullmatch(event["time"]), f"not all of an event: {line}")
                out.append((event["event"], event["message"], event))
            else:
                found = TEXT.fullmatch(line)
                check(found, f"not a line of an event: {line}")
                out.append((found[3], found[4], None))
        return out

    def names(self):
        return [name for name, _, _ in self.events()]

    def wait(self, name, times=1, seconds=60):
        def told():
            check(self.process.poll() is None, f"the monitor ended with {self.process.returncode}: {self.text()}")
            return self.names().count(name) >= times

        wait_until(told, seconds, f"'{name}' in {os.path.basename(self.path)}")

    def end(self, number):
        self.process.send_signal(number)
        check(self.process.wait(20 * PATIENCE) == -number, f"the monitor ended with {self.process.returncode}")


def in_order(names, wanted):
    rest = iter(names)
    missing = [name for name in wanted if name not in rest]
    check(not missing, f"'{missing[:1]}' is missing, or not where it belongs, of {wanted}: {names}")


def kill(target):
    target.process.expected_end = True
    target.process.kill()
    target.process.wait()


def in_the_order_of_things():
    with Lab() as lab:
        lab.configure({"node.session.timeo.replacement_timeout": 2})
        disk = lab.disk("disk", 8 * MIB)
        target = lab.tgtd()
        target.add(TARGET, [Lun(disk)])
        target.add(OTHER, [Lun(lab.disk("other", 4 * MIB))])
        lab.iscsid()
        lab.discover(target.portal)
        monitors = [Monitor(lab, "text"), Monitor(lab, "json", "-j")]
        others = [Monitor(lab, "filter-target", "-T", OTHER, "-j"), Monitor(lab, "filter-sid", "-r", "77")]
        portals = [Monitor(lab, "filter-portal", "-p", target.portal), Monitor(lab, "no-portal", "-p", "127.0.0.1:1")]
        lab.login(TARGET)
        for monitor in monitors:
            monitor.wait("login")
        kill(target)
        for monitor in monitors:
            monitor.wait("replacement_timeout")
        with open(disk, "r+b") as file:
            file.truncate(16 * MIB)
        target.start()
        target.add(TARGET, [Lun(disk)])
        for monitor in monitors:
            monitor.wait("recovered")
            monitor.wait("resized")
        target.add_lun(TARGET, Lun(lab.disk("second", 4 * MIB), 2))
        lab.adm("-m", "session", "-R")
        for monitor in monitors:
            monitor.wait("lun_added", 2)
        lab.logout(TARGET)
        for monitor in monitors:
            monitor.wait("logout")
            in_order(monitor.names(), ["monitoring", "logging_in", "lun_added", "login", "connection_lost", "recovering",
                                       "recovered"])
            in_order(monitor.names(), ["connection_lost", "replacement_timeout", "recovered"])
            in_order(monitor.names(), ["replacement_timeout", "resized", "lun_added", "logging_out", "logout"])
        check([e[:2] for e in monitors[0].events()][1:] == [e[:2] for e in monitors[1].events()][1:], "text and JSON differ")
        facts(monitors[1].events(), target)
        for other in others + portals[1:]:
            check(other.names() == ["monitoring"], f"what was not asked for was told: {other.names()}")
        check(portals[0].names() == monitors[0].names(), "what was asked for was not told")
        every_line_is_logged(lab, monitors[1])
        monitors[0].end(signal.SIGINT)
        monitors[1].end(signal.SIGTERM)


def facts(events, target):
    def only(name):
        return [event for known, _, event in events if known == name]

    login, lost, resized = only("login")[0], only("connection_lost")[0], only("resized")[0]
    for event in (login, lost, resized):
        check((event["target"], event["portal"], event["iface"]) == (TARGET, target.portal, "default"), f"not who: {event}")
        check(event["sid"] == login["sid"] and event["lost"] == 0, f"not whose: {event}")
    check((login["level"], lost["level"], login["lun"]) == ("info", "error", None), "not the level")
    check(resized["lun"] == 1 and "32768 blocks, were 16384" in resized["message"], f"not what: {resized}")
    check([event["lun"] for event in only("lun_added")] == [1, 2], "not which unit")
    check(all(event["device"].startswith("/") for event in only("lun_added")), "not which device")
    times = [event["time"] for _, _, event in events]
    check(times == sorted(times), "times go backwards")


def every_line_is_logged(lab, monitor):
    with open(os.path.join(lab.root, "iscsid.log"), encoding="utf-8") as file:
        log = file.read()
    for name, message, _ in monitor.events():
        check(name == "monitoring" or f"iscsid: {message}\n" in log, f"not in the log: {message}")


def daemons_come_and_go():
    with Lab() as lab:
        done = lab.adm("monitor", ok=20)
        check("can not connect to iSCSI daemon" in done.err and done.out == "", "no reason why nothing is monitored")
        done = lab.adm("monitor", "-j", ok=20)
        check(json.loads(done.out)["exit_code"] == 20 and done.out.count("\n") == 1, "not one line of JSON")
        daemon = lab.iscsid()
        monitors = [Monitor(lab, "text"), Monitor(lab, "json", "-j")]
        for round_number in (1, 2):
            # At its end, and as by a crash.
            if round_number == 1:
                lab.end(daemon)
            else:
                daemon.expected_end = True
                daemon.kill()
                daemon.wait()
            for monitor in monitors:
                monitor.wait("daemon_gone", round_number)
            daemon = lab.iscsid()
            for monitor in monitors:
                monitor.wait("monitoring", round_number + 1)
        # It was started again without a monitor's help, and what it does is told.
        lab.discover(f"127.0.0.1:{lab.port()}", ok=None)
        for monitor in monitors:
            in_order(monitor.names(), ["monitoring", "daemon_ending", "daemon_gone", "monitoring", "daemon_gone", "monitoring"])
            check(not set(monitor.names()) & {"events_lost"}, f"{monitor.names()}")
            monitor.end(signal.SIGTERM)
        others_are_refused(lab)
        readers_that_leave(lab)
        lab.processes = [(name, process) for name, process in lab.processes
                         if name != "iscsid" or process.poll() in (None, 0)]  # but the one that was killed


def others_are_refused(lab):
    if os.geteuid() != 0:
        return
    for place in ("", "etc", "run"):
        os.chmod(os.path.join(lab.root, place), 0o711)
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    if lab.run("test", "-x", lab.program("iscsiadm"), ok=None, **nobody).status:
        print("the build directory is not readable for other users: not looked at")
        return
    lab.adm("monitor", ok=13, **nobody)


def readers_that_leave(lab):
    """Also while nothing happens: the one line that there is has been read."""
    for words in ((), ("-j",)):
        command = [lab.program("iscsiadm"), "monitor", *words]
        monitor = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=lab.env)
        check(b"monitoring" in monitor.stdout.readline(), "the first line is not flushed into a pipe")
        monitor.stdout.close()
        status = monitor.wait(20 * PATIENCE)
        said = monitor.stderr.read()
        check((status, said) == (-signal.SIGPIPE, b""), f"without a reader it ended with {status}: {said}")


SECRETS = ("secret-of-the-lab-1", "secret-of-target-2", "not-its-secret-12", "another-secret-12")


def no_secret_in_any_line():
    chap = Chap("lab-user", SECRETS[0], "lab-target", SECRETS[1])
    with Lab() as lab:
        lab.configure({"node.session.initial_login_retry_max": 1, "node.conn[0].timeo.login_timeout": 5})
        target = lab.tgtd()
        target.add(TARGET, [Lun(lab.disk("disk", 4 * MIB))], chap)
        lab.iscsid("-d", "8")
        monitors = [Monitor(lab, "text"), Monitor(lab, "json", "-j")]
        lab.discover(target.portal)
        for wrong in (Chap(chap.user, SECRETS[3]), Chap(chap.user, chap.secret, chap.user_in, SECRETS[2])):
            lab.update(TARGET, chap_settings(wrong))
            lab.login(TARGET, ok=24)
        lab.update(TARGET, chap_settings(chap))
        lab.login(TARGET)
        kill(target)
        for monitor in monitors:
            monitor.wait("connection_lost")
        # Back with another secret: refused again and again.
        target.start()
        target.add(TARGET, [Lun(lab.disk("disk", 4 * MIB))], Chap(chap.user, SECRETS[3]))
        for monitor in monitors:
            monitor.wait("recovering")
        lab.logout(TARGET)
        for monitor in monitors:
            monitor.wait("logout")
            in_order(monitor.names(), ["login_failed", "login_failed", "login", "connection_lost", "recovering", "logout"])
        sinks = [monitor.path for monitor in monitors] + [os.path.join(lab.root, "iscsid.log")]
        for path in sinks:
            with open(path, "rb") as file:
                text = file.read()
            check(b"authenti" in text or b"authoriz" in text, f"{path} does not tell that a login was refused")
            for secret in SECRETS:
                for form in (secret.encode(), secret.encode().hex().encode()):
                    check(form not in text, f"a secret is in {path}")
            check(not re.search(rb"CHAP_[RC]=(?!<\d+ bytes, not shown>)|0x[0-9a-fA-F]{32}|0b[A-Za-z0-9+/]{22}", text), f"a response is in {path}")


if __name__ == "__main__":
    main(globals()[sys.argv[1]])
