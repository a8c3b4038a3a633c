"""Iface mode. The expected text is open-iscsi's; a failed update ends with its code here, with 0 there."""

import os

import dumps
import harness
from harness import session

T1 = "iqn.2001-04.com.example:t1"
BUILT_IN = "default tcp,<empty>,<empty>,<empty>,<empty>\niser iser,<empty>,<empty>,<empty>,<empty>\n"


class Iface(harness.CliTest):
    def new(self, name):
        self.expect(["-m", "iface", "-I", name, "-o", "new"], f"{name} updated.\nNew interface {name} added\n")

    def test_the_built_in_ones(self):
        self.expect("-m iface", BUILT_IN)
        self.expect("-m iface -o show", BUILT_IN)
        self.expect("-m iface -P 1")
        self.expect("-m iface -P 2", err="Invalid info level 2. Try 0 - 1.", code=7)
        self.expect("-m iface -I default", dumps.iface("default"))
        self.expect("-m iface -I default -P 2", err="Invalid info level 2. Try 0 - 1.", code=7)
        self.expect("-m iface -I default -o update -n iface.mtu -v 3",
                    err="iface default is a special interface and cannot be modified.\n"
                        "Could not update iface default: invalid parameter", code=7)
        self.expect("-m iface -I default -o delete",
                    err="iface default is a special interface and cannot be deleted.\n"
                        "Could not delete iface default: invalid parameter", code=7)
        self.expect("-m iface -I default -o apply", "default applied.\n", "Nothing to configure.")

    def test_new_update_and_show(self):
        self.new("if1")
        self.expect("-m iface -I if1", dumps.iface("if1"))
        self.expect("-m iface -I if1 -o update -n iface.net_ifacename -v lo", "if1 updated.\n")
        self.expect("-m iface -I if1 -o update -n iface.initiatorname -v iqn.2001-04.com.example:y", "if1 updated.\n")
        self.new("if1")
        self.expect("-m iface -I if1 -o show", dumps.iface("if1", "lo", "iqn.2001-04.com.example:y"))
        self.expect("-m iface", "if1 tcp,<empty>,<empty>,lo,iqn.2001-04.com.example:y\n" + BUILT_IN)

    def test_names_that_kubernetes_gives(self):
        self.new("10.0.0.1:3260:vol")
        self.expect("-m iface -I 10.0.0.1:3260:vol -o show", dumps.iface("10.0.0.1:3260:vol"))

    def test_an_update_that_is_refused_changes_nothing(self):
        self.new("if1")
        self.run_adm("-m iface -I if1 -o update -n iface.net_ifacename -v lo")
        before = self.tree()
        self.expect("-m iface -I if1 -o update -n iface.hwaddress -v 00:11:22:33:44:55",
                    err="Can not update interface binding from net_ifacename to hwaddress. You must delete the interface "
                        "and create a new one\nCould not update iface if1: invalid parameter", code=7)
        self.expect("-m iface -I if1 -o update -n iface.bogus -v 3",
                    err="Cannot modify iface.bogus. Invalid param name.\nCould not update iface if1: invalid parameter",
                    code=7)
        self.expect("-m iface -I if1 -o update", err="Update requires name, value, and iface.", code=7)
        self.assertEqual(self.tree(), before)

    def test_the_word_default_binds_to_nothing(self):
        self.new("if1")
        for key, value in (("hwaddress", "default"), ("net_ifacename", "lo"), ("net_ifacename", "default"),
                           ("hwaddress", "00:11:22:33:44:55")):
            self.expect(f"-m iface -I if1 -o update -n iface.{key} -v {value}", "if1 updated.\n")
        self.assertEqual(self.run_adm("-m iface -I if1 -o update -n iface.net_ifacename -v lo")[0], 7)

    def test_what_is_not_there(self):
        self.expect("-m iface -I nope", err="Could not read iface info for nope.", code=6)
        self.expect("-m iface -I nope -o delete", code=7, err="Could not read iface info for nope.\n"
                                                              "Could not delete iface nope: invalid parameter")
        self.expect("-m iface -C ping -a 1.1.1.1", err="Ping requires iface.", code=7)
        self.expect("-m iface -C ping -I default -a 1.1.1.1", err="ping: operation not supported", code=27)

    def test_a_name_that_is_none_changes_nothing(self):
        before = self.tree()
        for name in ("", "x" * 65):
            self.expect(["-m", "iface", "-I", name, "-o", "new"], code=7,
                        out=f"Invalid iface name {name}. Must be from 1 to 64 characters.\n")
        for name in ("../x", "a/b", ".hidden"):
            code, out, err = self.run_adm(["-m", "iface", "-I", name, "-o", "new"])
            self.assertEqual((code, out, err.count("\n")), (7, "", 2), (name, err))
            self.assertTrue(err.endswith(f"iscsiadm: Could not create new interface {name}.\n"), err)
        self.assertEqual(self.tree(), before)

    def test_records_follow_their_interface(self):
        self.new("if1")
        self.run_adm(f"-m node -T {T1} -p 10.0.0.1,1 -I if1 -o new")
        self.run_adm("-m iface -I if1 -o update -n iface.net_ifacename -v lo")
        self.expect(f"-m node -T {T1}", dumps.node(T1, iface="if1", net="lo"))
        self.expect("-m iface -P 1", f"Iface: if1\n\tTarget: {T1}\n\t\tPortal: 10.0.0.1:3260,1\n"
                                     "Iface: default\nIface: iser\n")
        self.expect("-m iface -I if1 -o delete", "if1 unbound and deleted.\n")
        self.expect("-m node", err="No records found", code=21)

    def test_an_interface_in_use_is_not_deleted(self):
        self.new("if1")
        self.run_adm(f"-m node -T {T1} -p 10.0.0.1,1 -I if1 -o new")
        self.start_daemon().sessions = [session(1, T1, "10.0.0.1", iface="if1")]
        self.expect("-m iface -I if1 -o delete", code=15,
                    err=f"This command will remove the record [iface: if1, target: {T1}, portal: 10.0.0.1,3260], but a session "
                        "is using it. Logout session then rerun command to remove record.\n"
                        "Could not delete iface if1: session exists")
        self.expect("-m node", f"10.0.0.1:3260,1 {T1}\n")
        # Not even of what cannot be deleted anyway is another thing said.
        self.run_adm(f"-m node -T {T1} -p 10.0.0.1,1 -o new")
        self.daemon.sessions = [session(1, T1, "10.0.0.1")]
        self.assertEqual(self.run_adm("-m iface -I default -o delete")[0], 15)

    def test_transports_that_nobody_has_are_refused_and_others_stored(self):
        self.new("if1")
        for word in ("iser", "bnx2i", "cxgb3i", "cxgb4i", "be2iscsi", "qla4xxx", "qedi", "ocs", "tcp"):
            self.expect(f"-m iface -I if1 -o update -n iface.transport_name -v {word}", "if1 updated.\n")
        code, out, err = self.run_adm("-m iface -I if1 -o update -n iface.transport_name -v bogus")
        self.assertEqual((code, out), (7, ""))
        self.assertIn("'bogus' for parameter name 'iface.transport_name'; allowed is tcp, iser", err)
        # What a file says is not taken for another word.
        with open(os.path.join(self.config, "ifaces/if1"), "a", encoding="ascii") as stream:
            stream.write("iface.transport_name = bogus\n")
        self.assertIn("if1 bogus,", self.run_adm("-m iface")[1])

    def test_why_an_interface_cannot_be_read_is_told(self):
        os.makedirs(os.path.join(self.config, "ifaces/if1"))
        for command, code in (("-m iface -I if1", 6), ("-m iface -I if1 -o delete", 7), ("-m node -I if1", 3)):
            got, out, err = self.run_adm(command)
            self.assertEqual((got, out), (code, ""), command)
            self.assertRegex(err, r"^iscsiadm: .*ifaces/if1: .*\niscsiadm: Could not read iface info for if1[.]\n")


if __name__ == "__main__":
    harness.main()
