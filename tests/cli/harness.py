"""What the tests of iscsiadm share: a directory that is its whole world (ISCSI_ROOT), a daemon that answers from
a script, and comparisons of every byte. A test script is run with the path of iscsiadm as its argument."""

import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import unittest

ISCSIADM = None

# What is to be tried where no daemon runs.
NO_DAEMON = "'systemctl start iscsid.socket', or 'iscsid'; 'journalctl -u iscsid' says why it ended"

COUNTERS = (
    "txdata_octets rxdata_octets noptx_pdus scsicmd_pdus tmfcmd_pdus login_pdus text_pdus dataout_pdus logout_pdus "
    "snack_pdus noprx_pdus scsirsp_pdus tmfrsp_pdus textrsp_pdus datain_pdus logoutrsp_pdus r2t_pdus async_pdus "
    "rjt_pdus digest_err timeout_err"
).split()


def lun(number, device="", uri="", state="running", link=""):
    return {
        "number": number, "state": state, "device": device, "uri": uri, "link": link,
        "size_bytes": 1 << 30, "block_bytes": 512, "vendor": "IET", "product": "VIRTUAL-DISK", "serial": "beaf11",
    }


def kind(reads_us, size=4096, failures=0):
    """Requests of one kind: {microseconds (those that a bucket begins with, as 96, 112, 1024): how many}."""
    count = sum(reads_us.values())
    return {"requests": count, "failures": failures, "bytes": count * size,
            "sum_us": sum(us * number for us, number in reads_us.items()),
            "latency_us": [[us, number] for us, number in sorted(reads_us.items())]}


def io(read=None, write=None, other=None, in_hand=0):
    """What was asked of a unit."""
    return {"read": read or kind({}), "write": write or kind({}), "other": other or kind({}), "in_hand": in_hand, "waits": 0,
            "waited_us": 0}


def session(sid, target, address, port=3260, tpgt=1, iface="default", luns=()):
    """What the daemon tells of a session; the fixed values are those of the captures that the outputs come from."""
    return {
        "sid": sid, "host_number": sid + 1, "target": target, "tpgt": tpgt,
        "current": {"address": address, "port": port},
        "persistent": {"address": address, "port": port},
        "iface": {
            "name": iface, "transport": "tcp", "initiator_name": "iqn.1993-08.org.debian:01:fakeini",
            "ip_address": "10.0.0.5", "hw_address": "", "net_device": "",
        },
        "connection_state": "LOGGED IN", "session_state": "LOGGED_IN", "internal_state": "NO CHANGE",
        "timeouts": {"recovery_s": 120, "target_reset_s": 30, "lun_reset_s": 30, "abort_s": 15},
        "chap": {"username": "u1", "password": "secret123456", "username_in": "", "password_in": ""},
        "negotiated": {
            "header_digest": "None", "data_digest": "None", "max_recv_data_segment_length": 262144,
            "max_xmit_data_segment_length": 8192, "first_burst_length": 65536, "max_burst_length": 262144,
            "max_outstanding_r2t": 1, "immediate_data": True, "initial_r2t": False,
        },
        "statistics": {name: 0 for name in COUNTERS},
        "luns": list(luns),
    }


class FakeDaemon:
    """Answers one JSON object a line. `sessions` is what it lists; `answers` maps a kind of request to a function
    that gives the reply's members (see error()); `seen` keeps every request."""

    def __init__(self, root):
        self.sessions = []
        self.answers = {}
        self.seen = []
        self.reverse = False     # answer what came in one read in reverse order
        self.raw = None          # bytes to answer with, whatever is asked
        self.silent = lambda request: False  # whether a request is never answered
        self._directory = os.path.join(root, "run/iscsid")
        os.makedirs(self._directory)
        self.path = os.path.join(self._directory, "control.sock")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(16)
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def close(self):
        # The thread has left accept() before the descriptor's number can become that of the next daemon's socket.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        shutil.rmtree(self._directory)

    def requests(self, kind):
        return [request for request in self.seen if request["request"] == kind]

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        pending = b""
        with client:
            while True:
                try:
                    data = client.recv(1 << 20)
                except ConnectionResetError:
                    return  # a client that did not wait for its answer
                if not data:
                    return
                pending += data
                if self.raw is not None:
                    client.sendall(self.raw)
                    return
                *lines, pending = pending.split(b"\n")
                requests = [json.loads(line) for line in lines]
                self.seen += requests
                replies = [self._reply(request) for request in requests if not self.silent(request)]
                for reply in reversed(replies) if self.reverse else replies:
                    try:
                        # In two pieces, so that a line is never assumed to come whole.
                        text = json.dumps(reply).encode() + b"\n"
                        client.sendall(text[:7])
                        client.sendall(text[7:])
                    except OSError:
                        return

    def _reply(self, request):
        kind = request["request"]
        defaults = {
            "sessions": lambda _: {"reply": "sessions", "sessions": self.sessions},
            "login": lambda _: {"reply": "login", "sid": 1, "luns": [lun(1, device="/dev/ublkb0")], "note": ""},
        }
        answer = self.answers.get(kind) or defaults.get(kind) or (lambda _: {"reply": "done"})
        return {"v": 1, "id": request["id"], **answer(request)}


def error(code, detail="", errc=None, cause=None):
    failure = {"errc": errc or code, "detail": detail, **({"cause": cause} if cause else {})}
    return {"reply": "error", "exit_code": code, "error": failure}


def found(target, address, port=3260, tpgt=1, iface="default"):
    return {"target": target, "address": address, "port": port, "tpgt": tpgt, "iface": iface}


def discovered(*portals, rejected=()):
    return {"reply": "discover", "found": list(portals), "rejected": list(rejected)}


class CliTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="iscsi-cli-")
        self.config = os.path.join(self.root, "etc/iscsi")
        os.makedirs(self.config)
        with open(os.path.join(self.config, "iscsid.conf"), "w", encoding="ascii") as conf:
            conf.write("node.startup = manual\nnode.session.initial_login_retry_max = 8\n"
                       "node.conn[0].timeo.login_timeout = 15\n")
        self.daemon = None

    def tearDown(self):
        if self.daemon:
            self.daemon.close()
        shutil.rmtree(self.root)

    def start_daemon(self):
        self.daemon = FakeDaemon(self.root)
        return self.daemon

    def run_adm(self, command):
        """Runs a command line, given as words in one string or as a list."""
        words = command.split() if isinstance(command, str) else command
        environment = dict(os.environ, ISCSI_ROOT=self.root, LC_ALL="C")
        done = subprocess.run(["iscsiadm", *words], executable=ISCSIADM, env=environment, capture_output=True,
                              timeout=60, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def run_on_terminal(self, command, columns=80, streams=("stdout", "stderr"), when_told=lambda said: None, **environment):
        """As run_adm(), with a terminal of that width as each of `streams`; the others are pipes. `when_told` is called
        with all that stderr has said so far, whenever that grows."""
        terminals, ends = {}, {}
        for name in streams:
            terminals[name], ends[name] = os.openpty()
            fcntl.ioctl(ends[name], termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            settings = termios.tcgetattr(ends[name])
            settings[1] &= ~termios.OPOST  # the bytes as they were written
            termios.tcsetattr(ends[name], termios.TCSANOW, settings)
        environment = {"TERM": "xterm", **os.environ, "ISCSI_ROOT": self.root, "LC_ALL": "C", **environment}
        pipes = {name: subprocess.PIPE for name in ("stdout", "stderr")}
        process = subprocess.Popen(["iscsiadm", *command.split()], executable=ISCSIADM, env=environment,
                                   stdin=subprocess.DEVNULL, **{**pipes, **ends})
        for end in ends.values():
            os.close(end)
        said = {"stdout": b"", "stderr": b""}

        def read(name):
            file = terminals[name] if name in terminals else getattr(process, name).fileno()
            while True:
                try:
                    part = os.read(file, 65536)
                except OSError:
                    part = b""  # a terminal ends so
                if not part:
                    return
                said[name] += part
                if name == "stderr":
                    when_told(said[name])

        readers = [threading.Thread(target=read, args=(name,)) for name in said]
        for reader in readers:
            reader.start()
        code = process.wait(60)
        for reader in readers:
            reader.join()
        for terminal in terminals.values():
            os.close(terminal)
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()
        return code, said["stdout"].decode(), said["stderr"].decode()

    def expect(self, command, out="", err="", code=0):
        """Every byte of both streams and the exit code. Lines of `err` are given without "iscsiadm: "."""
        got_code, got_out, got_err = self.run_adm(command)
        wanted_err = "".join(f"iscsiadm: {line}\n" for line in err.splitlines())
        self.assertEqual((got_out, got_err, got_code), (out, wanted_err, code), f"iscsiadm {command}")

    def file(self, path):
        with open(os.path.join(self.config, path), encoding="utf-8") as stream:
            return stream.read()

    def tree(self):
        """Every path below the database, files with their content: to see that nothing has changed."""
        paths = {}
        for directory, names, files in os.walk(self.config):
            for name in names + files:
                path = os.path.join(directory, name)
                relative = os.path.relpath(path, self.config)
                regular = os.path.isfile(path) and not os.path.islink(path)
                paths[relative] = self.file(relative) if regular else None
        return paths


def main():
    global ISCSIADM
    ISCSIADM = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
