"""The command line itself: which options a mode takes, and what is said of a wrong one."""

import json

import harness
from harness import error, session

HELP = "Try `iscsiadm --help' for more information.\n"


class Options(harness.CliTest):
    def expect_raw(self, command, out, err, code):
        self.assertEqual(self.run_adm(command), (code, out, err), command)

    def test_no_mode_points_to_the_help(self):
        self.expect_raw("", "", HELP, 7)

    def test_help_and_version_end_at_once_and_well(self):
        code, out, err = self.run_adm("-h")
        self.assertEqual((code, err), (0, ""))
        self.assertIn("-m discoverydb", out)
        self.assertEqual(self.run_adm("-h -m node"), (0, out, ""))
        self.expect("--version", "iscsiadm version 2.1.8\n")
        self.expect("-V", "iscsiadm version 2.1.8\n")

    def test_our_own_modes_have_help_and_version(self):
        help_text = self.run_adm("-h")[1]
        for mode in ("doctor", "top", "monitor"):
            for words in (f"{mode} --help", f"{mode} -h", f"-m {mode} -h", f"-h -m {mode}", f"{mode} -T t1 -h", f"{mode} -j -h"):
                self.expect(words, help_text)
            for words in (f"{mode} --version", f"{mode} -V", f"-m {mode} -V"):
                self.expect(words, "iscsiadm version 2.1.8\n")

    def test_a_mode_refuses_the_options_of_others(self):
        self.expect("-m node -h", err="node mode: option '-h' is not allowed/supported", code=7)
        self.expect("-m node -r 1", err="node mode: option '-r' is not allowed/supported", code=7)
        self.expect("-r 1 -m node", err="node mode: option '-r' is not allowed/supported", code=7)
        self.expect("-m session -T x", err="session mode: option '-T' is not allowed/supported", code=7)
        self.expect("-m discovery -W", err="discovery mode: option '-W' is not allowed/supported", code=7)
        self.expect("-m discoverydb -u", err="discovery mode: option '-u' is not allowed/supported", code=7)
        self.expect("-m iface -l", err="iface mode: option '-l' is not allowed/supported", code=7)
        self.expect("-m host -R", err="host mode: option '-R' is not allowed/supported", code=7)
        self.expect("-m fw -p 10.0.0.1", err="fw mode: option '-p' is not allowed/supported", code=7)

    def test_a_session_number_is_read_before_anything_else_is_asked(self):
        wrong = "foo is an invalid session ID or path"
        for words in ("-r foo", "-r foo -m session", "-r foo -m node", "-r foo -m none", "-r foo -o bogus", "-r foo -k 0"):
            self.expect(words, err=wrong, code=1)
        self.expect("-r 0", err="0 is an invalid session ID or path", code=1)
        self.expect("-m none -r foo", err="mode -1 is not yet supported", code=7)
        self.expect_raw("-r 1", "", HELP, 7)

    def test_an_unknown_option_is_named(self):
        self.expect("-m node -Z", err="invalid option -- 'Z'\nnode mode: option '-?' is not allowed/supported", code=7)
        self.expect("-m node --info",
                    err="unrecognized option '--info'\nnode mode: option '-?' is not allowed/supported", code=7)

    def test_an_unknown_mode_or_operation_is_refused(self):
        self.expect("-m foo", err="mode -1 is not yet supported", code=7)
        self.expect("-m node -o bogus", err="can not recognize operation: 'bogus'", code=7)
        self.expect("-m discovery -t slp -p 1.2.3.4", err="SLP discovery is not fully implemented yet.", code=7)

    def test_long_options_may_be_abbreviated_and_words_are_ignored(self):
        self.expect("--mode node --target iqn.2001-04.com.example:t1 --op=show", err="No records found", code=21)
        self.expect("-m session show", err="No active sessions.", code=21)

    def test_our_own_modes_refuse_a_word_that_belongs_to_no_option(self):
        for mode in ("doctor", "top", "monitor"):
            for words in (f"{mode} foo", f"-m {mode} foo", f"foo -m {mode}", f"{mode} foo bar", f"{mode} -T t1 foo -I x"):
                self.expect(words, err=f"{mode} mode: 'foo' belongs to no option: did you mean '-T foo'?", code=7)
            self.expect(f"{mode} 10.0.0.1:3260", code=7,
                        err=f"{mode} mode: '10.0.0.1:3260' belongs to no option: did you mean '-p 10.0.0.1:3260'?")
            code, out, err = self.run_adm(f"{mode} foo -j")
            self.assertEqual((code, json.loads(out)["exit_code"], err), (7, 7, ""))
        self.expect(["doctor", "\x1b[2J"], code=7,
                    err="doctor mode: '\\x1b[2J' belongs to no option: did you mean '-T \\x1b[2J'?")

    def test_a_portal_that_is_none_is_refused_in_one_line(self):
        for portal in ("10.0.0.1:0", "10.0.0.1:99999", "10.0.0.1:http", "[::1", "10.0.0.1:3260,x", "a b"):
            code, out, err = self.run_adm(["-m", "node", "-p", portal, "-l"])
            self.assertEqual((code, out, err.count("\n")), (7, "", 1), portal)
            self.assertTrue(err.startswith("iscsiadm: "), err)

    def test_stopping_a_daemon_that_is_not_there_ends_with_zero(self):
        for priority in ("5", "x", "00", ""):
            self.expect(["-k", priority], err=f"Invalid iscsid priority {priority}. Priority must be 0.", code=7)
        self.expect("-k 0", err="can not connect to iSCSI daemon (111)!\n"
                                "initiator reported error (20 - could not connect to iscsid)\n"
                                "Could not stop iscsid. Trying sending iscsid SIGTERM or SIGKILL signals manually")

    def test_a_daemon_that_cannot_be_stopped_is_a_failure(self):
        self.start_daemon().answers["stop"] = lambda _: error(9)
        self.expect("-k 0", code=9, err="initiator reported error (9 - internal error)\n"
                                        "Could not stop iscsid. Trying sending iscsid SIGTERM or SIGKILL signals manually")

    def test_stopping_the_daemon_asks_it(self):
        daemon = self.start_daemon()
        self.expect("-k 0")
        self.assertEqual([request["request"] for request in daemon.seen], ["stop"])

    def test_what_is_not_there_says_so(self):
        self.expect("-m fw", err="Could not get list of targets from firmware. (err 22)", code=22)
        self.expect("-m host", err="No iSCSI hosts.", code=21)
        self.expect("-m host -H 2 -C chap", err="CHAP mode requires host no and valid operation", code=7)
        self.expect("-m host -C chap -o show", code=12, err="Could not read proc_name for host0 rc 5.\n"
                                                            "Could not match hostno 0 to transport.")
        for submode in ("flashnode", "stats", "chap -o show"):
            self.expect(f"-m host -H 2 -C {submode}", code=12, err="Could not read proc_name for host2 rc 5.\n"
                                                                   "Could not match hostno 2 to transport.")
        self.start_daemon().sessions = [session(1, "iqn.2001-04.com.example:t1", "10.0.0.1")]
        self.expect("-m host -H 2 -C flashnode", err="No flashnodes attached to host 2.", code=21)
        self.expect("-m host -H 2 -C stats", err="stats: operation not supported", code=27)
        self.expect("-m iface -o applyall -H 2", "Applied settings to ifaces attached to host2.\n",
                    err="Nothing to configure.")
        self.expect("-m iface -o applyall -H 7", err="Could not read proc_name for host7 rc 5.", code=23)


if __name__ == "__main__":
    harness.main()
