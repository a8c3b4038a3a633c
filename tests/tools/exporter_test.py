"""iscsi-exporter: where it listens, what it says of a daemon that answers, does not answer or is not there, and of a
thousand units; what others do to it. The daemon is a script (tests/cli/harness.py)."""

import http.client
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import tools
import harness  # noqa: E402  (tools has found its folder)

UP = re.compile(r"^iscsi_up ([01])$", re.M)
TARGET = "iqn.2001-04.com.example:t1"
# The beginnings of all buckets of base/histogram.hpp.
BUCKETS = [*range(8), *(value << power for power in range(24) for value in range(8, 16))]
# What a service manager does between fork and exec; the descriptor is the first argument.
STARTER = """
import os, sys
fd = int(sys.argv[1])
os.dup2(fd, 3, inheritable=True) if fd != 3 else os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def kind(requests):
    return {"requests": requests, "failures": 0, "bytes": requests << 12, "sum_us": requests * 100,
            "latency_us": [[16 << step, requests] for step in range(12)]}


def unit(number):
    return {**harness.lun(number, device=f"/dev/ublkb{number}"),
            "io": {"read": kind(12345678), "write": kind(2345678), "other": kind(3), "in_hand": 1, "waits": 2, "waited_us": 3}}


class Exporter(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="iscsi-exporter-")
        self.path = os.path.join(self.root, "metrics.sock")
        self.addCleanup(shutil.rmtree, self.root)
        self.daemon = None

    def start_daemon(self):
        self.daemon = harness.FakeDaemon(self.root)
        self.addCleanup(self.daemon.close)
        return self.daemon

    def start(self, *words, executable=None, **options):
        words = [*(executable or []), tools.PROGRAMS[0], *words]
        process = subprocess.Popen(words, env=dict(os.environ, ISCSI_ROOT=self.root, LC_ALL="C"), stdin=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True, **options)
        self.addCleanup(process.stderr.close)
        self.addCleanup(self.stop, process)
        return process

    def stop(self, process):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(60), 0)

    def serve(self, *words, **options):
        """An exporter that listens at self.path."""
        process = self.start("-s", self.path, *words, **options)
        while not os.path.exists(self.path) or not self.connects():
            self.assertIsNone(process.poll(), "it ended at its start")
            select.select([], [], [], 0.02)
        return process

    def connects(self):
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(self.path) == 0

    def ask(self, connection=None, method="GET", url="/metrics"):
        connection = connection or UnixConnection(self.path)
        connection.request(method, url)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer, body

    def up(self):
        answer, body = self.ask()
        self.assertEqual(answer.status, 200)
        return UP.search(body)[1]

    def test_a_daemon_that_comes_and_goes(self):
        process = self.serve()
        self.assertEqual(self.up(), "0")
        self.daemon = harness.FakeDaemon(self.root)
        self.daemon.sessions = [harness.session(1, TARGET, "10.0.0.1", luns=[unit(1)])]
        answer, body = self.ask()
        self.assertEqual(answer.getheader("Content-Type"), "text/plain; version=0.0.4; charset=utf-8")
        self.assertEqual(UP.search(body)[1], "1")
        self.assertIn('iscsi_lun_requests_total{sid="1",lun="1",kind="read"} 12345678\n', body)
        self.assertEqual([request["with_io"] for request in self.daemon.seen], [True])
        self.daemon.close()
        self.assertEqual(self.up(), "0")
        self.stop(process)
        self.assertEqual(process.stderr.read().splitlines(),
                         ["iscsi-exporter: could not connect to iscsid", "iscsi-exporter: iscsid answers again",
                          "iscsi-exporter: could not connect to iscsid"])
        self.assertFalse(os.path.exists(self.path), "its socket goes with it")

    def test_a_daemon_that_does_not_answer_or_answers_nonsense(self):
        self.serve()
        daemon = self.start_daemon()
        for raw in (b"nonsense\n", b"{}\n", b""):
            daemon.raw = raw
            self.assertEqual(self.up(), "0")
        daemon.raw = None
        daemon.silent = lambda request: True
        begun = time.monotonic()
        self.assertEqual(self.up(), "0")
        self.assertGreaterEqual(time.monotonic() - begun, 5)
        daemon.silent = lambda request: False
        self.assertEqual(self.up(), "1")

    def test_a_daemon_that_takes_no_connections(self):
        os.makedirs(os.path.join(self.root, "run/iscsid"))
        with socket.socket(socket.AF_UNIX) as hung:
            hung.bind(os.path.join(self.root, "run/iscsid/control.sock"))
            hung.listen(0)
            with socket.socket(socket.AF_UNIX) as waiting:
                waiting.connect(hung.getsockname())
                self.serve()
                self.assertEqual(self.up(), "0")

    def test_a_thousand_units(self):
        daemon = self.start_daemon()
        daemon.sessions = [harness.session(sid, TARGET, "10.0.0.1", luns=[unit(number) for number in range(100)])
                           for sid in range(1, 11)]
        self.serve()
        begun = time.monotonic()
        _, body = self.ask()
        took = time.monotonic() - begun
        print(f"1,000 units: {len(body.splitlines())} lines, {len(body)} bytes in {took:.2f} s")
        self.assertEqual(UP.search(body)[1], "1")
        self.assertEqual(len(re.findall(r"^iscsi_lun_info\{", body, re.M)), 1000)
        self.assertEqual(len(re.findall(r"^iscsi_lun_request_seconds_count\{", body, re.M)), 3000)

    def test_more_than_one_answer_may_hold(self):
        """2,000 units, as busy as they can be: 20 MiB in one answer, of which the socket takes 16. The script pages as iscsid
        does, by 100 units."""
        daemon = self.start_daemon()
        busy = {**unit(0)["io"], "read": {**kind(1), "latency_us": [[value, 10**9] for value in BUCKETS]}}
        sessions = {sid: harness.session(sid, TARGET, "10.0.0.1") for sid in (1, 2)}

        def page(request):
            after, lun = request["after"]["sid"], request["after"].get("lun")
            sid = after if lun is not None else after + 1
            if sid > 2:
                return {"reply": "sessions", "sessions": []}
            first = 0 if lun is None else lun + 1
            luns = [{**unit(number), "io": {**busy, "write": busy["read"], "other": busy["read"]}}
                    for number in range(first, min(first + 100, 1000))]
            end = {"sid": sid} if first + 100 >= 1000 else {"sid": sid, "lun": first + 99}
            return {"reply": "sessions", "sessions": [{**sessions[sid], "luns": luns}], "next": end}

        daemon.answers["sessions"] = page
        self.serve()
        begun = time.monotonic()
        _, body = self.ask()
        size = 20 * len(json.dumps([{**unit(0), "io": {**busy, "write": busy["read"], "other": busy["read"]}}] * 100))
        print(f"2,000 busy units: {len(body) >> 20} MiB in {time.monotonic() - begun:.2f} s, {len(daemon.seen)} answers")
        self.assertEqual(UP.search(body)[1], "1")
        self.assertGreater(size, 16 << 20)
        self.assertEqual(len(set(re.findall(r"^iscsi_lun_size_bytes\{.*?\}", body, re.M))), 2000)
        self.assertEqual(len(re.findall(r"^iscsi_session_info\{", body, re.M)), 2)

    def test_a_list_that_has_no_end(self):
        daemon = self.start_daemon()
        daemon.answers["sessions"] = lambda _: {"reply": "sessions", "sessions": [], "next": {"sid": 7}}
        self.serve()
        self.assertEqual(self.up(), "0")
        self.assertEqual(len(daemon.seen), 2)

    def test_other_requests_are_refused(self):
        self.serve()
        for method, url, status in (("GET", "/", 404), ("GET", "/metrics/x", 404), ("POST", "/metrics", 405),
                                    ("DELETE", "/metrics", 405), ("HEAD", "/metrics", 200)):
            answer, body = self.ask(method=method, url=url)
            self.assertEqual(answer.status, status, (method, url))
            self.assertEqual(body, "" if method == "HEAD" else "GET /metrics\n")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(self.path)
            client.sendall(b"GET /" + b"x" * 32768)
            self.assertTrue(client.recv(65536).startswith(b"HTTP/1.1 414 "))
        self.assertEqual(self.up(), "0")

    def test_one_who_says_little_keeps_nobody_waiting(self):
        self.start_daemon()
        self.serve()
        slow = [socket.socket(socket.AF_UNIX) for _ in range(8)]
        for client in slow:
            self.addCleanup(client.close)
            client.connect(self.path)
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
        for _ in range(3):
            self.assertEqual(self.up(), "1")
        # And is not waited for, either; nor is who is never silent and never done.
        slow[0].settimeout(1)
        begun, ended = time.monotonic(), False
        while not ended:
            self.assertLess(time.monotonic() - begun, 60)
            try:
                slow[0].sendall(b"x")
                ended = slow[0].recv(65536) == b""
            except TimeoutError:
                pass
            except OSError:
                ended = True
        slow[1].settimeout(60)
        while slow[1].recv(65536):
            pass

    def test_who_asks_while_an_answer_is_on_its_way_gets_that_one(self):
        daemon = self.start_daemon()
        self.serve()
        daemon.silent = lambda request: True
        many = [UnixConnection(self.path) for _ in range(8)]
        begun = time.monotonic()
        for connection in many:
            connection.request("GET", "/metrics")
        for connection in many:
            self.assertIn("\niscsi_up 0\n", connection.getresponse().read().decode())
            connection.close()
        self.assertLess(len(daemon.seen), 8, "the daemon was asked once, or a few times")
        print(f"eight at once: the daemon was asked {len(daemon.seen)} times, {time.monotonic() - begun:.1f} s")

    def test_a_loopback_port(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.start_daemon()
        self.serve("-l", f"127.0.0.1:{port}")
        _, body = self.ask(http.client.HTTPConnection("127.0.0.1", port, timeout=60))
        self.assertIn("iscsi_up 1\n", body)

    def refused(self, *words, **options):
        process = self.start(*words, **options)
        said = process.stderr.read()
        self.assertEqual(process.wait(60), 1, words)
        self.assertEqual(said.count("\n"), 1, said)
        return said

    def test_nobody_else_s_address(self):
        for text in ("0.0.0.0:9891", "192.0.2.1:9891", "[::]:9891", "[2001:db8::1]:9891", "localhost:9891", "127.0.0.1",
                     "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:9891,1", ":9891", "", "[::ffff:127.0.0.1]:9891"):
            said = self.refused("-s", self.path, "-l", text)
            self.assertIn("is not a loopback address and a port, as 127.0.0.1:9891 or [::1]:9891 are", said)
            self.assertFalse(os.path.exists(self.path))

    def test_wrong_command_lines(self):
        self.assertIn("unknown argument: x", self.refused("x"))
        self.assertIn("unrecognized option '--bogus'", self.refused("--bogus"))
        self.assertIn("1 to 107 bytes", self.refused("-s", "/" + "x" * 200))
        self.assertIn("cannot listen at", self.refused("-s", os.path.join(self.root, "not/there")))
        with open(self.path, "w", encoding="ascii"):
            pass
        self.assertIn("is no socket", self.refused("-s", self.path))
        self.assertTrue(os.path.exists(self.path))

    def test_a_socket_that_somebody_has_and_one_that_nobody_has(self):
        first = self.serve()
        self.assertIn("somebody listens", self.refused("-s", self.path))
        first.kill()
        first.wait()
        self.assertTrue(os.path.exists(self.path))
        self.serve()
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o666)

    def given(self, made):
        return {"executable": [sys.executable, "-c", STARTER, str(made.fileno())], "pass_fds": [made.fileno()]}

    def test_what_a_service_manager_gives(self):
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(self.path)
            made.listen(4)
            made.setblocking(False)
            process = self.start(**self.given(made))
            self.assertEqual(self.up(), "0")
            self.stop(process)
        self.assertTrue(os.path.exists(self.path), "the socket's file is not its own")
        self.assertFalse(os.path.exists(os.path.join(self.root, "run/iscsid/metrics.sock")))

    def test_what_a_service_manager_must_not_give(self):
        for family, kind_of, address in ((socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", 0)),
                                         (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0))):
            with socket.socket(family, kind_of) as made:
                made.bind(address)
                if kind_of == socket.SOCK_STREAM:
                    made.listen(4)
                self.assertIn("neither a Unix socket nor one of a loopback address", self.refused(**self.given(made)))


if __name__ == "__main__":
    tools.main()
