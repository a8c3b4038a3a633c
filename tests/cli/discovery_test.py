"""The modes discovery and discoverydb. The expected text is open-iscsi's."""

import os

import dumps
import harness
from harness import discovered, error, found

T1 = "iqn.2001-04.com.example:t1"
T2 = "iqn.2001-04.com.example:t2"
FLAT = f"10.0.0.1:3260,1 {T1}\n10.0.0.1:3260,1 {T2}\n"
TREE = (f"Target: {T1}\n\tPortal: 10.0.0.1:3260,1\n\t\tIface Name: default\n"
        f"Target: {T2}\n\tPortal: 10.0.0.1:3260,1\n\t\tIface Name: default\n")


class DiscoveryRecords(harness.CliTest):
    def test_nothing_is_there(self):
        self.expect("-m discovery", code=21)
        self.expect("-m discoverydb", code=21)
        empty = "SENDTARGETS:\nNo targets found.\niSNS:\nNo targets found.\nSTATIC:\nNo targets found.\nFIRMWARE:\n" \
                "No targets found.\n"
        self.expect("-m discovery -P 1", empty, code=21)
        self.expect("-m discoverydb -o show -P 1", empty, code=21)
        self.expect("-m discovery -t st", err="Please specify portal as <ipaddr>[:<ipport>]", code=7)
        self.expect("-m discovery -p 1.2.3.4", err="Discovery record [1.2.3.4,3260] not found!", code=7)
        self.expect("-m discovery -t bogus -p 1.2.3.4", err="Discovery record [1.2.3.4,3260] not found!", code=7)
        for op in ("", "-o show", "-o update -n discovery.startup -v manual", "-o delete"):
            self.expect(f"-m discoverydb -t st -p 1.2.3.4 {op}",
                        err="Discovery record [1.2.3.4,3260] not found.", code=6)

    def test_a_record_is_made_shown_changed_and_removed(self):
        record = "-m discoverydb -t st -p 1.2.3.4"
        self.expect(f"{record} -o new", "New discovery record for [1.2.3.4,3260] added.\n")
        self.expect("-m discoverydb", "1.2.3.4:3260 via sendtargets\n")
        self.expect("-m discovery", "1.2.3.4:3260 via sendtargets\n")
        self.expect("-m discovery -P 1",
                    "SENDTARGETS:\nDiscoveryAddress: 1.2.3.4,3260\niSNS:\nNo targets found.\nSTATIC:\n"
                    "No targets found.\nFIRMWARE:\nNo targets found.\n")
        self.expect(f"{record} -o update -n discovery.sendtargets.auth.password -v secret")
        self.expect(record, dumps.send_targets(password="********"))
        self.expect(f"{record} -o show -S", dumps.send_targets(password="secret"))
        self.expect("-m discovery -p 1.2.3.4 -S", dumps.send_targets(password="secret"))
        self.expect("-m discovery -p 1.2.3.4 -o update -n discovery.startup -v manual",
                    err="Operations new and update for discovery mode is not supported. Use discoverydb mode.", code=7)
        self.expect(f"{record} -o delete")
        self.expect("-m discoverydb", code=21)

    def test_a_change_that_is_refused_changes_nothing(self):
        record = "-m discoverydb -t st -p 1.2.3.4"
        self.run_adm(f"{record} -o new")
        before = self.tree()
        self.expect(f"{record} -o update -n discovery.sendtargets.address -v 2",
                    err="Cannot modify discovery.sendtargets.address. It is used to look up the record and cannot be "
                        "changed.", code=7)
        self.expect(f"{record} -o update -n foo -v 2", err="Cannot modify foo. Invalid param name.", code=7)
        self.expect(f"{record} -o update -n discovery.startup -v bogus",
                    err="unknown value format 'bogus' for parameter name 'discovery.startup'; allowed is manual or "
                        "automatic", code=7)
        self.expect(f"{record} -o update", err="Update requires name and value.", code=7)
        self.assertEqual(self.tree(), before)


class Discovery(harness.CliTest):
    def configure(self, lines):
        with open(os.path.join(self.config, "iscsid.conf"), "a", encoding="ascii") as conf:
            conf.write(lines)

    def setUp(self):
        super().setUp()
        self.start_daemon().answers["discover"] = lambda _: discovered(found(T1, "10.0.0.1"), found(T2, "10.0.0.1"))

    def test_a_discovery_prints_and_keeps_what_it_found(self):
        self.expect("-m discovery -t st -p 10.0.0.1", FLAT)
        self.expect("-m node", FLAT)
        self.expect(f"-m node -T {T1}",
                    dumps.node(T1, source="10.0.0.1", source_port=3260, origin="send_targets"))
        link = os.path.join(self.config, f"send_targets/10.0.0.1,3260/{T1},10.0.0.1,3260,1,default")
        self.assertTrue(os.path.islink(link))
        (request,) = self.daemon.requests("discover")
        self.assertEqual(request["discovery"]["kind"], "send_targets")
        self.assertEqual(request["discovery"]["values"]["discovery.sendtargets.address"], "10.0.0.1")
        self.assertEqual([iface["kind"] for iface in request["ifaces"]], ["iface"])

    def test_an_isns_server_is_asked(self):
        self.expect("-m discovery -t isns -p 10.0.0.1", FLAT)
        self.expect("-m discoverydb -t isns -p 10.0.0.1:3205 -D", FLAT)
        self.expect("-m discovery", "10.0.0.1:3205 via isns\n")
        self.expect("-m node", FLAT)
        self.expect(f"-m node -T {T1}", dumps.node(T1, source="10.0.0.1", source_port=3205, origin="isns"))
        self.assertIn("discovery.isns.use_discoveryd = No\n", self.file("isns/10.0.0.1,3205/isns_config"))
        self.assertEqual([request["discovery"]["kind"] for request in self.daemon.requests("discover")], ["isns"] * 2)
        self.daemon.answers["discover"] = lambda _: error(25, "the iSNS server refused: busy")
        self.expect("-m discovery -t isns -p 10.0.0.1", code=25, err="the iSNS server refused: busy\n"
                    "Could not perform iSNS discovery: iSNS query failed")

    def test_trees(self):
        self.expect("-m discovery -t sendtargets -p 10.0.0.1:3260 -P 1", TREE)
        rest = "iSNS:\nNo targets found.\nSTATIC:\nNo targets found.\nFIRMWARE:\nNo targets found.\n"
        self.expect("-m discovery -P 1", f"SENDTARGETS:\nDiscoveryAddress: 10.0.0.1,3260\n{TREE}{rest}")

    def test_an_address_of_version_6_stands_in_brackets(self):
        self.daemon.answers["discover"] = lambda _: discovered(found(T1, "::1"))
        self.expect("-m discovery -t st -p [::1]:3260", f"[::1]:3260,1 {T1}\n")
        self.expect("-m discovery -t st -p ::1", f"[::1]:3260,1 {T1}\n")
        self.expect("-m discovery", "::1:3260 via sendtargets\n")

    def test_nonpersistent_writes_nothing(self):
        before = self.tree()
        self.expect("-m discovery -t st -p 10.0.0.1 -o nonpersistent", FLAT)
        self.assertEqual(self.tree(), before)

    def test_the_stored_record_is_used(self):
        self.run_adm("-m discoverydb -t st -p 10.0.0.1 -o new")
        self.run_adm("-m discoverydb -t st -p 10.0.0.1 -o update -n discovery.sendtargets.auth.username -v bob")
        self.expect("-m discoverydb -t st -p 10.0.0.1 -D", FLAT)
        self.expect("-m discovery -p 10.0.0.1 --discover", FLAT)
        for request in self.daemon.requests("discover"):
            self.assertEqual(request["discovery"]["values"]["discovery.sendtargets.auth.username"], "bob")
        self.expect("-m discovery -p 10.0.0.2 -D", err="Discovery record [10.0.0.2,3260] not found!", code=7)
        self.expect("-m discoverydb -t st -p 10.0.0.2 -D", FLAT)

    def test_discovering_again_keeps_what_people_set_and_drops_what_is_gone(self):
        self.run_adm("-m discovery -t st -p 10.0.0.1")
        self.run_adm(f"-m node -T {T1} -o update -n node.session.auth.password -v s3cret -n node.startup -v automatic")
        self.daemon.answers["discover"] = lambda _: discovered(found(T1, "10.0.0.1"))
        self.expect("-m discovery -t st -p 10.0.0.1", f"10.0.0.1:3260,1 {T1}\n")
        self.expect("-m node", f"10.0.0.1:3260,1 {T1}\n")
        self.expect(f"-m node -T {T1} -S", dumps.node(
            T1, source="10.0.0.1", source_port=3260, origin="send_targets", password="s3cret", startup="automatic"))

    def test_only_new_records_are_added_when_that_is_asked(self):
        self.run_adm("-m discovery -t st -p 10.0.0.1")
        self.daemon.answers["discover"] = lambda _: discovered(found(T1, "10.0.0.2"))
        self.expect("-m discovery -t st -p 10.0.0.1 -o new", f"10.0.0.2:3260,1 {T1}\n")
        self.expect("-m node", f"10.0.0.1:3260,1 {T1}\n10.0.0.2:3260,1 {T1}\n10.0.0.1:3260,1 {T2}\n")

    def test_interfaces(self):
        self.run_adm("-m iface -I if1 -o new")
        self.daemon.answers["discover"] = lambda request: discovered(*(
            found(target, "10.0.0.1", iface=iface["values"]["iface.iscsi_ifacename"])
            for iface in request["ifaces"] for target in (T1, T2)))
        self.expect("-m discovery -t st -p 10.0.0.1", FLAT)
        self.expect(f"-m node -I if1 -o show -T {T1}",
                    dumps.node(T1, source="10.0.0.1", source_port=3260, origin="send_targets", iface="if1"))
        self.expect("-m discovery -t st -p 10.0.0.1 -I if1 -I default", FLAT + FLAT)
        self.expect("-m discovery -t st -p 10.0.0.1 -I if1 -I default -P 1",
                    TREE.replace("Iface Name: default", "Iface Name: if1") + TREE)
        self.expect("-m node -P 1", "".join(
            f"Target: {target}\n" + "".join(
                f"\tPortal: 10.0.0.1:3260,1\n\t\tIface Name: {name}\n" for name in ("default", "if1"))
            for target in (T1, T2)))
        self.expect("-m discovery -t st -p 10.0.0.1 -I nope",
                    err="Could not read iface info for nope. Make sure an iface config with the file name and "
                        f"iface.iscsi_ifacename nope is in {self.config}/ifaces.", code=21)

    def test_each_interface_gets_what_it_found(self):
        for name in ("vlan1", "vlan2"):
            self.run_adm(f"-m iface -I {name} -o new")
        self.daemon.answers["discover"] = lambda _: discovered(
            found(T1, "10.1.0.1", iface="vlan1"), found(T1, "10.2.0.1", tpgt=2, iface="vlan2"))
        self.expect("-m discovery -t st -p 10.0.0.9", f"10.1.0.1:3260,1 {T1}\n10.2.0.1:3260,2 {T1}\n")
        self.expect("-m node -P 1", f"Target: {T1}\n\tPortal: 10.1.0.1:3260,1\n\t\tIface Name: vlan1\n"
                                    "\tPortal: 10.2.0.1:3260,2\n\t\tIface Name: vlan2\n")

    def test_the_discovery_record_keeps_what_was_set(self):
        discover, record = "-m discovery -t st -p 10.0.0.1", "-m discoverydb -t st -p 10.0.0.1"
        self.expect(discover, FLAT)
        self.expect(f"{record} -o update -n discovery.sendtargets.auth.password -v secretsecret12 "
                    "-n discovery.sendtargets.use_discoveryd -v Yes")
        kept = self.file("send_targets/10.0.0.1,3260/st_config")
        self.expect(discover, FLAT)
        self.expect(f"{discover} -o nonpersistent", FLAT)
        self.assertEqual(self.file("send_targets/10.0.0.1,3260/st_config"), kept)
        for request in self.daemon.requests("discover")[1:]:
            self.assertEqual(request["discovery"]["values"]["discovery.sendtargets.auth.password"], "secretsecret12")
        # What iscsid.conf sets goes before it, a secret that is mended there among it.
        for secret in ("wrong-secret-1", "other-secret-2"):
            self.configure(f"discovery.sendtargets.auth.password = {secret}\n")
            self.expect(discover, FLAT)
            values = self.daemon.requests("discover")[-1]["discovery"]["values"]
            self.assertEqual(values["discovery.sendtargets.auth.password"], secret)
            self.assertEqual(values["discovery.sendtargets.use_discoveryd"], "Yes")
        self.configure("iscsid.rediscovery = overwrite\n")
        self.expect(discover, FLAT)
        self.assertIn("discovery.sendtargets.use_discoveryd = No\n", self.file("send_targets/10.0.0.1,3260/st_config"))

    def test_discovery_with_login(self):
        _, out, err = self.run_adm("-m discovery -t st -p 10.0.0.1 -l")
        self.assertEqual(err, "")
        self.assertTrue(out.startswith(FLAT + "Logging in to [iface: default, "))
        self.assertEqual(out.count(" successful.\n"), 2)

    def test_discoverydb_shows_its_record_and_logs_in_only_with_what_it_discovers(self):
        self.run_adm("-m discoverydb -t st -p 10.0.0.1 -o new")
        shown = self.run_adm("-m discoverydb -t st -p 10.0.0.1")[1]
        self.assertIn("discovery.sendtargets.address = 10.0.0.1\n", shown)
        self.expect("-m discoverydb -t st -p 10.0.0.1 -l", shown)
        self.assertEqual(self.daemon.requests("discover") + self.daemon.requests("login"), [])
        self.run_adm("-m discoverydb -t st -p 10.0.0.1 -D -l")
        self.assertEqual(len(self.daemon.requests("discover")), 1)

    def test_a_portal_that_does_not_answer(self):
        tries = "cannot make connection to 10.0.0.2: Connection refused\n" * 6
        detail = tries + "connection login retries (reopen_max) 5 exceeded"
        self.daemon.answers["discover"] = lambda _: error(11, detail)
        self.expect("-m discovery -t st -p 10.0.0.2",
                    err=f"{detail}\nCould not perform SendTargets discovery: iSCSI PDU timed out", code=11)
        self.expect("-m discovery", "10.0.0.2:3260 via sendtargets\n")
        self.expect("-m node", err="No records found", code=21)

    def test_other_failures_give_their_number(self):
        for code, text in ((4, "encountered connection failure"), (24, "iSCSI login failed due to authorization failure"),
                           (13, "daemon access denied")):
            self.daemon.answers["discover"] = lambda _, code=code: error(code)
            advice = "\nTry: only root may have iscsid do that" if code == 13 else ""
            self.expect("-m discovery -t st -p 10.0.0.2",
                        err=f"Could not perform SendTargets discovery: {text}{advice}", code=code)

    def test_an_empty_answer_removes_nothing(self):
        self.run_adm("-m discovery -t st -p 10.0.0.1")
        self.daemon.answers["discover"] = lambda _: discovered()
        self.expect("-m discovery -t st -p 10.0.0.1", err="No portals found", code=21)
        self.expect("-m node", FLAT)

    def test_an_answer_that_names_a_path_is_not_stored(self):
        self.daemon.answers["discover"] = lambda _: discovered(found("../../../tmp/x", "10.0.0.1"))
        code, out, err = self.run_adm("-m discovery -t st -p 10.0.0.1")
        self.assertEqual((code, out, err.count("\n")), (7, "", 1), err)
        self.expect("-m node", err="No records found", code=21)

    def test_a_database_that_cannot_be_written_is_6_and_nothing_is_asked(self):
        with open(os.path.join(self.config, "send_targets"), "w", encoding="ascii"):
            pass
        before = self.tree()
        code, out, err = self.run_adm("-m discovery -t st -p 10.0.0.1")
        self.assertEqual((code, out, err.count("\n")), (6, "", 1), err)
        self.assertEqual((self.tree(), self.daemon.requests("discover")), (before, []))

    def test_deleting_the_record_deletes_what_came_from_it(self):
        self.run_adm("-m discovery -t st -p 10.0.0.1")
        self.expect("-m discoverydb -t st -p 10.0.0.1 -o delete")
        self.expect("-m node", err="No records found", code=21)


class NoDaemon(harness.CliTest):
    def test_discovery_ends_with_20(self):
        self.expect("-m discovery -t st -p 10.0.0.1",
                    err="can not connect to iSCSI daemon (111)!\n"
                        "Could not perform SendTargets discovery: could not connect to iscsid\n"
                        f"Try: {harness.NO_DAEMON}", code=20)


if __name__ == "__main__":
    harness.main()
