"""Node mode: records of the database, logging in and out with them. The expected text is open-iscsi's."""

import os
import unittest.mock

import dumps
import harness
from harness import error, lun, session

T1 = "iqn.2001-04.com.example:t1"
T2 = "iqn.2001-04.com.example:t2"


def added(target, portal, iface="default"):
    return f"New iSCSI node [tcp:[hw=,ip=,net_if=,iscsi_if={iface}] {portal} {target}] added\n"


def title(target, address="10.0.0.1", port=3260, iface="default"):
    return f"[iface: {iface}, target: {target}, portal: {address},{port}]"


def attached(*lines):
    return "".join(f"\t{line}\n" for line in lines)


DISK = attached("Attached [lun: 1, device: /dev/ublkb0]")


class Records(harness.CliTest):
    def new(self, target, portal, *more):
        code, out, err = self.run_adm(["-m", "node", "-T", target, "-p", portal, "-o", "new", *more])
        self.assertEqual((code, err), (0, ""))
        return out

    def test_a_database_elsewhere(self):
        """iscsid.db_dir names it, and ISCSI_DB_DIR has the last word."""
        def configure(place):
            with open(os.path.join(self.config, "iscsid.conf"), "w", encoding="ascii") as conf:
                conf.write(f"iscsid.db_dir = {place}\n")

        configure("/var/lib/iscsi")
        self.new(T1, "10.0.0.1")
        self.assertEqual(os.listdir(os.path.join(self.root, "var/lib/iscsi/nodes")), [T1])
        self.assertEqual(os.listdir(self.config), ["iscsid.conf"])
        self.expect("-m node", f"10.0.0.1:3260,4294967295 {T1}\n")
        with unittest.mock.patch.dict(os.environ, ISCSI_DB_DIR="/other"):
            self.expect("-m node", err="No records found", code=21)
        configure("lib/iscsi")
        self.expect("-m node", err=f"{self.config}/iscsid.conf: iscsid.db_dir = lib/iscsi is not an absolute path", code=6)

    def test_an_empty_database(self):
        for command in ("", "-P 1", "-o show", "-T x", "-o update -n node.startup -v manual", "-o delete", "-L all",
                        "-L automatic", "-l"):
            self.expect(f"-m node {command}", err="No records found", code=21)
        self.expect("-m node -u", err="No matching sessions found", code=21)
        self.expect("-m node -U all", err="No matching sessions found", code=21)
        self.expect(f"-m node -T {T1} -R", err="No session found.", code=21)
        self.expect(f"-m node -T {T1} -s", err="No session found.", code=21)
        self.expect("-m node -P 2", err="Invalid info level 2. Try 0 or 1.", code=7)

    def test_new_list_and_tree(self):
        self.assertEqual(self.new(T1, "10.0.0.1"), added(T1, "10.0.0.1,3260,-1"))
        self.assertEqual(self.new(T2, "[fe80::1]:3261,2"), added(T2, "fe80::1,3261,2"))
        self.assertEqual(self.new(T2, "10.0.0.9:3333,7"), added(T2, "10.0.0.9,3333,7"))
        self.expect("-m node", f"10.0.0.1:3260,4294967295 {T1}\n10.0.0.9:3333,7 {T2}\n[fe80::1]:3261,2 {T2}\n")
        self.expect("-m node -P 1",
                    f"Target: {T1}\n\tPortal: 10.0.0.1:3260,-1\n\t\tIface Name: default\n"
                    f"Target: {T2}\n\tPortal: 10.0.0.9:3333,7\n\t\tIface Name: default\n"
                    "\tPortal: [fe80::1]:3261,2\n\t\tIface Name: default\n")
        self.assertTrue(os.path.isfile(os.path.join(self.config, f"nodes/{T1}/10.0.0.1,3260")))
        mode = os.stat(os.path.join(self.config, f"nodes/{T2}/10.0.0.9,3333,7/default")).st_mode
        self.assertEqual(mode & 0o7777, 0o600)

    def test_new_without_a_portal_goes_where_the_target_is_known(self):
        self.new(T1, "10.0.0.1,1")
        self.new(T1, "10.0.0.2,2")
        self.expect(f"-m node -T {T1} -o new", added(T1, "10.0.0.1,3260,1") + added(T1, "10.0.0.2,3260,2"))
        self.expect("-m node -p 10.0.0.2 -o new", added(T1, "10.0.0.2,3260,2"))
        self.expect(f"-m node -T {T2} -o new",
                    err="Error while adding record: no such target or portal is known", code=21)

    def test_the_whole_record(self):
        self.new(T1, "10.0.0.1,1")
        self.expect(f"-m node -T {T1} -p 10.0.0.1", dumps.node(T1))
        self.expect(f"-m node -T {T1} -P 1", dumps.node(T1))
        self.expect("-m node -o show", dumps.node(T1))
        self.expect(f"-m node -p 10.0.0.1:3260,9 -T {T1}", dumps.node(T1))
        self.expect(f"-m node -p 10.0.0.1:3261 -T {T1}", err="No records found", code=21)
        self.expect("-m node -I if1", err="Could not read iface info for if1.", code=3)
        self.expect("-m node -I iser", err="No records found", code=21)

    def test_update_changes_several_keys_at_once_and_masks_secrets(self):
        self.new(T1, "10.0.0.1,1")
        self.expect(f"-m node -T {T1} -o update -n node.session.auth.password -v s3cret "
                    "-n node.session.auth.username -v bob --name node.session.auth.authmethod --value=CHAP")
        changes = {"authmethod": "CHAP", "username": "bob"}
        self.expect(f"-m node -T {T1}", dumps.node(T1, password="********", **changes))
        self.expect(f"-m node -T {T1} -S", dumps.node(T1, password="s3cret", **changes))
        self.expect(["-m", "node", "-T", T1, "-o", "update", "-n", "node.session.auth.password", "-v", ""])
        self.expect(f"-m node -T {T1} -S", dumps.node(T1, **changes))

    def test_an_update_that_is_refused_changes_nothing(self):
        self.new(T1, "10.0.0.1,1")
        self.new(T1, "10.0.0.2,1")
        before = self.tree()
        update = f"-m node -T {T1} -o update"
        last = "Could not execute operation on all records: invalid parameter"
        self.expect(update, err="update requires name and value", code=7)
        self.expect(f"{update} -n node.startup", err="update requires name and value", code=7)
        line = "Cannot modify node.name. It is used to look up the record and cannot be changed."
        self.expect(f"{update} -n node.name -v x", err=f"{line}\n{line}\n{last}", code=7)
        line = "Cannot modify node.bogus. Invalid param name."
        self.expect(f"{update} -n node.startup -v automatic -n node.bogus -v x", err=f"{line}\n{line}\n{last}", code=7)
        self.expect(f"{update} -n iface.net_ifacename -v eth0",
                    err="Cannot modify iface.net_ifacename. Use iface mode to update this value.", code=7)
        code, out, err = self.run_adm(f"{update} -n node.startup -v bogus")
        self.assertEqual((code, out), (7, ""))
        self.assertIn("unknown value format 'bogus' for parameter name 'node.startup'", err)
        self.expect(f"-m node -T {T1} -o nonpersistent", err="operation is not supported.", code=7)
        self.assertEqual(self.tree(), before)

    def test_delete(self):
        self.new(T1, "10.0.0.1,1")
        self.new(T2, "10.0.0.1:3333,7")
        self.expect("-m node -p 10.0.0.1:3333,8 -o delete")
        self.expect("-m node", f"10.0.0.1:3260,1 {T1}\n")
        self.expect("-m node -o delete")
        self.expect("-m node", err="No records found", code=21)

    def test_a_record_in_use_is_not_deleted(self):
        self.new(T1, "10.0.0.1,1")
        self.start_daemon().sessions = [session(1, T1, "10.0.0.1")]
        self.expect(f"-m node -T {T1} -o delete",
                    err=f"This command will remove the record {title(T1)}, but a session is using it. Logout session "
                        "then rerun command to remove record.\n"
                        "Could not execute operation on all records: session exists", code=15)
        self.expect("-m session -r 1", dumps.node(T1))

    def test_a_target_may_be_called_as_it_likes(self):
        for target in ("target1", "iqn.com.example", "iqn.2001-4.com.x:y", "a+b", "x" * 223):
            self.assertEqual(self.new(target, "10.0.0.1,1"), added(target, "10.0.0.1,3260,1"))
            self.assertIn(f"node.name = {target}\n", self.run_adm(["-m", "node", "-T", target])[1])
            self.expect(["-m", "node", "-T", target, "-o", "delete"])

    def test_new_finds_what_is_known_under_a_group_tag_and_leaves_it_as_it_is(self):
        self.new(T1, "10.0.0.1,1")
        self.run_adm("-m node -o update -n node.session.scan -v manual -n node.session.auth.password -v secret123456")
        before = self.tree()
        self.assertEqual(self.new(T1, "10.0.0.1"), added(T1, "10.0.0.1,3260,-1"))
        self.assertEqual(self.tree(), before)
        # Another interface gets its record there, and who names the tag asks for a new one.
        self.new(T1, "10.0.0.1", "-I", "iser")
        self.assertIn(f"nodes/{T1}/10.0.0.1,3260,1/iser", self.tree())
        self.new(T1, "10.0.0.1,1")
        self.assertIn("node.session.scan = auto\n", self.file(f"nodes/{T1}/10.0.0.1,3260,1/default"))

    def test_new_comes_before_everything_else(self):
        self.start_daemon().sessions = [session(1, T1, "10.0.0.1")]
        for option in ("-l", "-u", "-R", "-s"):
            self.assertEqual(self.new(T1, "10.0.0.1,1", option), added(T1, "10.0.0.1,3260,1"))
        self.assertEqual({request["request"] for request in self.daemon.seen} - {"sessions"}, set())

    def test_what_cannot_be_used_is_noted_for_those_who_ask(self):
        self.new(T1, "10.0.0.1,1")
        self.run_adm("-m iface -I if1 -o new")
        for path, line in ((f"nodes/{T1}/10.0.0.1,3260,1/default", "node.session.cmds_max = 4096"),
                           ("ifaces/if1", "iface.mtu = -1"), ("iscsid.conf", "node.session.queue_depth = 5000")):
            with open(os.path.join(self.config, path), encoding="ascii") as stream:
                text = stream.read()
            end = "# END RECORD\n" if text.endswith("# END RECORD\n") else ""
            with open(os.path.join(self.config, path), "w", encoding="ascii") as stream:
                stream.write(text.removesuffix(end) + line + "\n" + end)
        for command, key in (("-m node", "cmds_max"), ("-m iface -I if1", "mtu"),
                             (f"-m node -T {T1} -p 10.0.0.3 -o new", "queue_depth")):
            self.assertEqual(self.run_adm(command)[2], "", command)
            code, _, err = self.run_adm(f"{command} -d 1")
            self.assertEqual((code, err.count("\n")), (0, 1), err)
            self.assertIn(key, err)
            self.assertIn(key, self.run_adm(f"{command} -j")[1])

    def test_names_that_are_none_are_refused_in_one_line_and_change_nothing(self):
        before = self.tree()
        for target in ("../../x", "..", ".", ".x", "iqn.2001-04.com.example:a/b", "", "iqn.2001-04.com.example:a\nb", "a b", "a=b",
                       "a,b", "$(a)", "a;b", "x" * 224):
            code, out, err = self.run_adm(["-m", "node", "-T", target, "-p", "10.0.0.1", "-o", "new"])
            self.assertEqual((code, out, err.count("\n")), (7, "", 1), (target, err))
        code, out, err = self.run_adm(["-m", "node", "-T", T1, "-p", "10.0.0.1:x", "-o", "new"])
        self.assertEqual((code, out, err.count("\n")), (7, "", 1), err)
        self.assertEqual(self.tree(), before)

    def test_a_database_that_cannot_be_written_is_6_in_one_line(self):
        with open(os.path.join(self.config, "nodes"), "w", encoding="ascii"):
            pass
        before = self.tree()
        code, out, err = self.run_adm(f"-m node -T {T1} -p 10.0.0.1,1 -o new")
        self.assertEqual((code, out, err.count("\n")), (6, "", 1), err)
        self.assertEqual(self.tree(), before)


class Login(harness.CliTest):
    def setUp(self):
        super().setUp()
        for target, portal in ((T1, "10.0.0.1,1"), (T2, "10.0.0.1,1")):
            self.run_adm(["-m", "node", "-T", target, "-p", portal, "-o", "new"])
        self.start_daemon()

    def test_login_sends_the_whole_record_and_names_what_was_attached(self):
        self.run_adm(f"-m node -T {T1} -o update -n node.session.auth.password -v s3cret")
        self.expect(f"-m node -T {T1} -p 10.0.0.1 -l",
                    f"Logging in to {title(T1)}\nLogin to {title(T1)} successful.\n{DISK}")
        (request,) = self.daemon.requests("login")
        self.assertEqual(request["node"]["kind"], "node")
        self.assertEqual(request["node"]["values"]["node.name"], T1)
        self.assertEqual(request["node"]["values"]["node.session.auth.password"], "s3cret")
        self.assertEqual(request["multiple"], False)

    def test_all_logins_are_asked_before_one_is_waited_for(self):
        self.daemon.reverse = True
        self.expect("-m node -l",
                    f"Logging in to {title(T1)}\nLogging in to {title(T2)}\n"
                    f"Login to {title(T1)} successful.\n{DISK}Login to {title(T2)} successful.\n{DISK}")

    def test_every_kind_of_attachment_has_its_line(self):
        self.daemon.answers["login"] = lambda _: {"reply": "login", "sid": 1, "note": "", "luns": [
            lun(1, "/run/x.sock", "nbd+unix:///?socket=/run/x.sock", link="/run/iscsid/by-path/a"),
            lun(2, state="medium not present"), lun(3, "/dev/ublkb0")]}
        self.expect(f"-m node -T {T1} -l",
                    f"Logging in to {title(T1)}\nLogin to {title(T1)} successful.\n" + attached(
                        "Attached [lun: 1, export: nbd+unix:///?socket=/run/x.sock, link: /run/iscsid/by-path/a]",
                        "Not attached [lun: 2]: medium not present", "Attached [lun: 3, device: /dev/ublkb0]"))

    def test_a_login_without_a_usable_unit_says_so(self):
        self.daemon.answers["login"] = lambda _: {"reply": "login", "sid": 1, "luns": [], "note": "no LUN is mapped"}
        success = f"Logging in to {title(T1)}\nLogin to {title(T1)} successful.\n"
        self.expect(f"-m node -T {T1} -l",
                    success + attached("No usable logical unit is attached.", "Note: no LUN is mapped"))
        self.daemon.answers["login"] = lambda _: {"reply": "login", "sid": 1, "luns": [], "note": ""}
        self.run_adm(f"-m node -T {T1} -o update -n node.session.scan -v manual")
        self.expect(f"-m node -T {T1} -l", success + attached(
            "No usable logical unit is attached.",
            "Note: node.session.scan is manual: rescan the session to attach its logical units."))

    def test_a_login_that_fails_gives_its_number(self):
        for code, text in (
                (2, "session not found"), (4, "encountered connection failure"), (5, "encountered iSCSI login failure"),
                (8, "connection timed out"), (9, "internal error"), (11, "iSCSI PDU timed out"),
                (12, "iSCSI driver not found. Please make sure it is loaded, and retry the operation"),
                (15, "session exists"), (18, "could not communicate to iscsid"),
                (19, "encountered non-retryable iSCSI login failure"),
                (24, "iSCSI login failed due to authorization failure")):
            self.daemon.answers["login"] = lambda _, code=code: error(code)
            self.expect(f"-m node -T {T2} -p 10.0.0.1 -l", f"Logging in to {title(T2)}\n",
                        f"Could not login to {title(T2)}.\ninitiator reported error ({code} - {text})\n"
                        "Could not log into all portals", code)

    def test_the_first_failure_is_the_exit_code_and_the_others_go_on(self):
        self.daemon.answers["login"] = lambda request: (
            error(24, "login rejected: 02/01") if request["node"]["values"]["node.name"] == T1
            else {"reply": "login", "sid": 2, "luns": [lun(1, "/dev/ublkb0")], "note": ""})
        self.expect("-m node -l",
                    f"Logging in to {title(T1)}\nLogging in to {title(T2)}\nLogin to {title(T2)} successful.\n{DISK}",
                    f"login rejected: 02/01\nCould not login to {title(T1)}.\n"
                    "initiator reported error (24 - iSCSI login failed due to authorization failure)\n"
                    "Could not log into all portals", 24)

    def test_no_wait_sends_and_goes(self):
        self.expect(f"-m node -T {T1} -l -W", f"Logging in to {title(T1)}\n")

    def test_sessions_that_are_there_are_counted(self):
        self.daemon.sessions = [session(1, T1, "10.0.0.1")]
        present = "default: 1 session requested, but 1 already present.\nCould not log into all portals"
        self.expect(f"-m node -T {T1} -p 10.0.0.1 -l", err=present, code=15)
        self.run_adm(f"-m node -T {T1} -o update -n node.session.nr_sessions -v 2")
        self.expect(f"-m node -T {T1} -p 10.0.0.1 -l",
                    f"Logging in to {title(T1)} (multiple)\nLogin to {title(T1)} successful.\n{DISK}")
        self.assertEqual(self.daemon.requests("login")[-1]["multiple"], True)
        self.daemon.sessions = []
        _, out, _ = self.run_adm(f"-m node -T {T1} -p 10.0.0.1 -l")
        self.assertEqual(out.count("Logging in"), 2)

    def test_one_more_session(self):
        self.daemon.sessions = [session(1, T1, "10.0.0.1")]
        self.expect("-m session -r 1 -o new",
                    f"Logging in to {title(T1)} (multiple)\nLogin to {title(T1)} successful.\n{DISK}")

    def test_login_of_all_by_startup(self):
        self.expect("-m node -L automatic", err="No records found", code=21)
        self.run_adm(f"-m node -T {T2} -o update -n node.startup -v automatic")
        self.expect("-m node --loginall=automatic",
                    f"Logging in to {title(T2)}\nLogin to {title(T2)} successful.\n{DISK}")
        self.expect("-m node -L onboot", err="No records found", code=21)
        _, out, _ = self.run_adm("-m node -L all")
        self.assertEqual(out.count("successful"), 2)

    def test_a_word_that_is_no_startup_is_refused(self):
        for option, name in (("-L", "loginall"), ("-U", "logoutall")):
            self.assertEqual(self.run_adm(f"-m node {option} bogus"),
                             (7, "", f"iscsiadm: Invalid {name} option bogus.\n"
                                     "Try `iscsiadm --help' for more information.\n"))
        code, _, err = self.run_adm("-m node -U onboot")
        self.assertEqual((code, err.splitlines()[0]), (7, "iscsiadm: Invalid logoutall option onboot."))

    def test_leading_login_stops_at_the_first_session(self):
        self.run_adm("-m iface -I if1 -o new")
        self.run_adm(f"-m node -T {T1} -p 10.0.0.1,1 -I if1 -o new")
        self.run_adm(f"-m node -T {T1} -o update -n node.leading_login -v Yes -n node.startup -v automatic")
        self.expect("-m node -L automatic",
                    f"Logging in to {title(T1)}\nLogin to {title(T1)} successful.\n{DISK}")
        self.assertEqual(len(self.daemon.requests("login")), 1)

    def test_contradictions_are_refused(self):
        self.expect(f"-m node -T {T1} -l -u", err="Invalid parameters. Both login and logout passed in", code=7)
        self.expect(f"-m node -T {T1} -l -o show", err="Invalid parameters. Login/logout and op passed in", code=7)


class Logout(harness.CliTest):
    def setUp(self):
        super().setUp()
        self.start_daemon().sessions = [session(1, T1, "10.0.0.1"), session(2, T1, "10.0.0.2", tpgt=2),
                                        session(3, T2, "fe80::1", 3261, iface="if1")]
        for portal in ("10.0.0.1,1", "10.0.0.2,2"):
            self.run_adm(["-m", "node", "-T", T1, "-p", portal, "-o", "new"])

    def logouts(self, *sids):
        titles = {1: f"[sid: 1, target: {T1}, portal: 10.0.0.1,3260]",
                  2: f"[sid: 2, target: {T1}, portal: 10.0.0.2,3260]",
                  3: f"[sid: 3, target: {T2}, portal: fe80::1,3261]"}
        return ("".join(f"Logging out of session {titles[sid]}\n" for sid in sids) +
                "".join(f"Logout of {titles[sid]} successful.\n" for sid in sids))

    def test_logout_of_what_matches(self):
        self.expect("-m node -u", self.logouts(1, 2, 3))
        self.expect(f"-m node -T {T1} -u", self.logouts(1, 2))
        self.expect(f"-m node -T {T1} -p 10.0.0.2 --logout", self.logouts(2))
        self.expect("-m node -p [fe80::1]:3261 -u", self.logouts(3))
        self.expect("-m node -u -I if1", err="Could not read iface info for if1.", code=3)
        self.run_adm("-m iface -I if1 -o new")
        self.expect("-m node -u -I if1", self.logouts(3))
        self.expect("-m node -p 10.0.0.3 -u", err="No matching sessions found", code=21)

    def test_logout_of_all_leaves_the_boot_and_what_has_no_record(self):
        self.expect("-m node -U all", self.logouts(1, 2))
        self.expect("-m node --logoutall=manual", self.logouts(1, 2))
        self.expect("-m node -U automatic", err="No matching sessions found", code=21)
        self.run_adm(f"-m node -T {T1} -p 10.0.0.1 -o update -n node.startup -v onboot")
        self.expect("-m node -U all", self.logouts(2))

    def test_the_transport_does_not_change_below_a_session(self):
        line = ("Cannot modify node/iface transport name while a session is using it. Log out the session then update "
                "record.")
        for name in ("iface.transport_name", "node.transport_name"):
            for command in (f"-m node -T {T1}", "-m session -r 1"):
                self.expect(f"{command} -o update -n {name} -v iser", err=line, code=15)
        self.expect(f"-m node -T {T1} -p 10.0.0.3 -o update -n node.transport_name -v iser", err="No records found", code=21)

    def test_rescan_and_counters_of_what_matches(self):
        self.expect(f"-m node -T {T2} -R", f"Rescanning session [sid: 3, target: {T2}, portal: fe80::1,3261]\n")
        _, out, _ = self.run_adm(f"-m node -T {T1} -p 10.0.0.1 -s")
        self.assertTrue(out.startswith(f"Stats for session [sid: 1, target: {T1}, portal: 10.0.0.1,3260]\n"))


class NoDaemon(harness.CliTest):
    def test_login_ends_with_20(self):
        self.run_adm(["-m", "node", "-T", T1, "-p", "10.0.0.1,1", "-o", "new"])
        self.expect("-m node -l", f"Logging in to {title(T1)}\n",
                    f"can not connect to iSCSI daemon (111)!\nCould not login to {title(T1)}.\n"
                    "initiator reported error (20 - could not connect to iscsid)\nCould not log into all portals\n"
                    f"Try: {harness.NO_DAEMON}", 20)

    def test_a_daemon_that_dies_during_a_login_is_18(self):
        self.run_adm(["-m", "node", "-T", T1, "-p", "10.0.0.1,1", "-o", "new"])
        daemon = self.start_daemon()
        daemon.answers["login"] = lambda _: {"v": 1, "broken": True}
        code, out, err = self.run_adm("-m node -l")
        self.assertEqual((code, out), (18, f"Logging in to {title(T1)}\n"))
        self.assertIn("initiator reported error (18 - could not communicate to iscsid)\n", err)


if __name__ == "__main__":
    harness.main()
