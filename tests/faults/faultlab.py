"""The laboratory with its instruments of harm: a proxy before a target, a write oracle behind the daemon.

    @shows("F-05")
    def a_scenario():
        "What is true, in a sentence: the title of this test in tests/faults.md."
        with FaultLab() as lab:
            target = lab.tgtd()
            target.add(TARGET, luns=[lab.lun()])
            proxy = lab.proxy(target.portal)
            lab.iscsid()
            lab.log_in(proxy.portal)
            oracle = lab.oracle()
            oracle.fill()
            oracle.go()
            proxy.say("reset after=100000")
            oracle.settle(lab.luns[1].path)

    scenarios(globals())  # `file.py NAME` runs one; `file.py --list` says which ids each shows

Where ISCSI_RESULTS names a folder, what became of a scenario is left there, for tests/faults.md.
"""

import os
import queue
import subprocess
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "interop"))

from lab import MIB, PATIENCE, SKIP, Failure, Lab, check, main, need, skip, wait_until  # noqa: E402,F401  pylint: disable=C0413
from targets import Lun  # noqa: E402  pylint: disable=C0413

TARGET = "iqn.2026-01.org.example:faults"
# A drop is over at once, and is found soon: what a test waits for is the fault, not a timer made for people.
SHORT = {"node.session.iscsi.DefaultTime2Wait": 0, "node.conn[0].timeo.noop_out_interval": 1,
         "node.conn[0].timeo.noop_out_timeout": 1, "node.conn[0].timeo.login_timeout": 5}


class Spoken:
    """A program that obeys lines and answers each with one: ok or error, then name=value words."""

    def __init__(self, lab, name, command):
        self.name = name
        self.process = lab.start(name, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answers, self.heard = queue.Queue(), []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            line = line.rstrip("\n")
            if line.startswith(("ok", "error ")):
                self.answers.put(line)
            else:
                print(f"{self.name}: {line}", flush=True)
                self.heard.append(line)
        self.answers.put(f"error {self.name} has ended")

    def say(self, line, seconds=10, ok=True):
        """The numbers in its answer."""
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.answers.get(timeout=seconds * PATIENCE)
        except (OSError, queue.Empty):
            raise Failure(f"{self.name} does not answer to '{line}'") from None
        check(not ok or answer.startswith("ok"), f"{self.name}: {line}: {answer}")
        return {key: int(value) for key, _, value in (word.partition("=") for word in answer.split()) if value}


class Oracle(Spoken):
    """A write oracle (write-oracle --help)."""

    def fill(self):
        return self.say("fill", 130)

    def go(self):
        return self.say("go")

    def pause(self, seconds=60):
        return self.say(f"pause {int(seconds * PATIENCE)}", seconds + 5)

    def stats(self):
        return self.say("stats")

    def violations(self):
        """What it said about sectors so far."""
        return [line for line in self.heard if line.startswith("violation")]

    def done(self):
        """Requests that were answered well so far."""
        now = self.stats()
        return sum(now[verb] for verb in ("reads", "writes", "flushes", "zeroes", "trims"))

    def goes_on(self, seconds=30, requests=50):
        """Waits until so many more requests were answered well."""
        before = self.done()
        wait_until(lambda: self.done() >= before + requests, seconds, "the load to go on")

    def first_answer(self, seconds=60):
        """Waits until one more request was answered well; gives the seconds, to a hundredth."""
        begun, before = time.monotonic(), self.done()
        while self.done() == before:
            check(time.monotonic() < begun + seconds * PATIENCE, f"the load does not go on within {seconds} s")
            time.sleep(0.005)
        return time.monotonic() - begun

    def settle(self, *files, errors=False, flush_errors=False):
        """The end of a load: everything is read and judged, through the initiator and at the target. errors: some
        requests may have failed; flush_errors: some flushes may. Gives the counts."""
        self.pause()
        self.say("verify", 130)
        for path in files:
            self.say(f"judge {path}", 60)
        now = self.stats()
        print("the oracle: " + " ".join(f"{key}={value}" for key, value in now.items()), flush=True)
        check(now["violations"] == 0, f"{now['violations']} sectors hold what they may not: {self.violations()[:3]}")
        check(errors or now["errors"] == 0, f"{now['errors']} requests failed: {os.strerror(now['last_error'])}")
        check(errors or flush_errors or now["flush_errors"] == 0, f"{now['flush_errors']} flushes failed")
        return now


class Proxy(Spoken):
    """A fault proxy (fault-proxy --help) and the portal that it is."""

    def __init__(self, lab, name, target, seed):
        port = lab.port()
        self.portal = f"127.0.0.1:{port}"
        super().__init__(lab, name, [lab.program("tests/faults/fault-proxy"), "--seed", str(seed), self.portal, target])
        wait_until(lambda: any(line.startswith("listening") for line in self.heard), 10, "the proxy to listen")

    def stats(self):
        return self.say("stats")


class FaultLab(Lab):
    def __init__(self, seed=1):
        super().__init__()
        self.seed = int(os.environ.get("ISCSI_SEED", seed))
        self.daemon = None

    def lun(self, number=1, size=32 * MIB, name="disk"):
        return Lun(self.disk(f"{name}{number}", size), number)

    def proxy(self, target, name="proxy"):
        return Proxy(self, name, target, self.seed)

    def oracle(self, *options, uri=None, name="oracle"):
        command = [self.program("tests/faults/write-oracle"), "--seed", str(self.seed), *options, uri or self.export()]
        return Oracle(self, name, command)

    def log_in(self, portal, target=TARGET, record=None, **options):
        """A record made by hand, for discovery would give the target's own address; then a login."""
        self.adm("-m", "node", "-o", "new", "-T", target, "-p", portal, quiet=True)
        self.update(target, {**SHORT, **(record or {})}, portal)
        return self.adm("-m", "node", "-T", target, "-p", portal, "-l", **options)

    def uri(self, portal, target=TARGET, number=1):
        """The address of a LUN's export; the same after every restart of the daemon."""
        return f"nbd+unix:///?socket={self.root}/run/iscsid/by-path/ip-{portal}-iscsi-{target}-lun-{number}"

    def iscsid(self, *options, **more):
        self.daemon = super().iscsid(*options, **more)
        return self.daemon

    def kill_daemon(self):
        self.daemon.expected_end = True
        self.daemon.kill()
        self.daemon.wait()
        self.processes = [(n, p) for n, p in self.processes if p is not self.daemon]

    def log(self):
        with open(os.path.join(self.root, "iscsid.log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_log(self, words, count=1, seconds=30):
        wait_until(lambda: self.log().count(words) >= count, seconds, f"'{words}' in the daemon's log")

    def cpu_share(self, process, seconds):
        """Of one processor, of all its threads, over the next so many seconds."""
        before = self.cpu_seconds(process)
        time.sleep(seconds)
        return (self.cpu_seconds(process) - before) / seconds

    @staticmethod
    def cpu_seconds(process):
        """Of all its threads, since it began."""
        with open(f"/proc/{process.pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Stack:
    """A LUN of a target, a proxy before it, a session through that, and a load on it with an oracle."""

    def __init__(self, lab, number=1, depth=16, lun=1):
        self.lab, self.number, self.depth, self.name = lab, number, depth, f"{TARGET}-{number}"
        self.lun = lab.lun(lun, 16 * MIB, f"disk{number}-")
        self.target, self.proxy, self.oracle = None, None, None

    def stand_before(self, target):
        self.target, self.proxy = target, self.lab.proxy(target.portal, f"proxy{self.number}")

    def load(self, record=None, options=()):
        """Logs in and begins the load."""
        self.lab.log_in(self.proxy.portal, self.name, record, quiet=True)
        self.oracle = self.lab.oracle("--depth", str(self.depth), *options, name=f"oracle{self.number}",
                                      uri=self.lab.uri(self.proxy.portal, self.name, self.lun.number))
        self.oracle.fill()
        self.oracle.go()


TGTD = {"DefaultTime2Wait": 0, "HeaderDigest": "CRC32C,None", "DataDigest": "CRC32C,None"}


def tgtd_stacks(lab, targets, each, depth=8):
    """So many tgtds with so many stacks each."""
    stacks = []
    for _ in range(targets):
        target = lab.tgtd()
        for _ in range(each):
            stack = Stack(lab, len(stacks) + 1, depth)
            target.add(stack.name, [stack.lun], parameters=TGTD)
            stack.stand_before(target)
            stacks.append(stack)
    return stacks


def istgt_stack(lab, number=1):
    """istgt knows one target, which must have a LUN 0."""
    stack = Stack(lab, number, lun=0)
    stack.stand_before(lab.istgt(stack.name, [stack.lun], time_to_wait=0))
    return stack


def rounds(stacks, harm, times):
    """Does harm to each stack, in rounds of three, and sees the loads go on after each. A session that is lost for the
    fourth time in a row within five seconds of its login is taken for one of two hosts with one name, and waits: so
    there is a pause between the rounds. Gives the milliseconds without an answer, sorted."""
    gaps = []
    for _ in range(times):
        for _ in range(3):
            for stack in stacks:
                stack.oracle.say("epoch")
                harm(stack)
            for stack in stacks:
                stack.oracle.goes_on()
                gaps.append(stack.oracle.stats()["gap_ms"])
        time.sleep(5.2)
    gaps.sort()
    print(f"without an answer: {gaps[len(gaps) // 2]} ms in the middle, {gaps[len(gaps) * 99 // 100]} ms at 99 %, "
          f"{gaps[-1]} ms at most", flush=True)
    return gaps


def kill(target):
    """SIGKILL, which was meant."""
    target.process.expected_end = True
    target.process.kill()
    target.process.wait()


def shows(*ids):
    """Marks a scenario with the faults of section 3 of the catalogue that it is about."""
    def mark(function):
        function.shows = ids
        return function
    return mark


def _leave_result(name, word):
    folder = os.environ.get("ISCSI_RESULTS")
    if folder:
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, name), "w", encoding="ascii") as file:
            file.write(word + "\n")


def scenarios(names):
    """Runs the functions that the command line names, or lists all that have ids: NAME|IDS|TITLE."""
    marked = {name: thing for name, thing in names.items() if hasattr(thing, "shows")}
    if sys.argv[1:] == ["--list"]:
        for name, function in marked.items():
            print(f"{name}|{' '.join(function.shows)}|{' '.join(function.__doc__.split()).rstrip('.')}")
        return
    wanted = sys.argv[1:] or list(marked)
    for name in wanted:
        begun, word = time.monotonic(), "failed"
        try:
            marked[name]()
            word = "passed"
        except SystemExit as end:
            word = "skipped" if end.code == SKIP else word
            raise
        except Failure as failure:
            traceback.print_exc(file=sys.stdout)
            print(f"FAILED: {name}: {failure}")
            sys.exit(1)
        finally:
            _leave_result(name, word)
        print(f"{name} passed in {time.monotonic() - begun:.1f} s", flush=True)
