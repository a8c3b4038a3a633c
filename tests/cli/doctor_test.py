"""iscsiadm doctor: the chain from this machine's name to the mounts, where it breaks, and that it ends there."""

import os
import socket

import harness
from harness import discovered, error, found, lun, session

T1 = "iqn.2001-04.com.example:t1"
SECRET = "secret123456"
INITIATOR = "iqn.1993-08.org.debian:01:doctor"


class Listener:
    """Takes connections on a loopback port, and says nothing."""

    def __init__(self):
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(128)
        self.port = self._socket.getsockname()[1]

    def close(self):
        self._socket.close()


class Doctor(harness.CliTest):
    def setUp(self):
        super().setUp()
        with open(os.path.join(self.config, "initiatorname.iscsi"), "w", encoding="ascii") as file:
            file.write(f"InitiatorName={INITIATOR}\n")
        self.listener = Listener()
        self.portal = f"127.0.0.1:{self.listener.port}"

    def tearDown(self):
        self.listener.close()
        super().tearDown()

    def start_daemon(self):
        daemon = super().start_daemon()
        daemon.answers["info"] = lambda _: {"reply": "info", "version": "0.1", "initiator_name": INITIATOR,
                                            "initiator_alias": "", "pid": 4711}
        daemon.answers["discover"] = lambda _: discovered(found(T1, "127.0.0.1", self.listener.port))
        return daemon

    def new(self, *pairs):
        self.run_adm(f"-m node -T {T1} -p {self.portal},1 -o new")
        for key, value in pairs:
            self.run_adm(f"-m node -T {T1} -o update -n {key} -v {value}")

    def socket_lun(self, number=1):
        path = os.path.join(self.root, f"lun{number}")
        os.close(os.open(path, os.O_CREAT))
        link = os.path.join(self.root, f"by-path-{number}")
        os.symlink(path, link)
        return lun(number, device=path, uri=f"nbd+unix:///?socket={path}", link=link)

    def session(self, **members):
        one = session(1, T1, "127.0.0.1", self.listener.port, luns=[self.socket_lun()])
        one.update(authentication="CHAP", age_s=61, **members)
        return one

    def steps(self, command="doctor", code=0):
        """[(step, state)], checked against the lines of the text; the document's steps are kept."""
        got, out, err = self.run_adm(command + " -j")
        self.assertEqual((got, err), (code, ""), out)
        document = harness.json.loads(out)
        self.assertEqual(document["exit_code"], code)
        self.told = {step["step"]: step for step in document["steps"]}
        got, text, err = self.run_adm(command)
        self.assertEqual((got, err), (code, ""), text)
        self.assertNotIn(SECRET, out + text)
        states = [(step["step"], step["state"]) for step in document["steps"]]
        lines = text.splitlines()
        for step, state in states:
            self.assertTrue(any(line.strip().startswith(step) and (state.upper() if state == "wrong" else state) in line
                                for line in lines), text)
        for step in document["steps"]:
            self.assertEqual(step["state"] == "ok" and step["try"] != "", False, step)
        return states

    def test_all_is_well(self):
        self.start_daemon().sessions = [self.session()]
        self.new()
        self.assertEqual(self.steps(f"doctor -T {T1}"), [
            ("initiator name", "ok"), ("iscsid", "ok"), ("record", "ok"), ("connection", "ok"), ("CHAP", "ok"),
            ("session", "ok"), ("LUNs", "ok"), ("device", "ok"), ("link", "ok"), ("mount", "ok")])
        self.assertEqual(self.told["session"]["what"], "1 is logged in for 1 min, digests: header None, data None")
        # A running session is looked at, and nothing else: no connection, no login.
        self.assertEqual({request["request"] for request in self.daemon.seen}, {"sessions", "info"})
        self.assertEqual(self.steps("-m doctor"), self.steps(f"doctor -T {T1} -p {self.portal}"))

    def test_no_initiator_name(self):
        os.unlink(os.path.join(self.config, "initiatorname.iscsi"))
        self.start_daemon().sessions = [self.session()]
        self.new()
        self.assertEqual(self.steps(code=21)[0], ("initiator name", "wrong"))
        self.assertIn("iscsi-gen-initiatorname", self.told["initiator name"]["try"])

    def test_a_daemon_with_another_name(self):
        self.start_daemon().answers["info"] = lambda _: {"reply": "info", "version": "0.1", "initiator_name": "iqn.2000-01.x:old",
                                                         "initiator_alias": "", "pid": 1}
        self.daemon.sessions = [self.session()]
        self.new()
        self.assertEqual(self.steps(code=7)[1], ("iscsid", "wrong"))
        self.assertIn("iqn.2000-01.x:old", self.told["iscsid"]["what"])

    def test_no_daemon(self):
        self.new()
        self.assertEqual(self.steps(f"doctor -T {T1}", 20), [
            ("initiator name", "ok"), ("iscsid", "wrong"), ("record", "ok"), ("name", "ok"), ("route", "ok"),
            ("connect", "ok"), ("login", "not seen")])
        self.assertIn("systemctl start iscsid", self.told["iscsid"]["try"])

    def test_nothing_there(self):
        self.start_daemon()
        self.assertEqual(self.steps(code=21)[-1], ("record", "wrong"))
        self.assertEqual(self.steps(f"doctor -T {T1} -p {self.portal}", 21)[-1], ("record", "wrong"))
        self.assertIn(f"-m node -T {T1} -p {self.portal} -o new", self.told["record"]["try"])

    def test_a_name_that_nobody_knows(self):
        self.start_daemon()
        self.run_adm(f"-m node -T {T1} -p no-such-host.invalid:3260,1 -o new")
        self.assertEqual(self.steps(f"doctor -T {T1}", 4)[-1], ("name", "wrong"))
        self.assertIn("no-such-host.invalid", self.told["name"]["what"])
        self.assertEqual(self.daemon.requests("discover"), [])

    def test_a_port_where_nobody_listens(self):
        self.start_daemon()
        self.new()
        self.listener.close()
        self.assertEqual(self.steps(f"doctor -T {T1}", 4)[-2:], [("route", "ok"), ("connect", "wrong")])
        self.assertIn("Connection refused", self.told["connect"]["what"])
        self.assertIn("nobody listens", self.told["connect"]["try"])

    def test_an_interface_that_is_not_there(self):
        self.start_daemon()
        self.run_adm("-m iface -I if1 -o new")
        self.run_adm("-m iface -I if1 -o update -n iface.net_ifacename -v nowhere9")
        self.run_adm(f"-m node -T {T1} -p {self.portal},1 -I if1 -o new")
        self.assertEqual(self.steps(f"doctor -T {T1}", 4)[-1], ("route", "wrong"))
        self.assertIn("nowhere9", self.told["route"]["what"])

    def test_without_a_session_a_discovery_is_all_that_is_tried(self):
        self.start_daemon()
        self.new(("node.session.auth.username", "user"), ("node.session.auth.password", SECRET))
        self.assertEqual(self.steps(f"doctor -T {T1}", 2)[-4:], [
            ("connect", "ok"), ("login", "ok"), ("CHAP", "not seen"), ("session", "wrong")])
        self.assertIn(f"-m node -T {T1} -p {self.portal} -I default -l", self.told["session"]["try"])
        self.assertIn("doctor -l", self.told["CHAP"]["try"])
        self.assertEqual(self.daemon.requests("login"), [])
        asked = self.daemon.requests("discover")[0]
        self.assertEqual(asked["discovery"]["values"]["discovery.sendtargets.reopen_max"], "0")
        self.assertNotIn(SECRET, str(asked))

    def test_what_a_discovery_can_show(self):
        self.start_daemon()
        self.new()
        answers = self.daemon.answers
        answers["discover"] = lambda _: discovered(found("iqn.x:another", "127.0.0.1", self.listener.port))
        self.assertEqual(self.steps(f"doctor -T {T1}", 21)[-1], ("login", "wrong"))
        self.assertIn("lists 1 target, and not this one", self.told["login"]["what"])
        answers["discover"] = lambda _: discovered(found(T1, "10.9.9.9"))
        self.steps(f"doctor -T {T1}", 2)
        self.assertIn("at other portals", self.told["login"]["what"])
        answers["discover"] = lambda _: error(24, "refused", cause="chap_refused")
        self.assertEqual(self.steps(f"doctor -T {T1}", 2)[-3:], [
            ("login", "not seen"), ("CHAP", "not seen"), ("session", "wrong")])
        answers["discover"] = lambda _: error(11, "first line\nsecond", cause="login_unanswered")
        self.assertEqual(self.steps(f"doctor -T {T1}", 11)[-1], ("login", "wrong"))
        self.assertEqual(self.told["login"]["what"], "first line")

    def test_a_login_that_was_asked_for_ends_again(self):
        daemon = self.start_daemon()
        self.new(("node.session.initial_login_retry_max", "8"))

        def log_in(request):
            daemon.sessions = [self.session()] if not daemon.sessions else daemon.sessions
            return {"reply": "login", "sid": 1, "luns": [], "note": ""}

        def log_out(_):
            daemon.sessions = []
            for name in ("lun1", "by-path-1"):
                os.unlink(os.path.join(self.root, name))
            return {"reply": "done"}

        daemon.answers.update(login=log_in, logout=log_out)
        self.assertEqual(self.steps(f"doctor -T {T1} -l")[-8:], [
            ("connection", "ok"), ("CHAP", "ok"), ("session", "ok"), ("LUNs", "ok"), ("device", "ok"), ("link", "ok"),
            ("mount", "ok"), ("logout", "ok")])
        self.assertEqual(daemon.sessions, [])
        asked = daemon.requests("login")[0]["node"]["values"]
        self.assertEqual(asked["node.session.initial_login_retry_max"], "1")
        # What has appeared may be in use by now, and iscsid.safe_logout may be No.
        self.assertEqual([request["only_if_unused"] for request in daemon.requests("logout")], [True] * 2)

    def test_a_login_that_is_refused(self):
        self.start_daemon().answers["login"] = lambda _: error(24, "status 0201", cause="chap_refused")
        self.new(("node.session.auth.username", "user"), ("node.session.auth.password", SECRET))
        self.assertEqual(self.steps(f"doctor -T {T1} -l", 24)[-1], ("CHAP", "wrong"))
        self.assertIn("compare node.session.auth.username", self.told["CHAP"]["try"])
        self.assertEqual(self.daemon.requests("logout"), [])

    def test_a_login_that_fails_for_another_reason_than_chap(self):
        self.start_daemon()
        self.new(("node.session.auth.username", "user"), ("node.session.auth.password", SECRET))
        for code, cause, step in (
                (5, "target_unavailable", "login"), (24, "not_authorized", "login"), (19, "target_unknown", "login"),
                (19, "login_refused", "login"), (19, "target_full", "login"), (4, "login_cut", "login"), (5, None, "login"),
                (24, None, "CHAP"), (24, "chap_demanded", "CHAP"), (5, "chap_declined", "CHAP"), (24, "target_not_proved", "CHAP")):
            self.daemon.answers["login"] = lambda _, code=code, cause=cause: error(code, "why it was", cause=cause)
            self.assertEqual(self.steps(f"doctor -T {T1} -l", code)[-1], (step, "wrong"), cause)
            self.assertEqual(self.told[step]["what"], "why it was")

    def test_a_lost_session_says_since_when_and_why(self):
        self.start_daemon().sessions = [self.session(session_state="FAILED", down_s=7200, last_error="Connection refused")]
        self.new()
        self.assertEqual(self.steps(f"doctor -T {T1}", 32)[-2:], [("connect", "ok"), ("session", "wrong")])
        self.assertEqual(self.told["session"]["what"], "1 is lost for 2 h 0 min: Connection refused")
        self.assertIn("I/O waits 120 s", self.told["session"]["try"])
        self.assertEqual(self.daemon.requests("discover"), [])
        self.listener.close()
        self.assertEqual(self.steps(f"doctor -T {T1}", 4)[-1], ("connect", "wrong"))

    def test_a_lost_queue_is_told_and_the_chain_goes_on(self):
        queue = {"number": 1, "session_state": "LOGGED_IN", "recoveries": 0, "failed_recoveries": 0, "down_s": None,
                 "last_error": ""}
        self.start_daemon().sessions = [self.session(queues=[queue])]
        self.new()
        self.assertIn(("queue", "ok"), self.steps(f"doctor -T {T1}"))
        self.assertEqual(self.told["queue"]["what"], "all 2 have a session")
        queue.update(session_state="FAILED", down_s=7200, last_error="Connection \x1b[2Jrefused")
        steps = self.steps(f"doctor -T {T1}", 32)
        self.assertEqual(steps[steps.index(("queue", "wrong")) + 1], ("LUNs", "ok"))
        self.assertTrue(self.told["queue"]["what"].startswith("queue 1 of 2 is lost for 2 h 0 min: Connection "))
        self.assertTrue(self.told["queue"]["what"].isprintable())
        self.assertIn("I/O waits 120 s", self.told["queue"]["try"])

    def test_units_devices_and_links(self):
        daemon = self.start_daemon()
        self.new()
        daemon.sessions = [self.session()]
        unit = daemon.sessions[0]["luns"][0]
        unit["state"] = "offline"
        self.assertEqual(self.steps(code=32)[-1], ("LUN", "wrong"))
        unit["state"] = "running"
        os.unlink(unit["link"])
        self.assertEqual(self.steps(code=21)[-2:], [("device", "ok"), ("link", "wrong")])
        os.symlink("/dev/null", unit["link"])
        self.assertEqual(self.steps(code=28)[-1], ("link", "wrong"))
        unit["link"] = ""
        self.assertEqual(self.steps(code=21)[-1], ("link", "wrong"))
        os.unlink(unit["device"])
        self.assertEqual(self.steps(code=21)[-1], ("device", "wrong"))
        daemon.sessions[0]["luns"] = []
        daemon.sessions[0]["absent"] = [{"number": 0, "why": "LUN 0 is in standby"}]
        self.assertEqual(self.steps(code=21)[-1], ("LUNs", "wrong"))
        self.assertIn("LUN 0 is in standby", self.told["LUNs"]["what"])

    def test_a_block_device_and_where_it_is_mounted(self):
        """With a disk of this machine, which is only looked at."""
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            mounts = [line.split() for line in file]
        disks = [(words[2], words[4], words[words.index("-") + 1]) for words in mounts
                 if os.path.exists(f"/sys/dev/block/{words[2]}/size")]
        if not disks:
            self.skipTest("no file system of this machine is on a block device")
        number, place, kind = disks[0]
        device = f"/dev/{os.path.basename(os.path.realpath(f'/sys/dev/block/{number}'))}"
        with open(f"/sys/dev/block/{number}/size", encoding="ascii") as file:
            size = int(file.read()) * 512
        link = os.path.join(self.root, "by-path")
        os.symlink(device, link)
        unit = {**lun(1, device=device, link=link), "size_bytes": size}
        self.start_daemon().sessions = [{**self.session(), "luns": [unit]}]
        self.new()
        self.assertEqual(self.steps(f"doctor -T {T1}")[-3:], [("device", "ok"), ("link", "ok"), ("mount", "ok")])
        self.assertIn(f"{place} ({kind}", self.told["mount"]["what"])
        unit["size_bytes"] = size + 512
        self.assertEqual(self.steps(f"doctor -T {T1}", 29)[-1], ("device", "wrong"))
        unit.update(size_bytes=size, link="/dev/null")
        self.assertEqual(self.steps(f"doctor -T {T1}", 28)[-1], ("link", "wrong"))
        unit.update(device="/dev/null")
        self.assertEqual(self.steps(f"doctor -T {T1}", 21)[-1], ("device", "wrong"))

    def test_asked_of_nothing_it_leaves_out_what_is_not_to_be_there(self):
        self.start_daemon()
        self.new()
        self.assertEqual(self.steps(), [("initiator name", "ok"), ("iscsid", "ok"), ("record", "ok")])
        self.assertIn("1 not looked at", self.told["record"]["what"])
        self.run_adm(f"-m node -T {T1} -o update -n node.startup -v automatic")
        self.assertEqual(self.steps(code=2)[-1], ("session", "wrong"))

    def test_a_daemon_that_stands_in_the_middle_of_a_line(self):
        self.start_daemon().raw = b'{"v":1,"id":1,"reply":'
        self.new()
        self.assertEqual(self.steps(f"doctor -T {T1}", 18)[1], ("iscsid", "wrong"))

    def test_a_daemon_that_does_not_answer(self):
        self.start_daemon().silent = lambda request: request["request"] == "sessions"
        self.new()
        self.assertEqual(self.steps(f"doctor -T {T1}", 33)[1:], [
            ("iscsid", "wrong"), ("record", "ok"), ("name", "ok"), ("route", "ok"), ("connect", "ok"), ("login", "not seen")])
        self.assertEqual(self.told["iscsid"]["what"], "iscsid has not answered for 5 s")
        self.assertIn("systemctl restart iscsid", self.told["iscsid"]["try"])

    def test_what_a_target_says_cannot_write_to_the_terminal(self):
        self.start_daemon().sessions = [self.session(session_state="FAILED", down_s=1, last_error="\x1b[2Jboo\nfake ok")]
        self.new()
        _, out, _ = self.run_adm(f"doctor -T {T1}")
        self.assertTrue(all(line.isprintable() for line in out.splitlines()), out)
        self.assertNotIn("\nfake", out)

    def test_other_options(self):
        self.expect("doctor -o new", err="doctor mode: option '-o' is not allowed/supported", code=7)
        self.expect("-m doctor -u", err="doctor mode: option '-u' is not allowed/supported", code=7)
        self.expect("doctor -p 127.0.0.1:99999", code=7, err=self.run_adm("-m node -p 127.0.0.1:99999")[2].strip().removeprefix("iscsiadm: "))

    def test_somebody_else_than_root(self):
        if os.geteuid() != 0:
            self.skipTest("only root can be somebody else")
        daemon = self.start_daemon()
        daemon.answers["info"] = lambda _: error(13)
        daemon.sessions = [self.session()]
        self.new()
        for path in (self.root, os.path.dirname(daemon.path)):
            os.chmod(path, 0o711)
        os.chmod(daemon.path, 0o666)
        os.chmod(self.config, 0o700)
        done = harness.subprocess.run([harness.ISCSIADM, "doctor", "-j"], env=dict(os.environ, ISCSI_ROOT=self.root, LC_ALL="C"),
                                      capture_output=True, timeout=60, check=False, user=65534, group=65534, extra_groups=[])
        if done.returncode == 126 or b"Permission denied" in done.stderr:
            self.skipTest("the build directory is not readable for other users")
        states = {step["step"]: step["state"] for step in harness.json.loads(done.stdout)["steps"]}
        self.assertEqual((states["initiator name"], states["record"], states["iscsid"]), ("not seen", "not seen", "ok"))
        self.assertEqual((states["session"], done.returncode), ("ok", 0))


if __name__ == "__main__":
    harness.main()
