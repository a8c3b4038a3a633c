"""A laboratory: real targets and the programs of this build, in scratch directories and on free loopback ports.

    with Lab() as lab:
        target = lab.tgtd()
        target.add(IQN, luns=[Lun(lab.disk("a", 64 * MIB))])
        lab.iscsid()
        lab.discover(target.portal)
        lab.adm("-m", "node", "-l")

Everything that was started is ended by its process id when the block is left, or dies with this process. Labs run
side by side: ports are reserved by file locks, every socket lies in the lab's own directory. Nothing waits for ever.
The programs under test come from the directory that ISCSI_BUILD names.
"""

import ctypes
import fcntl
import hashlib
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

MIB = 1 << 20
SKIP = 77
INITIATOR = "iqn.2026-01.org.example:lab-initiator"
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("ISCSI_BUILD", "")
# A sanitizer's build is slower; every limit in seconds is multiplied by this.
PATIENCE = float(os.environ.get("ISCSI_PATIENCE", "1"))


class Failure(Exception):
    """What a test found wrong."""


class Again(Failure):
    """What the test stands on broke by itself, and nothing that is tested can break that: it is tried again."""


def check(condition, what):
    if not condition:
        raise Failure(what)


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIP)


def need(*programs):
    missing = [p for p in programs if not shutil.which(p)]
    if missing:
        skip(f"{' '.join(missing)} not installed")


def main(test):
    """Runs one test function; its failure is one line and a trace, and exit status 1."""
    for tries_left in (2, 1, 0):
        try:
            test()
            break
        except Failure as failure:
            if isinstance(failure, Again) and tries_left:
                print(f"{failure}\nOnce more.", flush=True)
                continue
            traceback.print_exc(file=sys.stdout)
            print(f"FAILED: {failure}")
            sys.exit(1)
    print("passed")


class Done:
    """A command that ended."""

    def __init__(self, command, status, out, err, seconds):
        self.command, self.status, self.out, self.err, self.seconds = command, status, out, err, seconds

    def __str__(self):
        said = "".join(f"\n  {mark}|{line}" for mark, text in (("O", self.out), ("E", self.err))
                       for line in text.splitlines())
        return f"$ {shlex.join(self.command)}{said}\n  -> {self.status} in {self.seconds:.2f} s"


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def wait_until(condition, seconds, what):
    end = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < end, f"gave up after {seconds * PATIENCE:g} s waiting for {what}")
        time.sleep(0.05)


def _listens(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


def listener_of(path):
    """The process that listens on a Unix socket, or None. For a moment that can be one that was killed."""
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(path) != 0:
            return None
        return struct.unpack("iii", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


def _data_folder():
    """Where disk images go: memory when there is plenty, else where temporary files go."""
    try:
        room = os.statvfs("/dev/shm")
        if room.f_bavail * room.f_frsize > 3 << 30 and os.access("/dev/shm", os.W_OK):
            return "/dev/shm"
    except OSError:
        pass
    return tempfile.gettempdir()


class Lab:
    block = "socket"  # iscsid.block: no kernel devices on the machine that tests

    def __init__(self):
        self.processes = []  # (name, Popen), in the order of their start
        self.port_locks = []
        self.inside = {}  # name of a process -> words before its command, where it runs in a network of its own
        self.undo = []  # called last first, before the processes are ended

    def __enter__(self):
        # A short path: Unix socket names have 108 bytes.
        self.root = tempfile.mkdtemp(prefix="iscsi-lab-", dir="/tmp")
        self.data = tempfile.mkdtemp(prefix="iscsi-lab-", dir=_data_folder())
        self.etc = os.path.join(self.root, "etc/iscsi")
        os.makedirs(self.etc)
        self.env = {**os.environ, "ISCSI_ROOT": self.root, "LC_ALL": "C"}
        with open(f"{self.etc}/initiatorname.iscsi", "w", encoding="ascii") as file:
            file.write(f"InitiatorName={INITIATOR}\n")
        self.configure({})
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return self

    def __exit__(self, kind, value, trace):
        for action in reversed(self.undo):
            try:
                action()
            except Exception:  # the rest must still be undone
                traceback.print_exc(file=sys.stdout)
        crashed = [n for n, p in self.processes if p.poll() is not None and p.returncode not in (0, -15)
                   and not getattr(p, "expected_end", False)]
        for _, process in reversed(self.processes):
            self.end(process)
        badly = [p.returncode for n, p in self.processes if n == "iscsid" and p.returncode != 0]
        if kind not in (None, SystemExit) or crashed or badly:
            self.show_logs()
        reports = self._sanitizer_reports()
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(self.data, ignore_errors=True)
        for lock in self.port_locks:
            lock.close()
        if kind is None:
            check(not crashed, f"ended by themselves: {', '.join(crashed)}")
            check(not reports, f"a sanitizer spoke: {reports[:1]}")
            check(not badly, f"iscsid did not end well on SIGTERM: {badly}")
        return False

    # Processes

    def start(self, name, command, env=None, **options):
        log = open(os.path.join(self.root, f"{name}.log"), "ab")
        command = [*self.inside.get(name, []), *command]
        print(f"+ {shlex.join(command)} &", flush=True)
        process = subprocess.Popen(command, **{"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **options},
                                   preexec_fn=_die_with_parent, env={**self.env, **(env or {})})
        log.close()
        self.processes.append((name, process))
        return process

    def end(self, process, seconds=15):
        if process.poll() is not None:
            return
        process.kill() if getattr(process, "heeds_nothing", False) else process.terminate()
        try:
            process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def run(self, *command, seconds=120, ok=True, quiet=False, **options):
        """Runs a command to its end. ok: its exit status must be 0; or the status it must have; None: any."""
        begun = time.monotonic()
        try:
            done = subprocess.run(command, capture_output=True, timeout=seconds * PATIENCE, check=False,
                                  env={**self.env, **options.pop("env", {})},
                                  stdin=options.pop("stdin", subprocess.DEVNULL), **options)
        except subprocess.TimeoutExpired as late:
            print(f"$ {shlex.join(command)}\n{late.stdout or b''!r}\n{late.stderr or b''!r}")
            raise Failure(f"'{shlex.join(command)}' did not end in {seconds * PATIENCE:g} s") from None
        result = Done(list(command), done.returncode, done.stdout.decode(errors="replace"),
                      done.stderr.decode(errors="replace"), time.monotonic() - begun)
        if not quiet:
            print(result, flush=True)
        if ok is not None:
            wanted = 0 if ok is True else ok
            if result.status != wanted and quiet:
                print(result)
            check(result.status == wanted, f"'{shlex.join(command)}' ended with {result.status}, not {wanted}")
        return result

    def show_logs(self):
        for name in sorted(os.listdir(self.root)):
            if name.endswith(".log"):
                with open(os.path.join(self.root, name), encoding="utf-8", errors="replace") as file:
                    print(f"-- {name}\n" + "".join(file.readlines()[-60:]))

    def _sanitizer_reports(self):
        path = os.path.join(self.root, "iscsid.log")
        if not os.path.exists(path):
            return []
        with open(path, encoding="utf-8", errors="replace") as file:
            return [l for l in file if "Sanitizer" in l or "runtime error:" in l]

    # Places

    def port(self):
        """A loopback port that no other lab uses while this one lasts."""
        folder = os.path.join(tempfile.gettempdir(), "iscsi-lab-ports")
        os.makedirs(folder, mode=0o1777, exist_ok=True)
        first = 20000 + os.getpid() * 37 % 9000
        for step in range(10000):
            number = 20000 + (first - 20000 + step) % 10000
            try:
                lock = open(os.path.join(folder, str(number)), "w", encoding="ascii")
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            if _listens("127.0.0.1", number) or (has_ipv6() and _listens("::1", number)):
                lock.close()
                continue
            self.port_locks.append(lock)
            return number
        raise Failure("no free port")

    def disk(self, name, size):
        path = os.path.join(self.data, name)
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    def random_image(self, name, size):
        path = os.path.join(self.data, name)
        with open(path, "wb") as file:
            for _ in range(0, size, MIB):
                file.write(os.urandom(min(MIB, size)))
        return path

    # Targets

    def tgtd(self, **options):
        from targets import Tgtd

        return Tgtd(self, **options)

    def istgt(self, *args, **options):
        from targets import Istgt

        return Istgt(self, *args, **options)

    def isnsd(self, **options):
        from targets import Isnsd

        return Isnsd(self, **options)

    # The programs under test

    def program(self, name):
        path = os.path.join(BUILD, name)
        check(BUILD and os.path.exists(path), f"ISCSI_BUILD does not name a build directory with {name}: '{BUILD}'")
        return path

    def configure(self, settings):
        with open(f"{self.etc}/iscsid.conf", "w", encoding="utf-8") as file:
            for key, value in {"iscsid.block": self.block, **settings}.items():
                file.write(f"{key} = {value}\n")

    def iscsid(self, *options, **more):
        process = self.start("iscsid", [self.program("iscsid"), "-f", *options], **more)

        def listens():
            check(process.poll() is None, "iscsid ended at its start")
            return listener_of(os.path.join(self.root, "run/iscsid/control.sock")) == process.pid

        wait_until(listens, 20, "iscsid to listen")
        return process

    def adm(self, *args, **options):
        return self.run(self.program("iscsiadm"), *args, **options)

    def discover(self, portal, **options):
        return self.adm("-m", "discovery", "-t", "st", "-p", portal, **options)

    def update(self, target, settings, portal=None):
        pairs = [word for key, value in settings.items() for word in ("-n", key, "-v", str(value))]
        where = ["-T", target] + (["-p", portal] if portal else [])
        self.adm("-m", "node", *where, "-o", "update", *pairs, quiet=True)

    def login(self, target=None, **options):
        return self.adm("-m", "node", *(["-T", target] if target else []), "-l", **options)

    def logout(self, target=None, **options):
        return self.adm("-m", "node", *(["-T", target] if target else []), "-u", **options)

    def session(self):
        """What `-m session -P 3` says: its text, its `name: value` lines, and the NBD addresses in it."""
        text = self.adm("-m", "session", "-P", "3", quiet=True).out
        return Session(text)

    def export(self, lun=None):
        """The address of the only LUN, or of LUN number `lun`."""
        uris = self.session().exports
        if lun is None:
            check(len(uris) == 1, f"one export was expected: {uris}")
            return next(iter(uris.values()))
        check(lun in uris, f"no export of LUN {lun}: {uris}")
        return uris[lun]

    def database(self):
        """A fingerprint of every file and link under etc: its name, mode and content."""
        out = {}
        for place, folders, names in os.walk(os.path.join(self.root, "etc")):
            for name in sorted(folders + names):
                path = os.path.join(place, name)
                what = os.lstat(path)
                if os.path.islink(path):
                    content = os.readlink(path)
                elif os.path.isfile(path):
                    with open(path, "rb") as file:
                        content = hashlib.sha256(file.read()).hexdigest()
                else:
                    content = "folder"
                out[os.path.relpath(path, self.root)] = f"{what.st_mode:o} {content}"
        return out


class Session:
    """The text of `iscsiadm -m session -P 3`, read as a program would."""

    def __init__(self, text):
        self.text = text
        self.values = {m.group(1): m.group(2).strip() for m in re.finditer(r"^\s*([\w .-]+):[ \t]+(.*)$", text, re.M)}
        self.exports = {}
        lun = None
        for line in text.splitlines():
            found = re.search(r"\bLun: (\d+)", line)
            if found:
                lun = int(found.group(1))
            uri = re.search(r"nbd\+unix:\S+", line)
            if uri:
                self.exports[lun] = uri.group(0)


def equal_files(a, b, size):
    """Whether the first `size` bytes of two files are the same; else the first offset where they are not."""
    with open(a, "rb") as one, open(b, "rb") as two:
        for offset in range(0, size, MIB):
            left, right = one.read(min(MIB, size - offset)), two.read(min(MIB, size - offset))
            if left != right:
                place = next((i for i, (x, y) in enumerate(zip(left, right)) if x != y), min(len(left), len(right)))
                return offset + place
    return None


def check_same(a, b, size, what):
    where = equal_files(a, b, size)
    check(where is None, f"{what}: the first difference is at byte {where}")
