"""Boot firmware: mode fw and discoveries of type fw, over folders that are what a kernel shows. That the same is printed as
by Debian's program is tools/firmware_test.py's business."""

import os
import subprocess

import firmware
import harness
from harness import error, session

NONE = "Could not get list of targets from firmware"
DISK0, DISK1 = "iqn.2020-01.org.example:disk0", "iqn.2020-01.org.example:disk1"
PRINTED = f"""# BEGIN RECORD 2.1.8
iface.initiatorname = {firmware.INITIATOR}
iface.transport_name = tcp
iface.hwaddress = 52:54:00:12:34:10
iface.bootproto = DHCP
iface.ipaddress = 10.1.0.2
iface.prefix_len = 24
iface.subnet_mask = 255.255.255.0
iface.gateway = 10.1.0.1
iface.primary_dns = 10.1.0.53
iface.secondary_dns = 10.1.0.54
iface.vlan_id = 0
node.name = {DISK0}
node.conn[0].address = 10.1.0.9
node.conn[0].port = 3260
node.boot_lun = 00000000
# END RECORD
"""
BOOT_PATH = ("/pci@800000020000003/ethernet@1:iscsi,ciaddr=192.0.2.7,subnet-mask=255.255.255.0,giaddr=192.0.2.1,"
             f"itname={firmware.INITIATOR},siaddr=192.0.2.9,iport=3261,iname={DISK0},ilun=0,ichapid=me,"
             "ichappw=my-secret-12\0")


class Fw(harness.CliTest):
    def lay(self, files):
        firmware.lay(self.root, files)

    def lay_tree(self, path=BOOT_PATH, mac=bytes.fromhex("020000000001"), place="sys/firmware/devicetree/base"):
        for name, content in (("chosen/bootpath", path.encode()), ("pci@800000020000003/ethernet@1/local-mac-address", mac)):
            name = os.path.join(self.root, place, name)
            os.makedirs(os.path.dirname(name), exist_ok=True)
            with open(name, "wb") as file:
                file.write(content)

    def logins(self):
        return [request["node"]["values"] for request in self.daemon.requests("login")]

    def test_targets_are_printed(self):
        self.lay(firmware.table())
        self.expect("-m fw", PRINTED)
        self.expect("-m fw -n node.startup -v manual", PRINTED)

    def test_every_target_is_printed_in_the_order_of_the_tables(self):
        self.lay(firmware.table(nics=12, targets=12))
        self.lay(firmware.table("iscsi_boot1", target0__target_name="iqn.2020-01.org.example:adapter"))
        _, out, _ = self.run_adm("-m fw")
        names = [line.split(" = ")[1] for line in out.splitlines() if line.startswith("node.name")]
        self.assertEqual(names, [f"iqn.2020-01.org.example:disk{i}" for i in range(12)] + ["iqn.2020-01.org.example:adapter"])

    def test_the_document_has_the_same(self):
        self.lay(firmware.table(**firmware.MUTUAL))
        node, = self.run_json("-m fw")["nodes"]
        self.assertEqual((node["target"], node["address"], node["port"]), (DISK0, "10.1.0.9", 3260))
        self.assertEqual(node["values"]["iface.hwaddress"], "52:54:00:12:34:10")
        self.assertEqual(node["values"]["node.session.auth.password_in"], "your-secret-12")

    def run_json(self, command):
        code, out, err = self.run_adm(command + " -j")
        self.assertEqual((code, err), (0, ""))
        return harness.json.loads(out)

    def test_what_cannot_be_used_is_one_line_and_nothing_is_written(self):
        self.start_daemon()
        for why, files in firmware.BAD.items():
            self.setUp_again()
            self.lay(files)
            before = self.tree()
            for command in ("-m fw", "-m fw -l", "-m discovery -t fw", "-m discovery -t fw -l", "-m discoverydb -t fw -D"):
                with self.subTest(why=why, command=command):
                    self.expect(command, err=f"{NONE}: {firmware.TARGET0}{why}. (err 21)", code=21)
            self.assertEqual(self.tree(), before)
        self.assertEqual(self.daemon.requests("login"), [])

    def setUp_again(self):
        harness.shutil.rmtree(os.path.join(self.root, "sys"), ignore_errors=True)

    def test_the_rest_of_a_table_is_used_but_not_stored(self):
        self.start_daemon()
        self.lay(firmware.table(nics=2, targets=2, target1__target_name=None))
        unusable = "ibft: target1: target-name is missing."
        self.expect("-m fw", PRINTED, f"Not every target of the firmware can be used: {unusable}")
        before = self.tree()
        self.expect("-m discovery -t fw", err="Nothing is stored, because not every target of the firmware can be used: "
                                              f"{unusable}", code=7)
        self.assertEqual(self.tree(), before)
        self.assertEqual(self.run_adm("-m fw -l")[0], 0)
        self.assertEqual([node["node.name"] for node in self.logins()], [DISK0])

    def test_many_that_cannot_be_used_are_one_line(self):
        self.lay(firmware.table(targets=300, ethernet0__mac="x"))
        code, out, err = self.run_adm("-m fw")
        self.assertEqual((code, out, err.count("\n")), (21, "", 1))
        self.assertIn("mac is 'x', and 254 more. (err 21)", err)

    def test_memory_is_bounded_whatever_is_there(self):
        self.lay({f"ibft/target{i}/target-name": "x" * 100000 for i in range(600)})
        self.lay({"iscsi_boot0/initiator/initiator-name": "y" * 3000000})
        for name in ("ethernet0/mac", "target0/flags"):  # no file, and one that would never end
            os.makedirs(os.path.join(self.root, "sys/firmware/ibft", name), exist_ok=True)
        os.mkfifo(os.path.join(self.root, "sys/firmware/ibft/target1/flags"))
        code, said, most = self.run_measured("-m", "fw")
        self.assertEqual((code, said.count(b"\n")), (21, 1))
        self.setUp_again()
        code, _, usual = self.run_measured("-m", "fw")
        self.assertEqual(code, 22)
        self.assertLess(most - usual, 32 << 10)

    def run_measured(self, *words):
        """(exit code, all that it says, the most memory that it had: KiB)"""
        with subprocess.Popen(["iscsiadm", *words], executable=harness.ISCSIADM, env=dict(os.environ, ISCSI_ROOT=self.root),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            said = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, said, usage.ru_maxrss

    def test_a_login_waits_as_a_boot_needs_it_and_stores_nothing(self):
        self.start_daemon()
        self.lay(firmware.table(**firmware.MUTUAL))
        before = self.tree()
        title = f"[iface: default, target: {DISK0}, portal: 10.1.0.9,3260]"
        self.expect("-m fw -l", f"Logging in to {title}\nLogin to {title} successful.\n"
                                "\tAttached [lun: 1, device: /dev/ublkb0]\n")
        node, = self.logins()
        for key, value in {
            "node.startup": "onboot", "node.conn[0].startup": "onboot", "node.discovery_type": "fw", "node.tpgt": "1",
            "iface.initiatorname": firmware.INITIATOR, "node.session.initial_login_retry_max": "30",
            "node.conn[0].timeo.noop_out_interval": "0", "node.conn[0].timeo.noop_out_timeout": "0",
            "node.session.auth.authmethod": "CHAP", "node.session.auth.username": "me",
            "node.session.auth.password": "my-secret-12", "node.session.auth.username_in": "you",
            "node.session.auth.password_in": "your-secret-12", "node.conn[0].timeo.login_timeout": "15",
        }.items():
            self.assertEqual(node.get(key), value, key)
        self.assertEqual(self.tree(), before)

    def test_values_of_the_command_line_go_before_those_of_a_boot(self):
        self.start_daemon()
        self.lay(firmware.table(nics=2, targets=2))
        code, out, _ = self.run_adm("-m fw -l -W -n node.session.initial_login_retry_max -v 3 "
                                    "-n node.conn[0].timeo.noop_out_interval -v 7")
        self.assertEqual((code, out.count("Logging in to")), (0, 2))
        for node in self.logins():
            self.assertEqual((node["node.session.initial_login_retry_max"], node["node.conn[0].timeo.noop_out_interval"],
                              node["node.conn[0].timeo.noop_out_timeout"]), ("3", "7", "0"))

    def test_values_that_are_none_are_refused(self):
        self.start_daemon()
        self.lay(firmware.table())
        self.expect("-m fw -l -n bogus -v x", err="Unknown parameter bogus.\nCould not merge user params", code=7)
        code, _, err = self.run_adm("-m fw -l -n node.session.queue_depth -v many")
        self.assertEqual((code, err.splitlines()[-1]), (7, "iscsiadm: Could not merge user params"))
        self.assertEqual(self.logins(), [])

    def test_a_login_that_fails_is_the_exit_code_and_a_session_that_is_there_is_none(self):
        self.start_daemon()
        self.lay(firmware.table(nics=2, targets=2))
        self.daemon.answers["login"] = lambda request: error(15 if "disk0" in request["node"]["values"]["node.name"] else 8)
        code, _, err = self.run_adm("-m fw -l")
        self.assertEqual((code, err), (8, f"iscsiadm: Could not login to [iface: default, target: {DISK1}, "
                                          "portal: 10.1.1.9,3260].\niscsiadm: initiator reported error (8 - connection "
                                          "timed out)\n"))
        self.daemon.sessions = [session(i + 1, target, f"10.1.{i}.9") for i, target in enumerate((DISK0, DISK1))]
        self.daemon.seen.clear()
        self.expect("-m fw -l")
        self.assertEqual(self.logins(), [])

    def test_a_discovery_makes_records_that_start_on_boot(self):
        self.start_daemon()
        self.lay(firmware.table(nics=2, targets=2))
        found = f"10.1.0.9:3260,1 {DISK0}\n10.1.1.9:3260,1 {DISK1}\n"
        tree = "".join(f"Target: {target}\n\tPortal: 10.1.{i}.9:3260,1\n\t\tIface Name: default\n"
                       for i, target in enumerate((DISK0, DISK1)))
        self.expect("-m discovery -t fw -o nonpersistent", found)
        self.expect("-m node", err="No records found", code=21)
        self.expect("-m discoverydb -t fw", err="Invalid command. Possibly missing --discover argument.", code=7)
        self.expect("-m discovery -t fw", found)
        self.expect("-m discoverydb -t fw -D -P 1", tree)
        self.expect("-m node", found)
        none = "No targets found.\n"
        self.expect("-m discovery -P 1", f"SENDTARGETS:\n{none}iSNS:\n{none}STATIC:\n{none}FIRMWARE:\n{tree}")
        record = self.file(f"nodes/{DISK0}/10.1.0.9,3260,1/default")
        for line in ("node.startup = onboot", "node.conn[0].startup = onboot", "node.discovery_type = fw",
                     f"iface.initiatorname = {firmware.INITIATOR}", "node.session.initial_login_retry_max = 8"):
            self.assertIn(f"\n{line}\n", record)

    def test_records_that_start_on_boot_are_left_alone_by_the_others(self):
        self.start_daemon()
        self.lay(firmware.table())
        self.assertEqual(self.run_adm("-m discovery -t fw")[0], 0)
        for words in ("-L automatic", "-L manual"):
            self.expect(f"-m node {words}", err="No records found", code=21)
        self.assertEqual(self.run_adm("-m node -L onboot")[0], 0)
        self.assertEqual([node["node.name"] for node in self.logins()], [DISK0])
        self.daemon.sessions = [session(1, DISK0, "10.1.0.9")]
        for words in ("-U all", "-U automatic", "-U manual"):
            self.expect(f"-m node {words}", err="No matching sessions found", code=21)
        self.assertEqual(self.daemon.requests("logout"), [])

    def test_a_discovery_keeps_what_people_set_and_takes_away_what_is_not_named_any_more(self):
        self.lay(firmware.table(nics=2, targets=2))
        self.start_daemon()
        self.run_adm("-m discovery -t fw")
        self.run_adm(f"-m node -T {DISK0} -o update -n node.session.queue_depth -v 64")
        self.setUp_again()
        self.lay(firmware.table(**firmware.ONE_WAY))
        self.expect("-m discovery -t fw -o update", f"10.1.0.9:3260,1 {DISK0}\n")
        self.assertIn(DISK1, self.run_adm("-m node")[1])
        self.expect("-m discovery -t fw", f"10.1.0.9:3260,1 {DISK0}\n")
        self.expect("-m node", f"10.1.0.9:3260,1 {DISK0}\n")
        record = self.file(f"nodes/{DISK0}/10.1.0.9,3260,1/default")
        self.assertIn("node.session.queue_depth = 64\n", record)
        self.assertIn("node.session.auth.password = my-secret-12\n", record)
        with open(os.path.join(self.config, "iscsid.conf"), "a", encoding="ascii") as conf:
            conf.write("iscsid.rediscovery = overwrite\n")
        self.run_adm("-m discovery -t fw")
        self.assertIn("node.session.queue_depth = 32\n", self.file(f"nodes/{DISK0}/10.1.0.9,3260,1/default"))

    def found_by_firmware(self, address, config=""):
        """What is stored after a discovery whose table has this address: (list, record)."""
        with open(os.path.join(self.config, "iscsid.conf"), "w", encoding="ascii") as conf:
            conf.write(config)
        self.lay(firmware.table(**{**firmware.IPV6, "target0__ip_addr": address}, **firmware.ONE_WAY))
        self.assertEqual(self.run_adm("-m discovery -t fw -l")[0], 0)
        return self.run_adm("-m node")[1], self.run_adm(f"-m node -T {DISK0} -S")[1]

    def test_a_record_is_the_targets_whatever_its_tag_and_the_spelling_of_its_address(self):
        """A firmware's update writes addresses in another way; a discovery has learned the portal's tag."""
        self.start_daemon()
        brief, full = "2001:db8::9", firmware.IPV6["target0__ip_addr"]
        self.daemon.answers["discover"] = lambda _: harness.discovered(harness.found(DISK0, brief, tpgt=2))
        for ask in ("", "-m discovery -t st -p [2001:db8::9]"):
            with self.subTest(ask=ask):
                self.found_by_firmware(brief)
                if ask:
                    self.assertEqual(self.run_adm(ask)[0], 0)
                self.run_adm(f"-m node -T {DISK0} -o update -n node.session.queue_depth -v 64")
                before = f"[{brief}]:3260,{2 if ask else 1} {DISK0}\n"
                self.assertEqual(self.run_adm("-m node")[1], before)
                self.daemon.seen.clear()
                listed, record = self.found_by_firmware(full)
                self.assertEqual(listed, before)
                self.assertIn("node.session.queue_depth = 64\n", record)
                self.assertIn("node.session.auth.password = my-secret-12\n", record)
                self.assertEqual([node["node.session.queue_depth"] for node in self.logins()], ["64"])
                listed, record = self.found_by_firmware(full, "iscsid.rediscovery = overwrite\n")
                self.assertEqual(listed, before.replace(brief, full))
                self.assertIn("node.session.queue_depth = 32\n", record)
                self.run_adm("-m node -o delete")

    def test_a_discovery_logs_in_with_what_it_stored(self):
        self.start_daemon()
        self.lay(firmware.table())
        self.assertEqual(self.run_adm("-m discovery -t fw -l")[0], 0)
        self.assertEqual(self.run_adm("-m discoverydb -t fw -D -l -o nonpersistent")[0], 0)
        for node in self.logins():
            self.assertEqual((node["node.session.initial_login_retry_max"], node["node.startup"]), ("8", "onboot"))

    def test_open_firmware(self):
        wanted = (f"# BEGIN RECORD 2.1.8\niface.initiatorname = {firmware.INITIATOR}\niface.transport_name = tcp\n"
                  "iface.hwaddress = 02:00:00:00:00:01\niface.bootproto = STATIC\niface.ipaddress = 192.0.2.7\n"
                  "iface.subnet_mask = 255.255.255.0\niface.gateway = 192.0.2.1\n"
                  f"node.name = {DISK0}\nnode.conn[0].address = 192.0.2.9\nnode.conn[0].port = 3261\n"
                  "node.session.auth.username = me\nnode.session.auth.password = my-secret-12\nnode.boot_lun = 0\n"
                  "# END RECORD\n")
        self.lay_tree()
        self.expect("-m fw", wanted)
        self.setUp_again()
        self.lay({})
        self.lay_tree(place="proc/device-tree", path=BOOT_PATH.replace(":iscsi,", ":iscsi,bootp,"),
                      mac=bytes(2) + bytes.fromhex("020000000001"))
        self.expect("-m fw", wanted.replace("STATIC", "DHCP"))

    def test_other_boot_paths_are_no_targets_and_broken_ones_are_told(self):
        for path in ("/pci@1/scsi@2/disk@0:2", "", "\0", "/pci@800000020000003/ethernet@1:bootp,dhcp=10.0.0.1"):
            self.lay_tree(path=path)
            self.expect("-m fw", err=f"{NONE}. (err 21)", code=21)
        for path, why in ((BOOT_PATH[:120], "iname is missing"), (BOOT_PATH.replace("iport=3261", "iport=zz"), "iport is 'zz'"),
                          (BOOT_PATH.replace("ethernet@1", "../ethernet@1"), "mac is missing"),
                          (BOOT_PATH + "x" * 5000, "has more than a page")):
            self.lay_tree(path=path)
            self.expect("-m fw", err=f"{NONE}: chosen/bootpath: {why}. (err 21)", code=21)


if __name__ == "__main__":
    harness.main()
