"""What the tests of the small programs share: their paths, one way to run them, Debian's programs where there are any."""

import os
import select
import signal
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(TESTS, "cli"))

PROGRAMS = []  # the arguments of the test script


def run(*words, env=None, cwd=None, executable=None):
    """(exit code, stdout, stderr) of a program with nothing on its stdin."""
    environment = dict(os.environ, LC_ALL="C", **(env or {}))
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd=cwd, timeout=60,
                          stdin=subprocess.DEVNULL, executable=executable)
    return done.returncode, done.stdout, done.stderr


def end_daemon(path):
    """Ends the daemon of a pid file, and waits for that; False when there is no such file. It is not a child of this
    process: its end is waited for through a descriptor."""
    if not os.path.exists(path):
        return False
    with open(path, encoding="ascii") as file:
        process = os.pidfd_open(int(file.read()))
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        poll = select.poll()
        poll.register(process, select.POLLIN)
        assert poll.poll(20000), "iscsid ends when it is told to"
        return True
    finally:
        os.close(process)


def debian():
    """The folder of Debian's open-iscsi, unpacked; the test that asks is skipped when it cannot be had."""
    fetch = os.path.join(TESTS, "oracle", "fetch")
    if not os.path.exists(fetch):
        raise unittest.SkipTest("there is no tests/oracle/fetch")
    try:
        done = subprocess.run([fetch], capture_output=True, text=True, check=False, timeout=100)
    except subprocess.TimeoutExpired:
        raise unittest.SkipTest("Debian's open-iscsi does not come") from None
    if done.returncode != 0:
        raise unittest.SkipTest(done.stderr.strip() or "Debian's open-iscsi cannot be fetched")
    return done.stdout.strip()


def tests_of(suite):
    for test in suite:
        yield from tests_of(test) if isinstance(test, unittest.TestSuite) else (test,)


def main():
    """Runs the tests of the script that was started; with --debian those, and only those, that compare with Debian's
    programs: without them they are a skip (77)."""
    beside_debian = sys.argv[1:2] == ["--debian"]
    PROGRAMS[:] = [os.path.abspath(word) for word in sys.argv[1 + beside_debian:]]
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    chosen = unittest.TestSuite(test for test in tests_of(suite) if ("debian" in test.id()) == beside_debian)
    result = unittest.TextTestRunner(verbosity=1).run(chosen)
    for test, reason in result.skipped:
        print(f"skipped: {test.id()}: {reason}")
    sys.exit(1 if not result.wasSuccessful() or result.testsRun == 0 else 77 if result.skipped else 0)
