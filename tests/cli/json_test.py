"""-j: one JSON object in place of all text, for every listing, action and failure; exit codes stay."""

import json

import harness
from harness import discovered, error, found, lun, session

T1 = "iqn.2001-04.com.example:t1"
T2 = "iqn.2001-04.com.example:t2"


class Document(harness.CliTest):
    def document(self, command, code=0):
        got, out, err = self.run_adm(command)
        self.assertEqual((got, err), (code, ""), command)
        self.assertEqual(out.count("\n"), 1, out)
        parsed = json.loads(out)
        self.assertEqual((parsed["version"], parsed["exit_code"]), (1, code))
        self.assertEqual(parsed["error"] == "", code == 0)
        return parsed

    def new(self, target=T1, portal="10.0.0.1,1"):
        self.assertEqual(self.run_adm(f"-m node -T {target} -p {portal} -o new")[0], 0)

    def test_what_is_wrong_is_told_in_the_document(self):
        self.assertEqual(self.document("-m node -j", 21)["messages"], ["No records found"])
        self.assertEqual(self.document("-m foo --json", 7)["messages"], ["mode -1 is not yet supported"])
        self.assertEqual(self.document("-j", 7)["error"], "invalid parameter")
        self.assertEqual(self.document("-m node -o bogus -j", 7)["messages"], ["can not recognize operation: 'bogus'"])
        for command in ("-Z -j", "-m node -Z -j", "-m node --bogus -j", "-j -p", "-m node --logout=3 -j"):
            messages = self.document(command, 7)["messages"]
            self.assertRegex(messages[0], "^(invalid option -- 'Z'|unrecognized option '--bogus'|option requires an argument "
                                          "-- 'p'|option '--logout' doesn't allow an argument)$")

    def test_the_list_of_a_command_is_there_when_it_is_empty(self):
        for command, name in (("-m node", "nodes"), (f"-m node -T {T1}", "nodes"), ("-m session", "sessions"),
                              ("-m session -P 1", "sessions"), ("-m session -s", "sessions"), ("-m host", "hosts"),
                              ("-m discovery", "discoveries"), ("-m discoverydb -P 1", "discoveries"),
                              ("-m node -l", "actions"), ("-m node -u", "actions"), ("-m session -R", "actions"),
                              ("-m node -L all", "actions"), ("-m node -o delete", "actions")):
            self.assertEqual(self.document(f"{command} -j", 21)[name], [], command)
        self.start_daemon().answers["discover"] = lambda _: error(24)
        self.assertEqual(self.document("-m discovery -t st -p 10.0.0.1 -j", 24)["found"], [])

    def test_a_failure_is_an_action_too(self):
        def failed(command, code, action):
            entry, = self.document(command + " -j", code)["actions"]
            self.assertEqual((entry["action"], entry["exit_code"]), (action, entry["exit_code"] or 1), command)
            self.assertNotEqual(entry["error"], "")
            return entry
        self.assertEqual(failed("-m node -T a/b -p 10.0.0.1 -o new", 7, "new")["target"], "a/b")
        failed(f"-m node -T {T1} -o new", 21, "new")
        self.assertEqual(failed("-m iface -I nope -o update -n iface.mtu -v 3", 7, "update")["name"], "nope")
        failed("-m iface -I nope -o delete", 7, "delete")
        failed("-m iface -I nope -o apply", 6, "apply")
        failed("-m iface -o applyall -H 7", 23, "applyall")
        self.assertEqual(failed("-m discoverydb -t st -p 10.0.0.1 -o delete", 6, "delete")["address"], "10.0.0.1")
        failed("-m discoverydb -t st -p 10.0.0.1 -o update -n discovery.startup -v manual", 6, "update")
        self.assertEqual(self.document("-k 0 -j")["actions"][0]["error"], "could not connect to iscsid")

    def test_actions_that_nobody_waits_for(self):
        self.start_daemon().sessions = [session(1, T1, "10.0.0.9")]
        self.new()
        sent = self.document("-m node -l -W -j")["actions"]
        self.assertEqual([(entry["action"], entry["exit_code"], entry["note"]) for entry in sent],
                         [("login", 0, "not waited for")])
        self.assertEqual(self.document("-m iface -o applyall -H 2 -j")["actions"][0]["host"], "2")
        self.assertEqual(self.document("-k 0 -j")["actions"], [
            {"action": "stop", "exit_code": 0, "error": "", "detail": ""}])

    def test_help_and_version_stay_text(self):
        self.expect("-j -V", "iscsiadm version 2.1.8\n")
        self.assertIn("--json", self.run_adm("-j -h")[1])

    def test_nodes(self):
        self.new()
        self.new(T2, "[fe80::1]:3261")
        self.assertEqual(self.document("-m node -j")["nodes"], [
            {"target": T1, "address": "10.0.0.1", "port": 3260, "tpgt": 1, "iface": "default"},
            {"target": T2, "address": "fe80::1", "port": 3261, "tpgt": -1, "iface": "default"}])
        self.run_adm(f"-m node -T {T1} -o update -n node.session.auth.password -v secret123456")
        masked = self.document(f"-m node -T {T1} -j")["nodes"][0]["values"]
        self.assertEqual((masked["node.name"], masked["node.session.auth.password"]), (T1, None))
        self.assertEqual(masked["node.session.auth.username"], "")
        shown = self.document(f"-m node -T {T1} -S -j")["nodes"][0]["values"]
        self.assertEqual(shown["node.session.auth.password"], "secret123456")

    def test_changes_of_records(self):
        made = self.document(f"-m node -T {T1} -p 10.0.0.1,1 -o new -j")["actions"]
        subject = {"target": T1, "address": "10.0.0.1", "port": 3260, "tpgt": 1, "iface": "default"}
        self.assertEqual(made, [{"action": "new", "exit_code": 0, "error": "", "detail": "", **subject}])
        wrong = self.document("-m node -o update -n node.session.cmds_max -v 3 -j", 7)
        self.assertEqual(wrong["actions"], [{
            "action": "update", "exit_code": 7, "error": "invalid parameter",
            "detail": "bad value '3' for node.session.cmds_max; allowed is a power of two from 2 to 2048", **subject}])
        self.start_daemon().sessions = [session(1, T1, "10.0.0.1")]
        busy = self.document("-m node -o delete -j", 15)["actions"]
        self.assertEqual((busy[0]["action"], busy[0]["error"]), ("delete", "session exists"))
        self.daemon.sessions = []
        self.assertEqual(self.document("-m node -o delete -j")["actions"][0]["exit_code"], 0)

    def test_interfaces(self):
        self.assertEqual(self.document("-m iface -I if0 -o new -j")["actions"][0]["name"], "if0")
        listed = self.document("-m iface -j")["interfaces"]
        self.assertEqual([entry["name"] for entry in listed], ["if0", "default", "iser"])
        self.assertEqual(listed[0]["values"]["iface.transport_name"], "tcp")
        self.assertEqual(self.document("-m iface -I if0 -j")["interfaces"][0]["name"], "if0")
        self.new()
        self.assertEqual(self.document("-m iface -P 1 -j")["interfaces"][1]["nodes"][0]["target"], T1)
        refused = self.document("-m iface -I default -o delete -j", 7)
        self.assertEqual((refused["actions"][0]["action"], refused["actions"][0]["exit_code"]), ("delete", 7))

    def test_discovery(self):
        self.start_daemon().answers["discover"] = lambda _: discovered(found(T1, "10.0.0.1"))
        first = self.document("-m discovery -t st -p 10.0.0.1 -j")
        node = {"target": T1, "address": "10.0.0.1", "port": 3260, "tpgt": 1, "iface": "default"}
        self.assertEqual((first["found"], first["changes"]), ([node], [{**node, "change": "added"}]))
        again = self.document("-m discovery -t st -p 10.0.0.1 -j")
        self.assertEqual(again["changes"], [{**node, "change": "kept"}])
        self.daemon.answers["discover"] = lambda _: discovered(found(T2, "10.0.0.1"))
        other = self.document("-m discovery -t st -p 10.0.0.1 -j")
        self.assertEqual([entry["change"] for entry in other["changes"]], ["added", "removed"])
        source = {"type": "sendtargets", "address": "10.0.0.1", "port": 3260}
        self.assertEqual(self.document("-m discovery -j")["discoveries"], [source])
        self.assertEqual(self.document("-m discovery -P 1 -j")["discoveries"], [{**source, "nodes": [{**node, "target": T2}]}])
        shown = self.document("-m discoverydb -t st -p 10.0.0.1 -j")["discoveries"][0]
        self.assertEqual(shown["values"]["discovery.type"], "sendtargets")
        self.assertEqual(self.document("-m discoverydb -t st -p 10.0.0.1 -o delete -j")["actions"][0]["type"], "sendtargets")
        self.daemon.answers["discover"] = lambda _: error(11, "nobody answers")
        failed = self.document("-m discovery -t st -p 10.0.0.1 -j", 11)
        self.assertEqual(failed["messages"], ["nobody answers", "Could not perform SendTargets discovery: iSCSI PDU timed out"])

    def test_a_discovery_says_what_it_changed_when_asked(self):
        self.start_daemon().answers["discover"] = lambda _: discovered(found(T1, "10.0.0.1"))
        line = f"10.0.0.1:3260,1 {T1}\n"
        title = f"[iface: default, target: {T1}, portal: 10.0.0.1,3260]"
        self.expect("-m discovery -t st -p 10.0.0.1 -d 1", line, err=f"added {title}")
        self.expect("-m discovery -t st -p 10.0.0.1 -d 1", line, err=f"kept {title}")
        self.expect("-m discovery -t st -p 10.0.0.1", line)

    def test_discovering_again_can_overwrite(self):
        self.start_daemon().answers["discover"] = lambda _: discovered(found(T1, "10.0.0.1"))
        for setting, wanted in (("", "automatic"), ("iscsid.rediscovery = overwrite\n", "manual")):
            self.run_adm("-m discovery -t st -p 10.0.0.1")
            self.run_adm("-m node -o update -n node.startup -v automatic")
            with open(f"{self.config}/iscsid.conf", "a", encoding="ascii") as conf:
                conf.write(setting)
            self.run_adm("-m discovery -t st -p 10.0.0.1")
            self.assertEqual(self.document("-m node -o show -j")["nodes"][0]["values"]["node.startup"], wanted)

    def test_sessions_and_hosts(self):
        self.start_daemon().sessions = [session(1, T1, "10.0.0.1", luns=[lun(1, device="/dev/ublkb0")])]
        listed = self.document("-m session -j")["sessions"][0]
        self.assertEqual((listed["sid"], listed["target"], listed["luns"][0]["device"]), (1, T1, "/dev/ublkb0"))
        self.assertEqual((listed["chap"]["password"], listed["chap"]["password_in"]), (None, ""))
        shown = self.document("-m session -r 1 -P 2 -S -j")["sessions"][0]
        self.assertEqual(shown["chap"]["password"], "secret123456")
        self.assertIn("rxdata_octets", self.document("-m session -s -j")["sessions"][0]["statistics"])
        host = self.document("-m host -j")["hosts"][0]
        self.assertEqual((host["number"], host["sessions"][0]["sid"], host["sessions"][0]["chap"]["password"]), (2, 1, None))

    def test_a_list_longer_than_an_answer(self):
        """Pages, as of iscsid, of whom others than root may ask one thing a connection; nobody is in a hurry."""
        daemon = self.start_daemon()

        def page(request):
            after = request["after"]
            units = {0: ([1, 2], {"sid": 1, "lun": 2}), 1: ([3], {"sid": 1})}
            if after == {"sid": 1}:
                return {"reply": "sessions", "sessions": [session(2, T2, "10.0.0.2")]}
            numbers, end = units[after["sid"]]
            return {"reply": "sessions", "sessions": [session(1, T1, "10.0.0.1", luns=[lun(i) for i in numbers])], "next": end}

        daemon.answers["sessions"] = page
        sessions = self.document("-m session -j")["sessions"]
        self.assertEqual([(one["sid"], [unit["number"] for unit in one["luns"]]) for one in sessions], [(1, [1, 2, 3]), (2, [])])
        self.assertEqual([(one["with_io"], one["after"]) for one in daemon.seen],
                         [(True, {"sid": 0}), (True, {"sid": 1, "lun": 2}), (True, {"sid": 1})])
        daemon.answers["sessions"] = lambda _: {"reply": "sessions", "sessions": [], "next": {"sid": 7}}
        self.assertIn("leads back", self.document("-m session -j", 7)["messages"][0])

    def test_login_and_logout(self):
        self.start_daemon()
        self.new()
        done = self.document("-m node -l -j")["actions"][0]
        self.assertEqual((done["action"], done["target"], done["sid"], done["luns"][0]["device"]), ("login", T1, 1, "/dev/ublkb0"))
        self.daemon.answers["login"] = lambda _: error(24, "CHAP failed")
        failed = self.document("-m node -l -j", 24)["actions"][0]
        self.assertEqual((failed["exit_code"], failed["detail"]), (24, "CHAP failed"))
        self.daemon.sessions = [session(1, T1, "10.0.0.1")]
        self.assertEqual(self.document("-m node -l -j", 15)["actions"][0]["error"], "session exists")
        self.assertEqual(self.document("-m session -R -j")["actions"][0]["action"], "rescan")
        out = self.document("-m session -r 1 -u -j")["actions"][0]
        self.assertEqual(out, {"action": "logout", "sid": 1, "target": T1, "address": "10.0.0.1", "port": 3260,
                               "exit_code": 0, "error": "", "detail": ""})


if __name__ == "__main__":
    harness.main()
