"""Programs that were started with closed standard descriptors: what they open must not be taken for one of those."""

import os
import signal
import subprocess
import time

import harness
from harness import error, session

T1 = "iqn.2001-04.com.example:t1"


def without(numbers):
    """Run in the child, before the program."""
    return lambda: [os.close(number) for number in numbers]


class Closed(harness.CliTest):
    def run_without(self, numbers, command):
        """The exit code and what stdout and stderr had, where they were there."""
        environment = dict(os.environ, ISCSI_ROOT=self.root, LC_ALL="C")
        done = subprocess.run(["iscsiadm", *command.split()], executable=harness.ISCSIADM, env=environment,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
                              preexec_fn=without(numbers))
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def test_what_is_said_does_not_go_to_the_daemon(self):
        self.start_daemon().sessions = [session(1, T1, "10.0.0.1")]
        full = "iscsiadm: stdout cannot be written\n"
        self.assertEqual(self.run_without([1], "-m node -u"), (1, "", full))
        self.assertEqual(self.run_without([0, 1], "-m node -u"), (1, "", full))
        self.assertEqual(len(self.daemon.requests("logout")), 2)
        self.assertTrue(all(request["request"] for request in self.daemon.seen))
        code, out, err = self.run_without([0, 2], "-m node -u")
        self.assertEqual((code, err), (0, ""))
        self.assertIn("successful", out)

    def test_complaints_do_not_go_to_the_daemon(self):
        daemon = self.start_daemon()
        daemon.sessions = [session(1, T1, "10.0.0.1")]
        daemon.answers["logout"] = lambda _: error(10, "why it was")
        self.assertEqual(self.run_without([0, 1, 2], "-m node -u")[0], 10)
        self.assertEqual({request["request"] for request in daemon.seen}, {"sessions", "logout"})


class ClosedDaemon(harness.CliTest):
    def setUp(self):
        super().setUp()
        self.program = os.path.join(os.path.dirname(harness.ISCSIADM), "iscsid")
        if not os.path.exists(self.program):
            self.skipTest("iscsid is not built")

    def start(self, closed):
        """In the background; the exit code of what started it, and the daemon's process id."""
        pid_file = os.path.join(self.root, "pid")
        started = subprocess.run([self.program, "-p", pid_file], env=dict(os.environ, ISCSI_ROOT=self.root), timeout=60,
                                 check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, preexec_fn=without(closed))
        if started.returncode != 0 and not closed:
            self.skipTest("iscsid does not start here")
        with open(pid_file, encoding="ascii") as file:
            return started.returncode, int(file.read())

    def test_a_daemon_in_the_background_can_be_stopped(self):
        for closed in ([], [0, 1, 2], [1]):
            code, pid = self.start(closed)
            try:
                self.assertEqual(code, 0, closed)
                standard = [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)]
                self.assertEqual(standard, ["/dev/null"] * 3)
                self.assertEqual(self.run_adm("-k 0"), (0, "", ""))
                self.wait_for_end_of(pid)
            finally:
                if os.path.exists(f"/proc/{pid}"):
                    os.kill(pid, signal.SIGKILL)

    def wait_for_end_of(self, pid):
        for _ in range(200):
            try:
                with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                    if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                        return
            except FileNotFoundError:
                return
            time.sleep(0.05)
        self.fail("iscsid does not end")


if __name__ == "__main__":
    harness.main()
