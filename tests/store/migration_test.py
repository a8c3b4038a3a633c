"""Debian's open-iscsi and our iscsiadm on one database at the same time, each honouring the other's lock: what a
migration looks like. Argument: the path of our iscsiadm. The other one comes from tests/oracle/fetch; both run in a
root of their own (tests/oracle/world.py) under the paths that they were built with."""

import ctypes
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ORACLE = os.path.join(HERE, "..", "oracle")
SKIPPED = 77

OURS = "/tmp/iscsiadm"
DATABASE = "/etc/iscsi"
LOCKS = "/run/lock/iscsi"
TARGET = "iqn.2001-04.com.example:shared"
PR_SET_PDEATHSIG = 1

KEYS = ("node.session.timeo.replacement_timeout", "node.session.err_timeo.abort_timeout", "node.session.queue_depth",
        "node.session.reopen_max", "node.conn[0].timeo.logout_timeout", "node.conn[0].timeo.login_timeout",
        "node.session.err_timeo.lu_reset_timeout", "node.session.initial_login_retry_max")
ROUNDS = 12


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class MigrationTest(unittest.TestCase):
    maxDiff = None
    theirs = libraries = None

    def setUp(self):
        for directory in (DATABASE, LOCKS):
            shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(DATABASE, mode=0o755)
        with open(f"{DATABASE}/iscsid.conf", "w", encoding="ascii"):
            pass
        self.failures = []

    def start(self, program, *words, **environment):
        command = {"ours": OURS, "theirs": self.theirs}[program]
        environment = {"PATH": "/usr/sbin:/usr/bin", "LC_ALL": "C", **environment}
        if program == "theirs":
            environment["LD_LIBRARY_PATH"] = self.libraries
        return subprocess.Popen(["iscsiadm", *words], executable=command, env=environment, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                preexec_fn=die_with_parent)

    def adm(self, program, *words, **environment):
        """Output of a command that has to succeed without a word on stderr."""
        process = self.start(program, *words, **environment)
        out, err = process.communicate(timeout=120)
        if process.returncode != 0 or err:
            self.failures.append(f"{program} {' '.join(words)}: {process.returncode} {err}")
        return out

    def new(self, program, target=TARGET, portal="10.0.0.1:3260,1"):
        self.adm(program, "-m", "node", "-T", target, "-p", portal, "-o", "new")

    def update(self, program, key, value, target=TARGET):
        self.adm(program, "-m", "node", "-T", target, "-p", "10.0.0.1", "-o", "update", "-n", key, "-v", value)

    def dump(self, program, target=TARGET):
        return self.adm(program, "-m", "node", "-T", target, "-p", "10.0.0.1")

    def in_threads(self, *functions):
        threads = [threading.Thread(target=function) for function in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def test_updates_of_both_at_once_are_all_there(self):
        self.new("theirs")
        whole = len(self.dump("ours").splitlines())

        def writer(number):
            # Records do not go meanwhile: an update of theirs looks through all directories without its lock and
            # gives up when one of them is gone.
            program = ("ours", "theirs")[number % 2]
            own = f"iqn.2001-04.com.example:own{number}"
            for count in range(1, ROUNDS + 1):
                self.update(program, KEYS[number], str(number + count))
                if f"\n{KEYS[number]} = {number + count}\n" not in self.dump("ours"):
                    self.failures.append(f"what {program} wrote is lost: {KEYS[number]} = {number + count}")
                self.new(program, own)
                self.update(program, KEYS[number], str(count), own)

        def reader():
            for _ in range(4 * ROUNDS):
                if len(self.dump("ours").splitlines()) != whole:
                    self.failures.append("half a record was dumped")
                if TARGET not in self.adm("ours", "-m", "node"):
                    self.failures.append("a listing without the shared record")

        self.in_threads(reader, *(lambda number=number: writer(number) for number in range(len(KEYS))))
        self.assertEqual(self.failures, [])
        for program in ("ours", "theirs"):
            dump = self.dump(program)
            for number, key in enumerate(KEYS):
                self.assertIn(f"\n{key} = {number + ROUNDS}\n", dump)
        self.assertEqual(self.adm("ours", "-m", "node"), self.adm("theirs", "-m", "node"))
        self.assertEqual(len(self.adm("ours", "-m", "node").splitlines()), len(KEYS) + 1)
        self.assertEqual(self.failures, [])
        self.assertFalse(os.path.exists(f"{LOCKS}/lock.write"))

    def hold_their_lock(self):
        """A listing of theirs that has the lock and does not get on: it reads a record that is a FIFO."""
        self.new("theirs")
        self.new("theirs", "iqn.2001-04.com.example:zz")
        fifo = f"{DATABASE}/nodes/iqn.2001-04.com.example:zz/10.0.0.1,3260,1/default"
        with open(fifo, encoding="ascii") as stream:
            record = stream.read()
        os.unlink(fifo)
        os.mkfifo(fifo)
        holder = self.start("theirs", "-m", "node")
        with open(fifo, "w", encoding="ascii") as stream:  # returns when the other end is open
            self.assertTrue(os.path.exists(f"{LOCKS}/lock.write"))
            os.unlink(fifo)
            yield holder
            if holder.poll() is None:
                stream.write(record)

    def test_ours_waits_while_theirs_holds_the_lock(self):
        for holder in self.hold_their_lock():
            waiting = self.start("ours", "-m", "node", "-T", TARGET, "-o", "update", "-n", KEYS[0], "-v", "77")
            # It is where it waits as soon as it has the flock, which comes before the link.
            with open(f"{LOCKS}/lock", encoding="ascii") as lock:
                inode = f":{os.fstat(lock.fileno()).st_ino} "
            while waiting.poll() is None:
                with open("/proc/locks", encoding="ascii") as locks:
                    if any(inode in line for line in locks):
                        break
            self.assertIsNone(waiting.poll())
            self.assertNotIn("= 77", self.dump("ours"))  # reading waits for nobody
        holder.communicate(timeout=60)
        out, err = waiting.communicate(timeout=60)
        self.assertEqual((out, err, waiting.returncode), ("", "", 0))
        self.assertIn(f"\n{KEYS[0]} = 77\n", self.dump("ours"))

    def test_the_lock_of_a_living_process_of_theirs_stays_and_that_of_a_killed_one_does_not(self):
        update = ("-m", "node", "-T", TARGET, "-o", "update", "-n", KEYS[0], "-v", "78")
        for holder in self.hold_their_lock():
            refused = self.start("ours", *update)  # gives up after 30 s
            out, err = refused.communicate(timeout=60)
            self.assertEqual((out, refused.returncode), ("", 6))
            self.assertIn("another iscsiadm has held the record database too long", err)
            self.assertTrue(os.path.exists(f"{LOCKS}/lock.write"))
            holder.kill()
            holder.communicate()
        self.assertTrue(os.path.exists(f"{LOCKS}/lock.write"))
        self.adm("ours", *update)
        self.assertEqual(self.failures, [])
        self.assertFalse(os.path.exists(f"{LOCKS}/lock.write"))
        self.assertIn(f"\n{KEYS[0]} = 78\n", self.dump("theirs"))

    def test_their_database_is_used_as_found(self):
        self.new("theirs")
        self.new("theirs", "iqn.2001-04.com.example:flat", "10.0.0.1:3260")
        self.adm("theirs", "-m", "iface", "-I", "if1", "-o", "new")
        self.adm("theirs", "-m", "node", "-T", TARGET, "-p", "[fe80::1]:3261,2", "-I", "if1", "-o", "new")
        self.adm("theirs", "-m", "discoverydb", "-t", "st", "-p", "10.0.0.9", "-o", "new")
        flat = f"{DATABASE}/nodes/iqn.2001-04.com.example:flat/10.0.0.1,3260"
        self.assertTrue(os.path.isfile(flat))
        # A listing and a dump of everything, as the contract has them: the same from both.
        for words in (["-m", "node"], ["-m", "node", "-P", "1"], ["-m", "node", "-o", "show"],
                      ["-m", "iface", "-I", "if1"], ["-m", "discoverydb"],
                      ["-m", "discoverydb", "-t", "st", "-p", "10.0.0.9"]):
            self.assertEqual(self.adm("ours", *words), self.adm("theirs", *words), words)
        # An old flat record stays where it is and is changed there; both go on with it.
        self.update("ours", KEYS[0], "79", "iqn.2001-04.com.example:flat")
        self.assertTrue(os.path.isfile(flat))
        self.assertIn(f"\n{KEYS[0]} = 79\n", self.dump("theirs", "iqn.2001-04.com.example:flat"))
        # A key of another version is kept.
        record = f"{DATABASE}/nodes/{TARGET}/10.0.0.1,3260,1/default"
        with open(record, encoding="ascii") as stream:
            text = stream.read()
        with open(record, "w", encoding="ascii") as stream:
            stream.write(text.replace("# END RECORD", "node.session.of_tomorrow = 7\n# END RECORD"))
        self.update("ours", KEYS[0], "80")
        with open(record, encoding="ascii") as stream:
            self.assertIn("\nnode.session.of_tomorrow = 7\n", stream.read())
        self.assertEqual(self.failures, [])

    def test_a_database_elsewhere_is_named_at_run_time(self):
        self.new("theirs")
        listing = self.adm("ours", "-m", "node")
        os.makedirs("/var/lib", exist_ok=True)
        shutil.rmtree("/var/lib/iscsi", ignore_errors=True)
        shutil.move(f"{DATABASE}/nodes", "/var/lib/iscsi/nodes")
        self.assertEqual(self.adm("ours", "-m", "node", ISCSI_DB_DIR="/var/lib/iscsi/"), listing)
        self.adm("ours", "-m", "node", "-T", TARGET, "-o", "delete", ISCSI_DB_DIR="/var/lib/iscsi")
        self.assertEqual(os.listdir("/var/lib/iscsi/nodes"), [])
        self.assertEqual(self.failures, [])


def inside(ours, folder, root):
    """In namespaces of our own: makes the root and runs the tests there."""
    sys.path.insert(0, ORACLE)
    import daemons  # pylint: disable=import-outside-toplevel,import-error
    import world  # pylint: disable=import-outside-toplevel,import-error
    with open(ours, "rb") as stream:
        program = stream.read()
    os.umask(0o022)
    MigrationTest.theirs = world.make_root(root, os.path.join(folder, "sbin/iscsiadm"), False)
    directories = {os.path.dirname(path) for path in glob.glob("/program/**/*.so*", recursive=True)}
    MigrationTest.libraries = ":".join(sorted(directories))
    with open(OURS, "wb") as stream:
        stream.write(program)
    os.chmod(OURS, 0o755)
    # Theirs asks its daemon for the configuration before it makes a record.
    threading.Thread(target=daemons.serve, args=("theirs", False), daemon=True).start()
    if not daemons.ready.wait(30):
        sys.exit("the daemon of the test did not start")
    unittest.main(verbosity=1)


def main():
    if sys.argv[1] == "--inside":
        ours, folder, root = sys.argv[2:5]
        del sys.argv[1:5]
        inside(ours, folder, root)
    fetched = subprocess.run([os.path.join(ORACLE, "fetch")], stdout=subprocess.PIPE, text=True, check=False)
    if fetched.returncode != 0:
        print("skipped: Debian's open-iscsi could not be had")
        sys.exit(SKIPPED)
    command = ["unshare", "--mount", "--net"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    if subprocess.run([*command, "true"], check=False).returncode != 0:
        print("skipped: no namespaces of our own")
        sys.exit(SKIPPED)
    script = [sys.executable, "-B", os.path.abspath(__file__), "--inside", os.path.abspath(sys.argv[1])]
    with tempfile.TemporaryDirectory(prefix="iscsi-oracle-") as root:
        done = subprocess.run([*command, "--", *script, fetched.stdout.strip(), root, *sys.argv[2:]], check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
