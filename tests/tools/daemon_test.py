"""iscsid's start: its command line, and that one that goes to the background says why it did not get there."""

import fcntl
import os
import shutil
import tempfile
import unittest

import tools


class Daemon(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="iscsi-daemon-")
        os.makedirs(os.path.join(self.root, "etc/iscsi"))
        self.pid_file = self.path("run/iscsid.pid")
        self.put("etc/iscsi/iscsid.conf", "iscsid.block = socket\n")

    def tearDown(self):
        tools.end_daemon(self.pid_file)
        shutil.rmtree(self.root)

    def path(self, name):
        return os.path.join(self.root, name)

    def put(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w", encoding="ascii") as file:
            file.write(text)

    def start(self, *words, root=None):
        return tools.run(tools.PROGRAMS[0], *words, env={"ISCSI_ROOT": root or self.root}, cwd=self.root)

    def expect_refusal(self, text, *words, root=None):
        code, out, err = self.start(*words, root=root)
        self.assertEqual((code, out), (1, ""), words)
        self.assertTrue(err.startswith("iscsid: "), err)
        self.assertIn(text, err)

    def test_one_that_starts_is_silent(self):
        self.assertEqual(self.start(), (0, "", ""))
        self.expect_refusal("another iscsid is running")
        self.expect_refusal("another iscsid is running", "-f")

    def test_another_one_that_runs_is_told(self):
        self.put("run/iscsid.pid", "")
        with open(self.pid_file, "r+", encoding="ascii") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            self.expect_refusal("another iscsid is running")
        os.remove(self.pid_file)

    def test_a_directory_that_cannot_be_made_is_told(self):
        self.put("run/iscsid", "")
        self.expect_refusal("run/iscsid")

    def test_a_pid_file_that_cannot_be_written_is_told(self):
        self.expect_refusal("none/pid", "-p", self.path("none/pid"))

    def test_a_name_too_long_for_a_socket_is_told(self):
        root = self.path("x" * 120)
        os.makedirs(root)
        self.expect_refusal("xxx", root=root)

    def test_a_configuration_that_is_named_has_to_be_there(self):
        for option in (["-c", self.path("missing")], ["-c", "missing"], ["-f", "-c", "missing"]):
            self.expect_refusal(self.path("missing"), *option)

    def test_relative_files_are_those_of_the_caller(self):
        self.put("own.conf", "iscsid.block = socket\n")
        self.pid_file = self.path("own.pid")
        self.assertEqual(self.start("-c", "own.conf", "-p", "own.pid"), (0, "", ""))
        self.assertTrue(os.path.exists(self.pid_file))

    def test_words_that_belong_to_no_option_are_refused(self):
        self.expect_refusal("'foo'", "foo")
        self.expect_refusal("'start'", "-f", "start")
        self.assertFalse(os.path.exists(self.path("run")))


if __name__ == "__main__":
    tools.main()
