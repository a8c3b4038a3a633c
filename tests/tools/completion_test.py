"""The bash completion: what it offers for a line, with a database and a daemon of this test."""

import os
import shutil
import subprocess
import tempfile
import unittest

import tools
import harness  # of tests/cli, which tools has made known

ONE, TWO = "iqn.2020-01.org.example:one", "iqn.2020-01.org.example:two"

# Completes the line in $1 as readline has it done, with bash's own rules for words.
COMPLETE = r"""
load() { source "$COMPLETION"; } # from a function, as bash-completion does it
load
eval "$2"
COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=(iscsiadm) COMP_CWORD=1
_iscsiadm iscsiadm
IFS=$' \t\n'
printf '%s\n' "${COMPREPLY[@]}"
"""


class Completion(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="iscsi-completion-")
        self.bin = os.path.join(self.root, "bin")
        os.makedirs(os.path.join(self.root, "etc/iscsi"))
        os.makedirs(self.bin)
        os.symlink(tools.PROGRAMS[1], os.path.join(self.bin, "iscsiadm"))
        self.daemon = None
        for target, portal in ((ONE, "10.0.0.1:3260,1"), (TWO, "10.0.0.2:3261,1"), (TWO, "[fe80::1]:3260,2")):
            self.adm("-m", "node", "-T", target, "-p", portal, "-o", "new")
        self.adm("-m", "discoverydb", "-t", "st", "-p", "10.0.0.9", "-o", "new")
        self.adm("-m", "iface", "-I", "storage", "-o", "new")

    def tearDown(self):
        if self.daemon:
            self.daemon.close()
        shutil.rmtree(self.root)

    def environment(self):
        return dict(os.environ, LC_ALL="C", ISCSI_ROOT=self.root, COMPLETION=tools.PROGRAMS[0],
                    PATH=self.bin + ":" + os.environ["PATH"])

    def adm(self, *words):
        subprocess.run(["iscsiadm", *words], env=self.environment(), check=True, capture_output=True)

    def offered(self, line, *options, first=""):
        """What is offered behind a line, in a bash with these options, after the command `first`."""
        done = subprocess.run(["bash", "--norc", *options, "-c", COMPLETE, "bash", line, first], env=self.environment(),
                              capture_output=True, text=True, check=False, cwd=self.root, stdin=subprocess.DEVNULL)
        self.assertEqual((done.returncode, done.stderr), (0, ""), line)
        return done.stdout.split()

    def expect(self, line, *words, first=""):
        self.assertEqual(sorted(self.offered(line, first=first)), sorted(words), line)

    def test_modes(self):
        self.expect("iscsiadm -m ", "discovery", "discoverydb", "node", "session", "iface", "host", "fw", "doctor",
                    "top", "monitor")
        self.expect("iscsiadm --mode=disc", "discovery", "discoverydb")
        self.expect("iscsiadm --mode ses", "session")

    def test_a_mode_offers_its_own_options(self):
        options = self.offered("iscsiadm -m node -")
        self.assertIn("--login", options)
        self.assertIn("-T", options)
        self.assertNotIn("--sid", options)
        self.assertIn("--sid", self.offered("iscsiadm -m session --"))
        self.expect("iscsiadm -m node --logina", "--loginall")
        self.expect("iscsiadm --no_w", "--no_wait")

    def test_doctor_is_a_mode_without_the_word(self):
        self.expect("iscsiadm d", "doctor")
        self.expect("iscsiadm doctor -T ", ONE, TWO)
        self.expect("iscsiadm doctor -T " + ONE + " -p ", "10.0.0.1:3260")
        self.expect("iscsiadm doctor --t", "--targetname")
        self.assertNotIn("doctor", self.offered("iscsiadm -m node "))
        self.expect("iscsiadm mon", "monitor")
        self.expect("iscsiadm monitor -T ", ONE, TWO)
        self.expect("iscsiadm monitor --s", "--sid")
        self.assertNotIn("--login", self.offered("iscsiadm monitor --"))

    def test_so_is_top(self):
        self.expect("iscsiadm t", "top")
        self.expect("iscsiadm top -T ", ONE, TWO)
        self.expect("iscsiadm top --i", "--interface", "--interval")
        self.expect("iscsiadm top --s", "--sid")

    def test_operations(self):
        self.expect("iscsiadm -m node -o ", "new", "update", "delete", "show")
        self.expect("iscsiadm -m discovery -o n", "new", "nonpersistent")
        self.expect("iscsiadm -m iface -o a", "apply", "applyall")

    def test_targets_and_portals_of_the_database(self):
        # What bash has for the word begins behind the last colon.
        self.expect("iscsiadm -m node -T ", ONE, TWO)
        self.expect("iscsiadm -m node -T iqn.2020-01.org.example:o", "one")
        self.expect("iscsiadm -m node --targetname=iqn.2020-01.org.example:t", "two")
        self.expect("iscsiadm -m node -p ", "10.0.0.1:3260", "10.0.0.2:3261", "[fe80::1]:3260")
        self.expect("iscsiadm -m node -p 10.0.0.2:", "3261")
        self.expect(f"iscsiadm -m node -T {TWO} -p ", "10.0.0.2:3261", "[fe80::1]:3260")
        self.expect("iscsiadm -m node -p 10.0.0.1 -T ", ONE)
        self.expect("iscsiadm -m discoverydb -t st -p ", "10.0.0.9:3260")

    def test_interfaces(self):
        self.expect("iscsiadm -m iface -I ", "storage", "default", "iser")
        self.expect("iscsiadm -m node -I st", "storage")

    def test_sessions_of_the_daemon(self):
        self.expect("iscsiadm -m session -r ")
        self.daemon = harness.FakeDaemon(self.root)
        self.daemon.sessions = [harness.session(3, ONE, "10.0.0.1"), harness.session(12, TWO, "10.0.0.2")]
        self.expect("iscsiadm -m session -r ", "3", "12")
        self.expect("iscsiadm -m session --sid=1", "12")

    def test_keys_and_their_values(self):
        self.expect("iscsiadm -m node -o update -n node.st", "node.startup")
        self.expect("iscsiadm -m node -o update -n node.startup -v ", "manual", "automatic", "onboot")
        self.expect("iscsiadm -m node -o update -n node.session.scan -v manual -n node.leading_login -v ", "No", "Yes")
        self.expect("iscsiadm -m node -o update -n node.session.queue_depth -v ")
        self.expect("iscsiadm -m iface -I storage -o update -n iface.net_i", "iface.net_ifacename")
        self.expect("iscsiadm -m discoverydb -t isns -p 10.0.0.9 -o update -n discovery.isns.use",
                    "discovery.isns.use_discoveryd")
        self.assertNotIn("node.name", self.offered("iscsiadm -m node -o update -n node."))
        self.assertNotIn("node.startup", self.offered("iscsiadm -m iface -o update -n "))

    def test_brackets_of_keys_are_no_patterns(self):
        with open(os.path.join(self.root, "node.conn0.startup"), "w", encoding="ascii"):
            self.expect("iscsiadm -m node -o update -n node.conn[0].st", "node.conn[0].startup")
        line = "iscsiadm -m node -o update -n node.conn[0].st"
        self.assertEqual(self.offered(line, "-O", "nullglob"), ["node.conn[0].startup"])
        self.assertEqual(self.offered(line, "-O", "failglob"), ["node.conn[0].startup"])

    def test_names_that_the_shell_would_act_on_are_not_offered(self):
        evil = ["iqn.2026-01.evil:$(touch${IFS}pwned)", "iqn.2026-01.evil:`id`", "iqn.2026-01.evil:a;id", "iqn.2026-01.evil:*",
                "iqn.2026-01.evil:two words", "iqn.2026-01.evil:'", "iqn.2026-01.evil:\\n", "iqn.2026-01.evil:~"]
        # The program itself need not list them for this to matter: another version's may.
        lines = [f"10.0.0.1:3260,1 {name}" for name in [ONE, *evil]] + ["$(id):3260,1 " + ONE]
        listed = os.path.join(self.root, "listed")
        with open(listed, "w", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))
        os.remove(os.path.join(self.bin, "iscsiadm"))
        with open(os.path.join(self.bin, "iscsiadm"), "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh\ncat {listed}\n")
        os.chmod(file.name, 0o700)
        self.expect("iscsiadm -m node -T ", ONE)
        self.expect("iscsiadm -m node -T iqn.2026-01.evil:")
        self.expect("iscsiadm -m node -T iqn.2026-01.evil:$(touch${IFS}pwned)")
        self.expect("iscsiadm -m node -p ", "10.0.0.1:3260")
        with open(listed, "w", encoding="utf-8") as file:
            file.write("eth0 tcp,<empty>,<empty>,eth0,<empty>\n$(id) tcp,x\na b tcp,x\na|b tcp,x\n")
        self.expect("iscsiadm -m iface -I ", "eth0")

    def test_quoted_words(self):
        self.expect("iscsiadm -m node -o update -n 'node.conn[0].startup' -v m", "manual")
        self.expect('iscsiadm -m "node" -T ', ONE, TWO)
        # Within quotes, and behind a backslash, readline breaks no word at a colon.
        self.expect('iscsiadm -m node -T "iqn.2020-01.org.example:o', ONE)
        self.expect("iscsiadm -m node -T 'iqn.2020-01.org.example:t", TWO)
        self.expect("iscsiadm -m node -T iqn.2020-01.org.example\\:o", ONE)

    def test_other_ways_to_write_options(self):
        self.expect("iscsiadm -m node -uT ", ONE, TWO)
        self.expect("iscsiadm -mnode -l -T iqn.2020-01.org.example:o", "one")
        self.expect("iscsiadm -m node -T" + ONE + " -p ", "10.0.0.1:3260")
        self.expect("iscsiadm -m node -Tiqn.2020-01.org.example:o", "one")
        self.expect("iscsiadm -m node -Tiqn", "-T" + ONE, "-T" + TWO)
        self.expect("iscsiadm -m node --target ", ONE, TWO)
        self.expect("iscsiadm -m node --target=iqn.2020-01.org.example:t", "two")
        self.expect("iscsiadm --mo=sess", "session")
        self.assertIn("-T", self.offered("iscsiadm -m node --l "), "of several: nothing is known of an argument")

    def test_a_portal_as_the_list_prints_it(self):
        self.expect("iscsiadm -m node -p 10.0.0.2:3261,1 -T ", TWO)

    def test_portals_of_one_kind_of_discovery(self):
        self.adm("-m", "discoverydb", "-t", "isns", "-p", "10.0.0.8", "-o", "new")
        self.expect("iscsiadm -m discoverydb -t isns -p ", "10.0.0.8:3205")
        self.expect("iscsiadm -m discoverydb -t st -p ", "10.0.0.9:3260")
        self.expect("iscsiadm -m discoverydb -p ", "10.0.0.8:3205", "10.0.0.9:3260")

    def test_other_settings_of_the_shell(self):
        self.expect("iscsiadm --mode=no", "--mode=node", first='COMP_WORDBREAKS=" :"')
        self.expect("iscsiadm -m node -T iqn.2020-01.org.example:o", ONE, first='COMP_WORDBREAKS=" ="')
        self.expect("iscsiadm -m node -p ", "10.0.0.1:3260", "10.0.0.2:3261", "[fe80::1]:3260", first="IFS=:")
        self.expect("iscsiadm -m node -o ", "new", "update", "delete", "show", first="IFS=:")

    def test_an_option_that_a_mode_has_no_use_for_is_not_offered(self):
        self.assertNotIn("--interval", self.offered("iscsiadm -m session -"))
        self.assertIn("--interval", self.offered("iscsiadm -m iface -"))

    def test_words_of_a_line_without_a_mode(self):
        self.expect("iscsiadm -U ", "all", "manual", "automatic")
        self.expect("iscsiadm -k ", "0")
        self.assertIn("nonpersistent", self.offered("iscsiadm -o "))
        self.expect("iscsiadm -m fw -o ")

    def test_words_for_all_records(self):
        self.expect("iscsiadm -m node -L ", "all", "manual", "automatic", "onboot")
        self.expect("iscsiadm -m node -U ", "all", "manual", "automatic")

    def test_a_program_that_fails_or_is_missing_says_nothing(self):
        os.remove(os.path.join(self.bin, "iscsiadm"))
        os.symlink("/bin/false", os.path.join(self.bin, "iscsiadm"))
        self.expect("iscsiadm -m node -T ")
        os.remove(os.path.join(self.bin, "iscsiadm"))
        self.expect("iscsiadm -m node -T ")

    def test_strange_lines_do_no_harm(self):
        for line in ("iscsiadm", "iscsiadm ", "iscsiadm -m", "iscsiadm -m  -", "iscsiadm -m bogus -", "iscsiadm - ",
                     "iscsiadm -- ", "iscsiadm --=", "iscsiadm --mode= -", "iscsiadm -m node -n -v -v ",
                     "iscsiadm -mnode -T", "iscsiadm -m node -v ", "iscsiadm -m '' -", "iscsiadm -m node -T '", "iscsiadm \\",
                     "iscsiadm -m node -T $(", "iscsiadm -m 'a b' -n *"):
            self.offered(line)


if __name__ == "__main__":
    tools.main()
