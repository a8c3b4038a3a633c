"""iscsistart with the tables of boot firmware: what it prints, which sessions it asks for, the network that it sets up (in a
network namespace of its own); and beside Debian's programs what both print, and store, of the same tables."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import tools
import firmware  # of tests/cli, which tools has made known
import harness

DISK0, DISK1 = "iqn.2020-01.org.example:disk0", "iqn.2020-01.org.example:disk1"
NOBODY = "Could not get list of targets from firmware"
# Two interfaces of the names and addresses of firmware.table(), each with somebody at its other end.
WIRES = "".join(f"ip link add eth{i} address {firmware.SUITED}1{i} type veth peer name far{i}\nip link set far{i} up\n"
                for i in range(2))


class FirmwareTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="iscsi-firmware-")
        for folder in ("etc/iscsi", "run"):
            os.makedirs(os.path.join(self.root, folder))
        self.daemon = None

    def tearDown(self):
        if self.daemon:
            self.daemon.close()
        shutil.rmtree(self.root)

    def lay(self, files):
        shutil.rmtree(os.path.join(self.root, "sys"), ignore_errors=True)
        firmware.lay(self.root, files)

    def run_ours(self, number, *words):
        return tools.run(("iscsistart", "iscsiadm")[number], *words, executable=tools.PROGRAMS[number],
                         env={"ISCSI_ROOT": self.root})

    def start(self, *words):
        return self.run_ours(0, *words)


class Start(FirmwareTest):
    def test_without_tables_each_says_so(self):
        said = {"-f": NOBODY, "-b": "Could not get boot entry", "-N": "Could not setup fw entries"}
        for word, what in said.items():
            self.assertEqual(self.start(word), (22, what + ".\n", ""))
        self.lay({})
        for word, what in said.items():
            self.assertEqual(self.start(word), (21, what + ".\n", ""))
        self.lay(firmware.table(target0__ip_addr=None))
        for word, what in said.items():
            self.assertEqual(self.start(word), (21, f"{what}: ibft: target0: ip-addr is missing.\n", ""))

    def test_f_prints_what_iscsiadm_prints(self):
        for name, files in firmware.SANE.items():
            self.lay(files)
            code, out, _ = self.run_ours(1, "-m", "fw")
            self.assertEqual(self.start("-f"), (code, out or NOBODY + ".\n", ""), name)

    def asked(self, *words, code=0):
        """The node records of the logins that a command line leads to."""
        self.daemon = self.daemon or harness.FakeDaemon(self.root)
        self.daemon.seen.clear()
        done = self.start(*words)
        self.assertEqual(done[0], code, done)
        return [request["node"]["values"] for request in self.daemon.requests("login")]

    def test_b_asks_for_a_session_of_every_target(self):
        with open(os.path.join(self.root, "etc/iscsi/iscsid.conf"), "w", encoding="ascii") as file:
            file.write("node.session.queue_depth = 64\nnode.session.initial_login_retry_max = 2\n")
        self.lay(firmware.table(nics=2, targets=2, **firmware.MUTUAL))
        first, second = self.asked("-b", "-P", "node.session.timeo.replacement_timeout=86400")
        for key, value in {
            "node.name": DISK0, "node.conn[0].address": "10.1.0.9", "node.startup": "onboot", "node.discovery_type": "fw",
            "iface.initiatorname": firmware.INITIATOR, "node.session.queue_depth": "64",
            "node.session.initial_login_retry_max": "30", "node.conn[0].timeo.noop_out_interval": "0",
            "node.conn[0].timeo.noop_out_timeout": "0", "node.session.timeo.replacement_timeout": "86400",
            "node.session.auth.authmethod": "CHAP", "node.session.auth.username": "me",
            "node.session.auth.password": "my-secret-12", "node.session.auth.username_in": "you",
            "node.session.auth.password_in": "your-secret-12",
        }.items():
            self.assertEqual(first.get(key), value, key)
        self.assertEqual((second["node.name"], second["node.conn[0].address"]), (DISK1, "10.1.1.9"))
        self.assertNotIn("node.session.auth.username", second)
        self.assertEqual(os.listdir(os.path.join(self.root, "etc/iscsi")), ["iscsid.conf"])

    def test_b_is_content_with_one_session(self):
        self.lay(firmware.table(nics=2, targets=2))
        self.daemon = harness.FakeDaemon(self.root)
        self.daemon.answers["login"] = lambda request: harness.error(8) if DISK0 in str(request) else harness.error(15)
        self.assertEqual(len(self.asked("-b")), 2)
        self.daemon.answers["login"] = lambda _: harness.error(8)
        self.asked("-b", code=1)
        self.assertEqual(self.start("-b", "-P", "node.name=x")[::2], (7, "iscsistart: Unknown parameter node.name.\n"))

    def test_b_waits_for_the_others_no_longer_than_one_try_when_there_is_a_session(self):
        self.lay(firmware.table(nics=3, targets=3))
        self.daemon = harness.FakeDaemon(self.root)
        self.daemon.silent = lambda request: DISK0 in str(request)
        self.daemon.answers["login"] = lambda request: harness.error(8) if DISK1 in str(request) else harness.error(15)
        code, out, err = self.start("-b", "-P", "node.conn[0].timeo.login_timeout=1")
        self.assertEqual((code, out.count("there is a session with ")), (0, 1))
        self.assertEqual(err.splitlines(), ["iscsistart: initiator reported error (8 - connection timed out)",
                                            f"iscsistart: no session with {DISK0} 10.1.0.9:3260,1 yet: iscsid goes on trying"])

    def network(self, files, script, code=0, wires=WIRES):
        """What `script` prints after -N in a network namespace, and what -N has said on stderr."""
        self.lay(files)
        done = subprocess.run(["unshare", "--net", "sh", "-ec", f"{wires}code=0; '{tools.PROGRAMS[0]}' -N || code=$?\n"
                               f"[ $code = {code} ]\n{script}"], capture_output=True, text=True, check=False, timeout=60,
                              env=dict(os.environ, ISCSI_ROOT=self.root, LC_ALL="C"))
        if done.returncode != 0 and "unshare" in done.stderr:
            self.skipTest(done.stderr.strip())
        self.assertEqual(done.returncode, 0, done)
        return done.stdout, done.stderr

    def state(self, device):
        with open(os.path.join(self.root, f"run/net-{device}.conf"), encoding="ascii") as file:
            return dict(line.rstrip("\n").split("=", 1) for line in file)

    def test_n_gives_the_interface_its_address_and_its_way_out(self):
        files = firmware.table(target0__ip_addr="10.9.0.9")
        script = "ip -o -4 address show; ip route; ip -br link show eth1 | cut -d ' ' -f 1; ip link show up | grep -o eth0"
        out, err = self.network(files, script)
        self.assertEqual(err, "")
        self.assertIn("Setting up software interface eth0\n", out)
        for line in ("inet 10.1.0.2/24", "default via 10.1.0.1 dev eth0", "10.9.0.9 via 10.1.0.1 dev eth0", "\neth0"):
            self.assertIn(line, out)
        self.assertNotIn("inet 10.1.1.2", out)
        state = self.state("eth0")
        for key, value in {"DEVICE": "eth0", "PROTO": "none", "IPV4ADDR": "10.1.0.2", "IPV4NETMASK": "255.255.255.0",
                           "IPV4GATEWAY": "10.1.0.1", "IPV4DNS0": "10.1.0.53", "IPV4DNS1": "10.1.0.54"}.items():
            self.assertEqual(state[key], f"'{value}'")

    def test_n_sets_up_every_interface_and_finds_all_as_it_is_when_it_comes_again(self):
        files = firmware.table(nics=2, targets=2, ethernet1__prefix_len=None)
        out, err = self.network(files, f"ISCSI_ROOT={self.root} '{tools.PROGRAMS[0]}' -N; ip -o -4 address show; ip route")
        self.assertEqual(err, "")
        self.assertEqual(out.count("Setting up software interface eth1\n"), 2)
        for line in ("inet 10.1.0.2/24", "inet 10.1.1.2/24", "default via 10.1.0.1"):
            self.assertEqual(out.count(line), 1, out)

    def test_n_knows_ipv6(self):
        out, err = self.network(firmware.table(**firmware.IPV6), "ip -o -6 address show dev eth0; ip -6 route")
        self.assertEqual(err, "")
        self.assertIn("2001:db8::2/64", out)
        self.assertNotIn("tentative", out.split("2001:db8::2/64")[1].splitlines()[0])
        self.assertIn("default via 2001:db8::1 dev eth0", out)

    def test_n_refuses_a_name_that_a_shell_would_act_on(self):
        """An interface is found by its address: what it is called is not in the table. initramfs-tools sources the file."""
        out, err = self.network(firmware.table(nics=2, targets=2), "true", code=1,
                                wires=WIRES + "ip link set eth0 name \"x';id;'\"\n")
        self.assertIn("Setting up software interface eth1\n", out)
        self.assertEqual(err, "iscsistart: the interface's name is 'x';id;''\n")
        self.assertEqual(os.listdir(os.path.join(self.root, "run")), ["net-eth1.conf"])

    def test_n_follows_no_link_to_write_what_it_did(self):
        other = os.path.join(self.root, "other")
        os.symlink(other, os.path.join(self.root, "run/net-eth0.conf"))
        out, err = self.network(firmware.table(), "", code=1)
        self.assertIn("Setting up software interface eth0 failed\n", out)
        self.assertIn("run/net-eth0.conf: ", err)
        self.assertFalse(os.path.exists(other))

    def test_n_tells_what_is_missing_and_goes_on(self):
        for changes, why in (({"ethernet0__mac": "02:00:00:00:00:99"}, "no interface has the address 02:00:00:00:00:99"),
                             ({"ethernet0__ip_addr": "0.0.0.0"}, "the firmware has no address for eth0"),
                             ({"ethernet0__prefix_len": None, "ethernet0__subnet_mask": "255.0.255.0"},
                              "the firmware has no network mask for eth0")):
            out, err = self.network(firmware.table(nics=2, targets=2, **changes), "ip -o -4 address show", code=1)
            self.assertEqual(err, f"iscsistart: {why}\n")
            self.assertIn(" failed\nSetting up software interface eth1\n", out)
            self.assertIn("inet 10.1.1.2/24", out)
            self.assertNotIn("inet 10.1.0.2", out)


class Beside(FirmwareTest):
    """A test with "debian" in its name."""

    def theirs(self, program, *words, more=""):
        """Debian's program where /sys/firmware is the folder; `more` is a shell's words after it."""
        folder = tools.debian()
        libraries = ":".join(place for place, _, files in os.walk(folder) if any("libopeniscsiusr" in f for f in files))
        # Its /etc and /run are its own, and gone with it.
        inside = ('mount -t tmpfs none /etc && mkdir -p /etc/iscsi && mount -t tmpfs none /run && mkdir /run/lock && '
                  'echo "InitiatorName=iqn.2020-01.org.example:file" >/etc/iscsi/initiatorname.iscsi && '
                  f'mount --bind "{self.root}/sys/firmware" /sys/firmware || exit 99; "$@"; code=$?; {more}\nexit $code')
        done = subprocess.run(["unshare", "--mount", "--net", "env", f"LD_LIBRARY_PATH={libraries}", "sh", "-c", inside, "sh",
                               os.path.join(folder, "sbin", program), *words], capture_output=True, text=True, check=False,
                              timeout=60, stdin=subprocess.DEVNULL)
        if "unshare" in done.stderr or done.returncode == 99:
            self.skipTest(done.stderr.strip())
        return done.returncode, done.stdout, done.stderr

    def test_debians_programs_print_the_same(self):
        for name, files in firmware.SANE.items():
            self.lay(files)
            with self.subTest(table=name):
                self.assertEqual(self.run_ours(1, "-m", "fw"), self.theirs("iscsiadm", "-m", "fw"))
                self.assertEqual(self.start("-f"), self.theirs("iscsistart", "-f"))

    def test_debians_iscsiadm_stores_the_same(self):
        """Its second time: the first leaves node.startup at manual (the difference `firmware-records`)."""
        show = "cd /etc/iscsi && find fw nodes | sort && cat nodes/*/*/default"
        for name in ("one", "IPv6", "no initiator name"):
            self.lay(firmware.SANE[name])
            with self.subTest(table=name):
                code, out, _ = self.theirs("iscsiadm", "-m", "discovery", "-t", "fw", more=f'"$@" >/dev/null && {show}')
                self.assertEqual(code, 0)
                shutil.rmtree(os.path.join(self.root, "etc/iscsi"))
                os.makedirs(os.path.join(self.root, "etc/iscsi"))
                code, found, err = self.run_ours(1, "-m", "discovery", "-t", "fw")
                self.assertEqual((code, err), (0, ""))
                ours = subprocess.run(["sh", "-c", show.replace("/etc", self.root + "/etc")], capture_output=True, text=True,
                                      check=True, env=dict(os.environ, LC_ALL="C")).stdout
                self.assertEqual(found + ours, out)

    def test_debians_iscsiadm_reads_none_of_the_bad_ones_either_or_is_known_to(self):
        """What it takes that we refuse is what it does not look at: the difference `firmware`."""
        taken = {"mac is '52:54:00'", "port is '99999'", "port is '0'", "ethernet0 prefix-len is '999'", "prefix-len is '64'",
                 "ethernet0 vlan is '4096'", "ip-addr is 'garbage\\x1b[2J'", "gateway is '10.1'",
                 "chap-secret is no text of one line", "chap-name has more than 255 bytes",
                 "there is only half of chap-name and chap-secret", "rev-chap-name stands without chap-name",
                 "chap-secret would be read as the name of a file", "lun has more than 255 bytes",
                 "the interface's name is 'a'b'"}
        found = set()
        for why, files in firmware.BAD.items():
            self.lay(files)
            if self.theirs("iscsiadm", "-m", "fw")[0] == 0:
                found.add(why)
        self.assertEqual(found, taken)


if __name__ == "__main__":
    sys.exit(tools.main())
