"""What is said after a failure: open-iscsi's lines as they are, then, last of all, what to try."""

import harness
from harness import error

T1 = "iqn.2001-04.com.example:t1"
SECRET = "secret123456"

# What iscsid says it was -> what the advice has to name.
OF_LOGINS = {
    "name_not_found": "getent hosts 10.0.0.1",
    "name_service_silent": "/etc/resolv.conf",
    "connection_refused": "nobody listens at 10.0.0.1:3260",
    "no_route": "ip route get 10.0.0.1",
    "no_answer": "ping 10.0.0.1",
    "binding_failed": "iscsiadm -m iface",
    "login_unanswered": "node.conn[0].timeo.login_timeout",
    "login_cut": "hangs up during the login",
    "not_authorized": "access list",
    "target_unknown": "-m discovery -t st -p 10.0.0.1:3260 -o nonpersistent",
    "target_removed": "-o delete",
    "target_unavailable": "its log says more",
    "target_full": "no room for another session",
    "login_refused": "the target's log says more",
    "chap_demanded": "node.session.auth.username and node.session.auth.password",
    "chap_declined": "take node.session.auth.username and node.session.auth.password out",
    "chap_algorithms": "node.session.auth.chap_algs",
    "target_not_proved": "node.session.auth.username_in and node.session.auth.password_in",
    "portal_group": "discover it again",
    "digest_declined": "node.conn[0].iscsi.HeaderDigest",
    "key_unusable": "RFC 7143 section 13",
}


class Advice(harness.CliTest):
    def setUp(self):
        super().setUp()
        self.start_daemon()

    def new(self, portal="10.0.0.1", target=T1):
        self.run_adm(f"-m node -T {target} -p {portal}:3260,1 -o new")

    def fails(self, cause, command="-m node -l", code=8, errc=None, kind="login"):
        self.daemon.answers[kind] = lambda _: error(code, "why it was", errc, cause)
        got, _, err = self.run_adm(command)
        self.assertEqual(got, code)
        self.assertNotIn(SECRET, err)
        return [line.removeprefix("iscsiadm: ") for line in err.splitlines()]

    def test_each_cause_of_a_failed_login_has_its_line_behind_all_others(self):
        self.new()
        for cause, words in OF_LOGINS.items():
            lines = self.fails(cause)
            self.assertEqual(lines[:-1], [
                "why it was", f"Could not login to [iface: default, target: {T1}, portal: 10.0.0.1,3260].",
                "initiator reported error (8 - connection timed out)", "Could not log into all portals"])
            self.assertTrue(lines[-1].startswith("Try: "), lines)
            self.assertIn(words, lines[-1])

    def test_a_refused_secret_is_told_from_one_that_is_missing(self):
        self.new()
        self.assertIn("the record has no secret: set node.session.auth.username and node.session.auth.password",
                      self.fails("chap_refused", code=24)[-1])
        self.run_adm(f"-m node -o update -n node.session.auth.username -v user -n node.session.auth.password -v {SECRET}")
        self.assertIn("did not take our CHAP name or secret: compare node.session.auth.username and",
                      self.fails("chap_refused", code=24)[-1])

    def test_what_is_not_known_is_not_guessed_at(self):
        self.new()
        for cause in (None, "none", "sunspots"):
            self.assertEqual(len(self.fails(cause)), 4)

    def test_what_needs_no_cause(self):
        self.new()
        self.assertIn("is it the right port?", self.fails(None, code=5, errc=100)[-1])
        self.assertIn("only root", self.fails(None, code=13)[-1])

    def test_many_failures_of_one_kind_have_one_line_each_place_once(self):
        for number in range(1, 13):
            self.new(f"10.0.0.{number}")
        lines = self.fails("chap_demanded", code=24)
        self.assertEqual(len([line for line in lines if line.startswith("Try: ")]), 1)
        lines = self.fails("connection_refused")
        tries = [line for line in lines if line.startswith("Try: ")]
        self.assertEqual(len(tries), 9)
        self.assertEqual(lines[-9:], tries)
        self.assertIn("4 more", tries[-1])

    def test_discoveries_name_their_own_keys(self):
        lines = self.fails("chap_refused", "-m discovery -t st -p 10.0.0.1", 24, kind="discover")
        self.assertEqual(lines[:-1], ["why it was", "Could not perform SendTargets discovery: iSCSI login failed due to "
                                      "authorization failure"])
        self.assertIn("set discovery.sendtargets.auth.username and discovery.sendtargets.auth.password", lines[-1])
        lines = self.fails("connection_refused", "-m discovery -t isns -p 10.0.0.1", 4, kind="discover")
        self.assertIn("nobody listens at 10.0.0.1:3205: does the iSNS server run there", lines[-1])

    def test_the_document_says_it_too(self):
        self.new()
        self.daemon.answers["login"] = lambda _: error(8, "why it was", cause="connection_refused")
        _, out, err = self.run_adm("-m node -l -j")
        failed = harness.json.loads(out)["actions"][0]
        self.assertEqual((err, failed["cause"]), ("", "connection_refused"))
        self.assertIn("nobody listens at 10.0.0.1:3260", failed["try"])

    def test_a_success_says_nothing(self):
        self.new()
        code, _, err = self.run_adm("-m node -l")
        self.assertEqual((code, err), (0, ""))


class NoDaemon(harness.CliTest):
    def test_a_daemon_is_to_be_started(self):
        self.run_adm(f"-m node -T {T1} -p 10.0.0.1:3260,1 -o new")
        self.expect("monitor", code=20, err="can not connect to iSCSI daemon (111)!\ncould not connect to iscsid\n"
                                            f"Try: {harness.NO_DAEMON}")
        for command in ("-m node -l", "-m discovery -t st -p 10.0.0.1", "-m discovery -t isns -p 10.0.0.1"):
            code, _, err = self.run_adm(command)
            self.assertEqual((code, err.splitlines()[-1]), (20, f"iscsiadm: Try: {harness.NO_DAEMON}"), command)
        for command in ("monitor -j", "-m node -l -j", "-m discovery -t st -p 10.0.0.1 -j"):
            code, out, err = self.run_adm(command)
            self.assertEqual((code, err, harness.json.loads(out)["messages"][-1]), (20, "", f"Try: {harness.NO_DAEMON}"))


if __name__ == "__main__":
    harness.main()
