"""Many iscsiadm at the same time on one database: nothing that one of them has written is lost, and nobody who reads
ever fails or sees a half of a record. Arguments: the path of iscsiadm, and how many rounds each of them writes."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest

ISCSIADM = None
WRITERS = 16
ROUNDS = 24

TARGET = "iqn.2001-04.com.example:shared"
PORTAL = "10.0.0.1:3260,1"

# One key for each writer: of two that read, change and write the shared record at once, one would lose the other's.
KEYS = (
    "node.session.timeo.replacement_timeout", "node.session.err_timeo.abort_timeout",
    "node.session.err_timeo.lu_reset_timeout", "node.session.err_timeo.tgt_reset_timeout",
    "node.session.err_timeo.host_reset_timeout", "node.session.queue_depth", "node.session.nr_sessions",
    "node.session.initial_login_retry_max", "node.session.reopen_max", "node.conn[0].timeo.logout_timeout",
    "node.conn[0].timeo.login_timeout", "node.conn[0].timeo.auth_timeout", "node.conn[0].timeo.noop_out_interval",
    "node.conn[0].timeo.noop_out_timeout", "node.session.iscsi.DefaultTime2Wait",
    "node.session.iscsi.DefaultTime2Retain",
)


class ParallelTest(unittest.TestCase):
    def setUp(self):
        # In memory, where nobody is held up by a disk, they meet more often.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.root = tempfile.mkdtemp(prefix="iscsi-parallel-", dir=memory)
        self.addCleanup(shutil.rmtree, self.root)
        os.makedirs(os.path.join(self.root, "etc/iscsi"))
        with open(os.path.join(self.root, "etc/iscsi/iscsid.conf"), "w", encoding="ascii"):
            pass
        self.failures = []
        self.adm("-m", "node", "-T", TARGET, "-p", PORTAL, "-o", "new")
        self.whole = len(self.shared().splitlines())

    def adm(self, *words):
        """Output of a command that has to succeed without a word on stderr."""
        environment = dict(os.environ, ISCSI_ROOT=self.root, LC_ALL="C")
        done = subprocess.run([ISCSIADM, *words], env=environment, capture_output=True, text=True, timeout=120,
                              check=False)
        if done.returncode != 0 or done.stderr:
            self.failures.append(f"{' '.join(words)}: {done.returncode} {done.stderr}")
        return done.stdout

    def shared(self):
        return self.adm("-m", "node", "-T", TARGET, "-p", "10.0.0.1")

    def write(self, number):
        """Changes a key of its own in the shared record and a record of its own, which comes and goes as well."""
        own = f"iqn.2001-04.com.example:own{number}"
        for count in range(1, ROUNDS + 1):
            value = str(number + count)
            self.adm("-m", "node", "-T", TARGET, "-p", "10.0.0.1", "-o", "update", "-n", KEYS[number], "-v", value)
            if f"\n{KEYS[number]} = {value}\n" not in self.shared():
                self.failures.append(f"lost: {KEYS[number]} = {value}")
            self.adm("-m", "node", "-T", own, "-p", PORTAL, "-o", "new")
            self.adm("-m", "node", "-T", own, "-o", "update", "-n", "node.session.reopen_max", "-v", value)
            if count < ROUNDS and count % 4 == 0:
                self.adm("-m", "node", "-T", own, "-p", "10.0.0.1", "-o", "delete")

    def read(self, done):
        """Lists and dumps until the writers are done; the shared record is always there and always whole."""
        while not done.is_set():
            dump = self.shared().splitlines()
            if len(dump) != self.whole or dump[0] != "# BEGIN RECORD 2.1.8" or dump[-1] != "# END RECORD":
                self.failures.append(f"a dump of {len(dump)} lines: {dump}")
            if f"{PORTAL} {TARGET}\n" not in self.adm("-m", "node"):
                self.failures.append("a listing without the shared record")
            self.reads += 1

    def test_sixteen_writers_lose_nothing_and_no_reader_fails(self):
        self.assertEqual(len(set(KEYS)), WRITERS)
        self.reads = 0
        done = threading.Event()
        readers = [threading.Thread(target=self.read, args=(done,)) for _ in range(2)]
        writers = [threading.Thread(target=self.write, args=(number,)) for number in range(WRITERS)]
        for thread in readers + writers:
            thread.start()
        for thread in writers:
            thread.join()
        done.set()
        for thread in readers:
            thread.join()
        self.assertEqual(self.failures, [])
        self.assertGreater(self.reads, 0)
        dump = self.shared()
        for number, key in enumerate(KEYS):
            self.assertIn(f"\n{key} = {number + ROUNDS}\n", dump)
            own = self.adm("-m", "node", "-T", f"iqn.2001-04.com.example:own{number}", "-p", "10.0.0.1")
            self.assertIn(f"\nnode.session.reopen_max = {number + ROUNDS}\n", own)
        self.assertEqual(len(self.adm("-m", "node").splitlines()), WRITERS + 1)
        self.assertEqual(self.failures, [])
        database = os.path.join(self.root, "etc/iscsi")
        self.assertEqual([name for name in os.listdir(database) if name.startswith(".")], [])
        self.assertEqual(len(os.listdir(os.path.join(database, "static"))), WRITERS + 1)


if __name__ == "__main__":
    ISCSIADM = os.path.abspath(sys.argv.pop(1))
    if len(sys.argv) > 1 and sys.argv[1].isdecimal():
        ROUNDS = int(sys.argv.pop(1))
    unittest.main(verbosity=1)
