"""iscsistart: what it asks of the daemon, the daemon that it starts, and its command line beside Debian's."""

import fcntl
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import unittest

import tools
import harness  # of tests/cli, which tools has made known

INITIATOR, TARGET = "iqn.2020-01.org.example:host", "iqn.2020-01.org.example:disk"
WHOLE = ["-i", INITIATOR, "-t", TARGET, "-g", "7", "-a", "10.0.0.1"]


class Start(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="iscsi-start-")
        for folder in ("etc/iscsi", "sys/firmware"):  # where the kernel shows something, but no tables
            os.makedirs(os.path.join(self.root, folder))
        self.daemon = None

    def tearDown(self):
        if self.daemon:
            self.daemon.close()
        self.end_started()
        shutil.rmtree(self.root)

    def start(self, *words, program=None):
        return tools.run("iscsistart", *words, executable=program or tools.PROGRAMS[0],
                         env={"ISCSI_ROOT": self.root, "RES_OPTIONS": "timeout:1 attempts:1"})

    def asked(self, *words):
        """The node record of the login that a command line leads to."""
        self.daemon = self.daemon or harness.FakeDaemon(self.root)
        self.daemon.seen.clear()
        code, _, err = self.start(*words)
        self.assertEqual((code, err), (0, ""))
        request, = self.daemon.requests("login")
        return request["node"]["values"]

    def config(self, text, path="etc/iscsi/iscsid.conf"):
        with open(os.path.join(self.root, path), "w", encoding="ascii") as file:
            file.write(text)

    def test_the_login_is_what_the_command_line_says(self):
        node = self.asked(*WHOLE, "-p", "3261", "-u", "me", "-w", "my-secret", "-U", "you", "-W", "your-secret")
        for key, value in {
            "node.name": TARGET, "node.tpgt": "7", "node.conn[0].address": "10.0.0.1", "node.conn[0].port": "3261",
            "iface.initiatorname": INITIATOR, "node.session.auth.authmethod": "CHAP",
            "node.session.auth.username": "me", "node.session.auth.password": "my-secret",
            "node.session.auth.username_in": "you", "node.session.auth.password_in": "your-secret",
        }.items():
            self.assertEqual(node.get(key), value, key)

    def test_a_disk_to_boot_from_is_waited_for(self):
        self.config("node.session.initial_login_retry_max = 8\nnode.conn[0].timeo.noop_out_interval = 5\n"
                    "node.session.queue_depth = 64\n")
        node = self.asked(*WHOLE)
        self.assertEqual(node["node.startup"], "onboot")
        self.assertEqual(node["node.session.initial_login_retry_max"], "30")
        self.assertEqual(node["node.conn[0].timeo.noop_out_interval"], "0")
        self.assertEqual(node["node.conn[0].timeo.noop_out_timeout"], "0")
        self.assertEqual(node["node.session.queue_depth"], "64", "of iscsid.conf")

    def test_parameters_go_before_everything_else(self):
        self.config("node.session.queue_depth = 64\n", "other.conf")
        node = self.asked(*WHOLE, "-c", os.path.join(self.root, "other.conf"), "-P", "node.session.queue_depth=16",
                          "--param", "node.session.initial_login_retry_max = 2", "-P", "iface.net_ifacename=eth1")
        self.assertEqual(node["node.session.queue_depth"], "16")
        self.assertEqual(node["node.session.initial_login_retry_max"], "2")
        self.assertEqual(node["iface.net_ifacename"], "eth1")

    def test_an_ipv6_address_may_stand_in_brackets(self):
        for address in ("fe80::1", "[fe80::1]"):
            node = self.asked("-i", INITIATOR, "-t", TARGET, "-g", "1", "-a", address)
            self.assertEqual(node["node.conn[0].address"], "fe80::1")

    def test_devices_are_named(self):
        self.daemon = harness.FakeDaemon(self.root)
        code, out, err = self.start(*WHOLE)
        self.assertEqual((code, out, err), (0, f"iscsistart: Logging into {TARGET} 10.0.0.1:3260,7\n"
                                               "iscsistart: LUN 1: /dev/ublkb0\n", ""))

    def test_a_session_that_exists_is_as_good(self):
        self.daemon = harness.FakeDaemon(self.root)
        self.daemon.answers["login"] = lambda _: harness.error(15)
        code, out, err = self.start(*WHOLE)
        self.assertEqual((code, err), (0, ""))
        self.assertIn("there is a session", out)

    def test_a_login_that_fails_ends_with_1(self):
        self.daemon = harness.FakeDaemon(self.root)
        self.daemon.answers["login"] = lambda _: harness.error(24, "CHAP failed")
        code, _, err = self.start(*WHOLE)
        self.assertEqual((code, err), (1, "iscsistart: CHAP failed\n"
                                          "iscsistart: initiator reported error (24 - iSCSI login failed due to "
                                          "authorization failure)\n"))

    def test_what_cannot_be_a_session_is_refused_before_anything_is_done(self):
        self.daemon = harness.FakeDaemon(self.root)
        for words in [("-g", "x"), ("-g", "65536"), ("-p", "x"), ("-P", "node.name=x"), ("-P", "node.tpgt=1"),
                      ("-P", "no.such=1"), ("-P", "node.session.queue_depth=9999"), ("-i", "nobody"), ("-t", "../x"),
                      ("-a", "a/b"), ("-d", "9"), ("-p", "0"), ("-u", "me"), ("-U", "you"), ("word",)]:
            code, out, err = self.start(*WHOLE, *words)
            self.assertEqual((code, out), (7, ""), words)
            self.assertTrue(err.startswith("iscsistart: "), err)
        self.assertEqual(self.daemon.seen, [])

    def test_the_secret_of_a_name_may_come_from_elsewhere(self):
        node = self.asked(*WHOLE, "-u", "me", "-P", "node.session.auth.password=my-secret")
        self.assertEqual(node["node.session.auth.username"], "me")
        self.config("node.session.auth.password = its-secret\n")
        self.assertEqual(self.asked(*WHOLE, "-u", "me")["node.session.auth.password"], "its-secret")

    def test_a_configuration_that_is_named_has_to_be_there(self):
        self.daemon = harness.FakeDaemon(self.root)
        missing = os.path.join(self.root, "missing.conf")
        code, out, err = self.start(*WHOLE, "-c", missing)
        self.assertEqual((code, out), (6, ""))
        self.assertIn(missing, err)
        self.assertEqual(self.daemon.seen, [])

    def test_d_names_what_the_configuration_has_wrong(self):
        self.daemon = harness.FakeDaemon(self.root)
        self.config("node.session.queue_depth = many\n")
        self.assertEqual(self.start(*WHOLE)[2], "")
        self.assertIn("node.session.queue_depth", self.start(*WHOLE, "-d", "1")[2])

    def test_a_name_that_cannot_be_resolved_is_told_at_once(self):
        self.daemon = harness.FakeDaemon(self.root)
        code, _, err = self.start("-i", INITIATOR, "-t", TARGET, "-g", "1", "-a", "no-such-host.invalid")
        self.assertEqual(code, 1)
        self.assertIn("cannot resolve 'no-such-host.invalid'", err)
        self.assertEqual(self.daemon.seen, [])
        self.assertEqual(self.asked("-i", INITIATOR, "-t", TARGET, "-g", "1", "-a", "localhost")["node.conn[0].address"],
                         "localhost")

    def test_a_relative_directory_of_the_database_is_refused(self):
        for root in (self.root, ""):
            code, out, err = tools.run(tools.PROGRAMS[2], "-m", "node", env={"ISCSI_ROOT": root, "ISCSI_DB_DIR": "db"},
                                       cwd=self.root)
            self.assertEqual((code, out), (6, ""))
            self.assertIn("ISCSI_DB_DIR", err)
        self.assertEqual(sorted(os.listdir(self.root)), ["etc", "sys"])

    def beside(self, script):
        """A copy of iscsistart with this program as the iscsid beside it."""
        folder = os.path.join(self.root, "sbin")
        os.makedirs(folder)
        if script is None:
            shutil.copy(tools.PROGRAMS[1], os.path.join(folder, "iscsid"))
        else:
            with open(os.path.join(folder, "iscsid"), "w", encoding="ascii") as file:
                file.write("#!/bin/sh\n" + script)
            os.chmod(file.name, stat.S_IRWXU)
        return shutil.copy(tools.PROGRAMS[0], folder)

    def test_a_daemon_that_does_not_start_is_told(self):
        program = self.beside('echo "$@" > "$ISCSI_ROOT/said"\nexit 1\n')
        self.config("", "other.conf")
        other = os.path.join(self.root, "other.conf")
        code, _, err = self.start(*WHOLE, "-d", "3", "-c", other, program=program)
        self.assertEqual(code, 1)
        self.assertIn("could not be started", err)
        with open(os.path.join(self.root, "said"), encoding="ascii") as file:
            self.assertEqual(file.read(), f"-c {other} -d 3\n")

    def test_a_daemon_that_is_not_there_is_told(self):
        program = self.beside("")
        os.remove(os.path.join(self.root, "sbin/iscsid"))
        code, _, err = self.start(*WHOLE, program=program)
        self.assertEqual(code, 1)
        self.assertIn("sbin/iscsid could not be started: No such file or directory\n", err)

    def test_what_the_daemon_says_of_its_end_is_passed_on(self):
        program = self.beside("echo 'iscsid: the disk is full' >&2\nexit 1\n")
        code, _, err = self.start(*WHOLE, program=program)
        self.assertEqual(code, 1)
        self.assertIn("iscsistart: iscsid: the disk is full\n", err)

    def test_a_daemon_that_another_program_has_just_started_is_waited_for(self):
        fifo = os.path.join(self.root, "tried")
        os.mkfifo(fifo)
        program = self.beside(f"echo 'another iscsid is running' >&2\necho > {fifo}\nexit 1\n")
        os.makedirs(os.path.join(self.root, "run"))
        with open(os.path.join(self.root, "run/iscsid.pid"), "w", encoding="ascii") as pid_file:
            fcntl.lockf(pid_file, fcntl.LOCK_EX)  # as that daemon holds it before it serves
            with subprocess.Popen([program, *WHOLE], env=dict(os.environ, ISCSI_ROOT=self.root), text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE) as starting:
                with open(fifo, encoding="ascii") as tried:
                    tried.read()
                self.daemon = harness.FakeDaemon(self.root)
                _, err = starting.communicate(timeout=30)
        os.remove(os.path.join(self.root, "run/iscsid.pid"))
        self.assertEqual((starting.returncode, err), (0, ""))
        self.assertEqual(len(self.daemon.requests("login")), 1)

    def test_the_daemon_is_started_and_stays(self):
        self.config("iscsid.block = socket\n")
        program = self.beside(None)
        with socket.socket() as taken:  # nobody listens behind it
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            code, _, err = self.start("-i", INITIATOR, "-t", TARGET, "-g", "1", "-a", "127.0.0.1", "-p", str(port), "-P",
                                      "node.session.initial_login_retry_max=1", "-P",
                                      "node.conn[0].timeo.login_timeout=1", program=program)
        self.assertEqual(code, 1, err)
        self.assertIn("initiator reported error (", err)
        answer = tools.run(tools.PROGRAMS[2], "-m", "session", env={"ISCSI_ROOT": self.root})
        self.assertEqual(answer, (21, "", "iscsiadm: No active sessions.\n"))
        self.assertTrue(self.end_started())

    def end_started(self):
        """Ends the daemon that iscsistart has left behind, if any."""
        return tools.end_daemon(os.path.join(self.root, "run/iscsid.pid"))

    def test_debians_program_says_the_same_of_wrong_command_lines(self):
        folder = tools.debian()
        libraries = ":".join(place for place, _, files in os.walk(folder) if any("libopeniscsiusr" in f for f in files))
        theirs = os.path.join(folder, "sbin", "iscsistart")
        for words in [(), ("-i", INITIATOR), ("-i", INITIATOR, "-g", "1"), ("-i", INITIATOR, "-g", "1", "-t", TARGET),
                      ("-t", TARGET), ("-x",), ("-V",), ("-P", "name"), ("-P", "name="), ("-v",), ("--version",), ("-f",),
                      ("-b",), ("-N",), ("word",)]:
            there = subprocess.run(["unshare", "-n", "--", "env", f"LD_LIBRARY_PATH={libraries}", theirs, *words],
                                   capture_output=True, text=True, check=False, timeout=30, stdin=subprocess.DEVNULL)
            if "unshare" in there.stderr or "loading shared" in there.stderr:
                self.skipTest(there.stderr.strip())
            expected = (there.returncode, there.stdout, there.stderr.replace(theirs, "iscsistart"))
            self.assertEqual(self.start(*words), expected, words)


if __name__ == "__main__":
    tools.main()
