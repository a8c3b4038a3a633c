"""Session and host mode: lists, trees, logout, rescan and counters of sessions that a scripted daemon reports. The
expected text is open-iscsi's."""

import os

import harness
from harness import error, lun, session

T1 = "iqn.2001-04.com.example:t1"
T2 = "iqn.2001-04.com.example:t2"

PORTALS = {
    1: (T1, "10.0.0.1:3260,1"), 2: (T1, "10.0.0.2:3260,2"), 3: (T2, "[fe80::1]:3261,1"),
}

LIST = "".join(f"tcp: [{sid}] {portal} {target} (non-flash)\n" for sid, (target, portal) in PORTALS.items())
TITLES = {
    1: f"[sid: 1, target: {T1}, portal: 10.0.0.1,3260]",
    2: f"[sid: 2, target: {T1}, portal: 10.0.0.2,3260]",
    3: f"[sid: 3, target: {T2}, portal: fe80::1,3261]",
}


def level_1(sid, indent="", iface="default"):
    lines = [
        f"\tCurrent Portal: {PORTALS[sid][1]}", f"\tPersistent Portal: {PORTALS[sid][1]}",
        "\t\t**********", "\t\tInterface:", "\t\t**********", f"\t\tIface Name: {iface}", "\t\tIface Transport: tcp",
        "\t\tIface Initiatorname: iqn.1993-08.org.debian:01:fakeini", "\t\tIface IPaddress: 10.0.0.5",
        "\t\tIface HWaddress: default", "\t\tIface Netdev: default", f"\t\tSID: {sid}",
        "\t\tiSCSI Connection State: LOGGED IN", "\t\tiSCSI Session State: LOGGED_IN",
        "\t\tInternal iscsid Session State: NO CHANGE",
    ]
    return "".join(f"{indent}{line}\n" for line in lines)


def parameters(indent=""):
    lines = ["*" * 24, "Negotiated iSCSI params:", "*" * 24, "HeaderDigest: None", "DataDigest: None",
             "MaxRecvDataSegmentLength: 262144", "MaxXmitDataSegmentLength: 8192", "FirstBurstLength: 65536",
             "MaxBurstLength: 262144", "ImmediateData: Yes", "InitialR2T: No", "MaxOutstandingR2T: 1"]
    return "".join(f"{indent}\t\t{line}\n" for line in lines)


def level_2(password="********", fourth="password_in: ********"):
    return (
        "\t\t*********\n\t\tTimeouts:\n\t\t*********\n\t\tRecovery Timeout: 120\n\t\tTarget Reset Timeout: 30\n"
        "\t\tLUN Reset Timeout: 30\n\t\tAbort Timeout: 15\n\t\t*****\n\t\tCHAP:\n\t\t*****\n\t\tusername: u1\n"
        f"\t\tpassword: {password}\n\t\tusername_in: <empty>\n\t\t{fourth}\n") + parameters()


HEAD_T1 = f"Target: {T1} (non-flash)\n"
HEAD_T2 = f"Target: {T2} (non-flash)\n"


class NoSessions(harness.CliTest):
    def test_without_a_daemon_there_are_no_sessions(self):
        self.expect("-m session", err="No active sessions.", code=21)
        self.expect("-m session -P 3", err="No active sessions.", code=21)
        self.expect("-m session -R", err="No session found.", code=21)
        self.expect("-m session -s", err="No session found.", code=21)
        self.expect("-m session -u", err="No matching sessions found", code=21)
        self.expect("-m session -P 4", err="No active sessions.", code=21)

    def test_a_daemon_without_sessions_gives_the_same(self):
        self.start_daemon()
        self.expect("-m session", err="No active sessions.", code=21)
        self.expect("-m session -r 99", err="could not read session targetname: 5\n"
                                            "Could not get session info for sid 99", code=22)


class ThreeSessions(harness.CliTest):
    def setUp(self):
        super().setUp()
        self.start_daemon().sessions = [
            session(1, T1, "10.0.0.1", luns=[lun(1, device="/dev/sdb")]),
            session(2, T1, "10.0.0.2", tpgt=2),
            session(3, T2, "fe80::1", 3261, iface="if1"),
        ]

    def test_the_list(self):
        self.expect("-m session", LIST)
        self.expect("-m session -P 0", LIST)
        self.expect("-m session -o show", LIST)

    def test_the_tree_of_level_1(self):
        self.expect("-m session -P 1",
                    HEAD_T1 + level_1(1) + level_1(2) + HEAD_T2 + level_1(3, iface="if1"))

    def test_a_second_session_of_the_same_portal_has_an_empty_line_in_place_of_the_portals(self):
        self.daemon.sessions = [session(1, T1, "10.0.0.1"), session(2, T1, "10.0.0.1")]
        code, out, _ = self.run_adm("-m session -P 1")
        self.assertEqual(code, 0)
        self.assertEqual(out.count("Current Portal"), 1)
        self.assertIn("NO CHANGE\n\n\t\t**********\n", out)

    def test_the_trees_of_levels_2_and_3(self):
        self.expect("-m session -r 1 -P 2", HEAD_T1 + level_1(1) + level_2())
        self.expect("-m session -P 2 -r 1 -S",
                    HEAD_T1 + level_1(1) + level_2("secret123456", "password: <empty>"))
        self.expect("-m session -r 1 -P 3",
                    "iSCSI Transport Class version 2.0-870\nversion 2.1.8\n" + HEAD_T1 + level_1(1) + level_2() +
                    "\t\t************************\n\t\tAttached SCSI devices:\n\t\t************************\n"
                    "\t\tHost Number: 2\tState: running\n\t\tscsi2 Channel 00 Id 0 Lun: 1\n"
                    "\t\t\tAttached scsi disk sdb\t\tState: running\n")

    def test_a_disk_is_named_by_its_device_or_its_export(self):
        self.daemon.sessions = [session(1, T1, "10.0.0.1", luns=[
            lun(0, state="offline: medium not present"), lun(1, device="/dev/ublkb0"),
            lun(2, device="/run/iscsid/luns/1-2.sock", uri="nbd+unix:///?socket=/run/iscsid/luns/1-2.sock")])]
        _, out, _ = self.run_adm("-m session -P 3")
        self.assertTrue(out.endswith(
            "\t\tscsi2 Channel 00 Id 0 Lun: 0\n"
            "\t\tscsi2 Channel 00 Id 0 Lun: 1\n\t\t\tAttached scsi disk ublkb0\t\tState: running\n"
            "\t\tscsi2 Channel 00 Id 0 Lun: 2\n"
            "\t\t\tAttached scsi disk nbd+unix:///?socket=/run/iscsid/luns/1-2.sock\t\tState: running\n"), out)

    def test_a_target_name_cannot_write_to_the_terminal(self):
        self.daemon.sessions = [session(1, "iqn.x:\x1b[2J\nfake", "10.0.0.1")]
        self.expect("-m session", "tcp: [1] 10.0.0.1:3260,1 iqn.x:\\x1b[2J\\x0afake (non-flash)\n")

    def test_a_session_can_be_named_by_a_path(self):
        path = os.path.join(self.root, "devices/platform/host2/session1")
        os.makedirs(path)
        self.expect(f"-m session -r {path} -P 1", HEAD_T1 + level_1(1))

    def test_what_is_no_session(self):
        self.expect("-m session -r foo", err="foo is an invalid session ID or path", code=1)
        for sid in ("+1", " 1", "01"):
            self.expect(["-m", "session", "-r", sid, "-P", "1"], HEAD_T1 + level_1(1))
        path = os.path.join(self.root, "session1/state")
        os.makedirs(os.path.dirname(path))
        with open(path, "w", encoding="ascii"):
            self.expect(f"-m session -r {path}", err=f"{path} is not a directory", code=1)
        self.expect("-m session -r /sys/devices", code=7, err="Unable to find sid in path /sys/devices\n"
                                                              "invalid sid '/sys/devices'")
        self.expect(f"-m session -r {self.config}", code=7, err=f"Could not get dev for {self.config}. Possible sysfs "
                                                                f"incompatibility.\ninvalid sid '{self.config}'")
        self.expect("-m session -r 0", err="0 is an invalid session ID or path", code=1)
        for sid in (2**31, 2**32 + 1, 99999999999):  # not cut down to that of another session
            self.expect(f"-m session -r {sid}", err=f"{sid} is an invalid session ID or path", code=1)
        self.expect("-m session -r 99", err="could not read session targetname: 5\n"
                                            "Could not get session info for sid 99", code=22)
        self.expect("-m session -r 1", err="No records found", code=21)
        self.expect("-m session -r 1 -o new", err="No records found", code=21)
        self.expect("-m session -o new",
                    err="session mode: Operation 'new' only allowed with specific session IDs", code=7)

    def test_rescan_asks_about_each_session(self):
        self.expect("-m session -R", "".join(f"Rescanning session {TITLES[sid]}\n" for sid in (1, 2, 3)))
        self.assertEqual([request["sid"] for request in self.daemon.requests("rescan")], [1, 2, 3])
        self.expect("-m session -r 2 -R", f"Rescanning session {TITLES[2]}\n")

    def test_rescan_and_counters_come_before_logout_and_operations(self):
        """One order for all: -R, -s, and then what excludes each other. Nobody is logged out by a slip of the finger."""
        one = f"Rescanning session {TITLES[1]}\n"
        for command in ("-u -R", "-R -u", "-R -s", "-R -o show", "-R -o new", "-u -R -o delete"):
            self.expect(f"-m session -r 1 {command}", one)
        for command in ("-u -s", "-s -o update -n node.startup -v manual", "-s -o new"):
            self.assertIn(f"Stats for session {TITLES[1]}\n", self.run_adm(f"-m session -r 1 {command}")[1])
        self.expect("-m session -u -R", "".join(f"Rescanning session {TITLES[sid]}\n" for sid in (1, 2, 3)))
        for operation in ("show", "delete", "update", "show -o delete"):
            self.expect(f"-m session -r 1 -u -o {operation}",
                        err="Invalid parameters. Login/logout and op passed in", code=7)
        self.expect("-m session -u -o delete", err="Invalid parameters. Login/logout and op passed in", code=7)
        self.expect("-m session -r 1 -u -o new", err="Invalid parameters. Both login and logout passed in", code=7)
        self.assertEqual(self.daemon.requests("logout") + self.daemon.requests("login"), [])

    def test_counters(self):
        counters = "".join(f"\t{name}: 0\n" for name in harness.COUNTERS)
        self.expect("-m session -r 1 -s", f"Stats for session {TITLES[1]}\niSCSI SNMP:\n{counters}")
        self.daemon.sessions[0]["statistics"]["rxdata_octets"] = 2**64 - 1
        _, out, _ = self.run_adm("-m session -s")
        self.assertIn("\trxdata_octets: 18446744073709551615\n", out)
        self.assertEqual(out.count("Stats for session"), 3)

    def test_logout_of_all_is_asked_at_once_and_reported_in_order(self):
        self.daemon.reverse = True
        self.expect("-m session -u",
                    "".join(f"Logging out of session {TITLES[sid]}\n" for sid in (1, 2, 3)) +
                    "".join(f"Logout of {TITLES[sid]} successful.\n" for sid in (1, 2, 3)))
        self.assertEqual([request["sid"] for request in self.daemon.requests("logout")], [1, 2, 3])

    def test_a_logout_that_fails_gives_its_number(self):
        for code, text in ((10, "encountered iSCSI logout failure"), (28, "device or resource in use"),
                           (32, "target likely not connected")):
            self.daemon.answers["logout"] = lambda _, code=code: error(code)
            self.expect("-m session -r 1 -u", f"Logging out of session {TITLES[1]}\n",
                        f"Could not logout of {TITLES[1]}.\ninitiator reported error ({code} - {text})\n"
                        "Could not logout of all requested sessions", code)

    def test_hosts(self):
        lines = "".join(f"tcp: [{n}] 10.0.0.5,[<empty>],<empty> iqn.1993-08.org.debian:01:fakeini\n" for n in (2, 3, 4))
        self.expect("-m host", lines)
        self.expect("-m host -H 2 -C bogus", lines)
        host = ("Host Number: 4\n\tState: running\n\tTransport: tcp\n"
                "\tInitiatorname: iqn.1993-08.org.debian:01:fakeini\n\tIPaddress: 10.0.0.5\n\tHWaddress: <empty>\n"
                "\tNetdev: <empty>\n")
        self.expect("-m host -H 4 -P 1", host)
        self.expect("-m host -H 4 -P 2", host + "\t*********\n\tSessions:\n\t*********\n\t" + HEAD_T2 +
                    level_1(3, "\t", "if1"))
        shown = host + "\t*********\n\tSessions:\n\t*********\n\t" + HEAD_T2 + level_1(3, "\t", "if1") + parameters("\t")
        self.expect("-m host -H 4 -P 3", shown)
        ruler = "\t\t\t************************\n"
        versions = "iSCSI Transport Class version 2.0-870\nversion 2.1.8\n"
        self.expect("-m host -H 4 -P 4", versions + shown + ruler + "\t\t\tAttached SCSI devices:\n" + ruler)
        self.assertTrue(self.run_adm("-m host -H 2 -P 4")[1].endswith(
            ruler + "\t\t\tscsi2 Channel 00 Id 0 Lun: 1\n\t\t\t\tAttached scsi disk sdb\t\tState: running\n"))
        self.expect("-m host -H 99", err="No iSCSI hosts.", code=21)
        self.expect("-m host -P 5", err="Invalid info level 5. Try 0 - 4.", code=7)


    def test_a_host_can_be_named_by_its_mac_address(self):
        self.daemon.sessions[1]["iface"]["hw_address"] = "00:11:22:33:44:aa"
        self.expect("-m host -H 00:11:22:33:44:AA",
                    "tcp: [3] 10.0.0.5,[00:11:22:33:44:aa],<empty> iqn.1993-08.org.debian:01:fakeini\n")
        for mode in ("host", "iface"):
            self.expect(f"-m {mode} -H 00:11:22:33:44:55", err="Could not match MAC to host.", code=7)


class BadDaemon(harness.CliTest):
    def setUp(self):
        super().setUp()
        self.start_daemon()

    def test_an_answer_that_cannot_be_read_is_a_communication_error(self):
        for raw in (b"", b"\n", b"nonsense\n", b'{"v":1,"id":1,"reply":"sessions","sessions":[{}]}\n', b"[" * 100000 + b"\n",
                    b'{"v":9,"id":1,"reply":"done"}\n', b'{"v":1,"id":1,"reply":"done"}\n', b'{"v":1,"id":7'):
            self.daemon.raw = raw
            code, out, err = self.run_adm("-m session")
            self.assertEqual((code, out, err.count("\n")), (18, "", 1), (raw[:40], err))

    def test_a_refused_caller_gets_13(self):
        self.daemon.answers["sessions"] = lambda _: error(13)
        self.expect("-m session", err="daemon access denied", code=13)
        self.daemon.raw = b'{"v":1,"id":0,"reply":"error","error":{"errc":13,"detail":""}}\n'
        self.expect("-m session", err="daemon access denied", code=13)


if __name__ == "__main__":
    harness.main()
