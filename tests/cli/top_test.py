"""iscsiadm top: in place on a terminal, which is left as it was; a table a refresh elsewhere, a line of JSON with -j."""

import fcntl
import json
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time

import harness
from harness import error, io, kind, lun, session

T1, T2 = "iqn.2001-04.com.example:one", "iqn.2001-04.com.example:two"
ENTERED, LEFT = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


class Counting:
    """Answers as a daemon whose first unit has ended `step` reads more each time that it is asked."""

    def __init__(self, daemon, step=1000):
        self.step, self.asked, self.sessions = step, 0, [1, 2]
        daemon.answers["sessions"] = self

    def __call__(self, request):
        assert request["with_io"], request
        self.asked += 1
        one = {**lun(1, device="/dev/ublkb0"), "io": io(read=kind({96: self.asked * self.step}), in_hand=7)}
        two = {**lun(3, device="/run/luns/3", uri="nbd+unix:///?socket=/run/luns/3"), "io": io()}
        known = {1: session(1, T1, "10.0.0.1", luns=[one]), 2: session(2, T2, "10.0.0.2", luns=[two])}
        return {"reply": "sessions", "sessions": [known[sid] for sid in self.sessions]}


class Terminal:
    """iscsiadm on a terminal of its own, in a session of its own, as a person's."""

    def __init__(self, test, command, columns=100, lines=24, **environment):
        self.test, self.said = test, ""
        self.master, end = os.openpty()
        self.resize(columns, lines, end)
        settings = termios.tcgetattr(end)
        settings[1] &= ~termios.OPOST
        termios.tcsetattr(end, termios.TCSANOW, settings)
        self.end = end  # open, so that its settings can be looked at
        self.before = termios.tcgetattr(end)
        environment = {"TERM": "xterm", **os.environ, "ISCSI_ROOT": test.root, "LC_ALL": "C", **environment}
        self.process = subprocess.Popen(["iscsiadm", *command.split()], executable=harness.ISCSIADM, env=environment, stdin=end,
                                        stdout=end, stderr=subprocess.PIPE, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        test.addCleanup(self.close)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        for file in (self.master, self.end):
            os.close(file)

    def resize(self, columns, lines, end=None):
        fcntl.ioctl(self.master if end is None else end, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys):
        os.write(self.master, keys)

    def read(self, until, seconds=60):
        """What it says from here on, to where `until` of that is true."""
        said, give_up_at = "", time.monotonic() + seconds
        while not until(said):
            ready, _, _ = select.select([self.master], [], [], max(0, give_up_at - time.monotonic()))
            if not ready:
                raise AssertionError(f"no more was said than {said!r}")
            said += os.read(self.master, 65536).decode()
        self.said += said
        return said

    def frames(self, count):
        """The next whole screens, as lists of lines without their colours."""
        said = self.read(lambda said: said.count("\x1b[J") >= count)
        frames = re.findall(r"\x1b\[H(?!\x1b)(.*?)\x1b\[J", said, re.S)
        return [re.sub(r"\x1b\[[0-9;]*[mK]", "", frame).split("\r\n") for frame in frames]

    def tables(self, count):
        """As frames(), of those with numbers."""
        tables = []
        while len(tables) < count:
            tables += [frame for frame in self.frames(1) if len(frame) > 1]
        return tables

    def until_a_frame(self, condition, at_most=200):
        """Those that were on their way may be others."""
        seen = []
        while len(seen) < at_most:
            for frame in self.frames(1):
                if condition(frame):
                    return
                seen.append(frame)
        raise AssertionError(f"none is as it is to be: {seen[-1]}")

    def ends(self, status=0, err=""):
        code = self.process.wait(60)
        while select.select([self.master], [], [], 0)[0]:
            self.said += os.read(self.master, 65536).decode()
        self.test.assertEqual((code, self.process.stderr.read().decode()), (status, err))

    def is_as_before(self):
        self.test.assertEqual(termios.tcgetattr(self.end), self.before)
        self.test.assertEqual((self.said.count(ENTERED), self.said.count(LEFT)), (1, 1), repr(self.said))
        self.test.assertTrue(self.said.startswith(ENTERED) and self.said.endswith(LEFT), repr(self.said[-200:]))


class OnATerminal(harness.CliTest):
    def setUp(self):
        super().setUp()
        self.answers = Counting(self.start_daemon())

    def test_it_is_refreshed_in_place(self):
        terminal = Terminal(self, "top -i 0.1", columns=140)
        for table in terminal.tables(3):
            self.assertRegex(table[0], r"^\d\d:\d\d:\d\d  2 sessions, 2 units, \d+\.\d s$")
            self.assertEqual(table[1].split()[:6], ["SID", "LUN", "DEVICE", "STATE", "R/S", "W/S"])
            self.assertRegex(table[2], r"^ +all +[1-9]\d* +0 ")
            self.assertRegex(table[3], r"^ +1 +1  ublkb0 +up +[1-9]\d* +0 .* 7 +99us +99us +99us +0  .*:one$")
            self.assertRegex(table[4], r"^ +2 +3  socket +up +0 +0 .* 0 +- +- +- .*:two$")
            self.assertEqual(len(table), 5)
        self.assertNotEqual(termios.tcgetattr(terminal.end), terminal.before, "keys are to come without Enter")
        # In place: nothing scrolls, and the screen is cleared once only.
        self.assertEqual(terminal.said.count("\x1b[2J"), 1)
        self.assertNotRegex(terminal.said, r"\n[^\r\x1b]*\n\Z")
        terminal.type(b"xq")
        terminal.ends()
        terminal.is_as_before()

    def test_whatever_ends_it_the_terminal_is_as_it_was(self):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, None):
            terminal = Terminal(self, "top -i 60")
            terminal.frames(1)
            if number:
                terminal.process.send_signal(number)
            else:
                terminal.type(b"\x03")
            terminal.ends()
            terminal.is_as_before()

    def test_a_daemon_that_says_nothing_does_not_keep_it_from_ending(self):
        self.daemon.silent = lambda request: True
        terminal = Terminal(self, "top")
        terminal.read(lambda said: ENTERED in said)
        while not self.daemon.seen:
            self.assertIsNone(terminal.process.poll())
        terminal.type(b"q")
        terminal.ends()
        terminal.is_as_before()

    def test_it_stops_and_goes_on(self):
        terminal = Terminal(self, "top -i 60")
        terminal.frames(1)
        terminal.process.send_signal(signal.SIGTSTP)
        terminal.read(lambda said: LEFT in said)
        _, status = os.waitpid(terminal.process.pid, os.WUNTRACED)
        self.assertTrue(os.WIFSTOPPED(status), status)
        self.assertEqual(termios.tcgetattr(terminal.end), terminal.before)
        terminal.process.send_signal(signal.SIGCONT)
        terminal.read(lambda said: ENTERED in said and "\x1b[J" in said.split(ENTERED)[1])
        terminal.type(b"q")
        terminal.ends()
        self.assertEqual(termios.tcgetattr(terminal.end), terminal.before)
        self.assertTrue(terminal.said.endswith(LEFT))

    def test_it_follows_the_size(self):
        terminal = Terminal(self, "top -i 0.1", columns=80, lines=24)
        table = terminal.tables(1)[0]
        self.assertLess(max(map(len, table)), 80)
        self.assertNotIn("TARGET", table[1])
        terminal.resize(140, 24)
        terminal.read(lambda said: "TARGET" in said)
        terminal.resize(40, 3)
        terminal.until_a_frame(lambda frame: max(map(len, frame)) < 40 and len(frame) == 3)
        terminal.type(b"q")
        terminal.ends()
        terminal.is_as_before()

    def test_another_size_is_drawn_at_once(self):
        terminal = Terminal(self, "top -i 60")
        terminal.frames(1)
        terminal.resize(50, 10)
        terminal.frames(1)
        self.assertEqual(self.answers.asked, 1)
        terminal.type(b"q")
        terminal.ends()

    def test_colours_only_where_they_are_wanted(self):
        self.answers.sessions = []
        for environment, coloured in (({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)):
            terminal = Terminal(self, "top -i 0.1", **environment)
            terminal.tables(1)
            self.assertEqual("\x1b[7m" in terminal.said, coloured, environment)
            self.assertEqual(bool(re.search(r"\x1b\[[0-9;]*m", terminal.said)), coloured, environment)
            terminal.type(b"q")
            terminal.ends()

    def test_what_was_asked_for_by_number_stays_on_the_terminal(self):
        terminal = Terminal(self, "top -i 0.1 -c 2", columns=140)
        terminal.ends()
        screen, after = terminal.said.split(LEFT)
        self.assertEqual(screen.count("\x1b[J"), 3)
        self.assertEqual(len(after.splitlines()), 5)
        self.assertIn(T1, after)

    def test_a_dumb_terminal_gets_tables_one_below_the_other(self):
        for term in ("dumb", ""):
            terminal = Terminal(self, "top -i 0.1 -c 2", TERM=term)
            terminal.ends()
            self.assertNotIn("\x1b", terminal.said)
            self.assertEqual(terminal.said.count(" R/S"), 2)

    def test_a_daemon_that_is_away_is_waited_for(self):
        terminal = Terminal(self, "top -i 0.1")
        terminal.tables(1)
        self.daemon.answers["sessions"] = lambda _: error(9, "it ends")
        terminal.read(lambda said: "it ends: asking again" in said)
        self.daemon.answers["sessions"] = self.answers
        self.assertRegex(terminal.tables(1)[0][3], r"^ +1 +1  ublkb0 +up +[1-9]")
        self.daemon.close()
        self.daemon = None
        terminal.read(lambda said: "iscsid does not run: waiting for it" in said)
        Counting(self.start_daemon(), step=5)
        self.assertRegex(terminal.tables(1)[0][3], r"^ +1 +1  ublkb0 +up +\d")
        terminal.type(b"q")
        terminal.ends()
        terminal.is_as_before()


class OnAPipe(harness.CliTest):
    def setUp(self):
        super().setUp()
        self.answers = Counting(self.start_daemon())

    def test_a_table_a_refresh(self):
        code, out, err = self.run_adm("top -i 0.1 -c 2")
        self.assertEqual((code, err), (0, ""))
        tables = out.split("\n\n")
        self.assertEqual(len(tables), 2)
        for table in tables:
            lines = table.splitlines()
            self.assertEqual(len(lines), 5)
            self.assertIn("O/S", lines[1])
            self.assertTrue(lines[3].endswith(T1))
        self.assertEqual(self.answers.asked, 3)

    def test_a_line_of_json_a_refresh(self):
        code, out, err = self.run_adm("top -j -i 0.1 -c 3")
        self.assertEqual((code, err), (0, ""))
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(len(lines), 3)
        for line in lines:
            self.assertEqual((line["version"], line["sessions"], line["recovering"]), (1, 2, 0))
            one, two = line["units"]
            self.assertEqual((one["sid"], one["lun"], one["target"], one["device"], one["state"]),
                             (1, 1, T1, "/dev/ublkb0", "running"))
            # A thousand in the time that it says.
            self.assertAlmostEqual(one["reads_per_s"] * line["seconds"], 1000, 3)
            self.assertAlmostEqual(one["read_bytes_per_s"] * line["seconds"], 4096 * 1000, 0)
            self.assertEqual((one["in_hand"], one["failures"]), (7, 0))
            self.assertTrue(96 <= one["p50_us"] <= one["p99_us"] <= one["p999_us"] <= 104, one)
            self.assertEqual((two["reads_per_s"], two["p50_us"]), (0, 0))
            self.assertEqual(line["total"]["reads_per_s"], one["reads_per_s"])
        self.assertTrue(lines[0]["time"] < lines[1]["time"] < lines[2]["time"])

    def test_json_lines_come_as_they_are_made(self):
        environment = dict(os.environ, ISCSI_ROOT=self.root, LC_ALL="C")
        with subprocess.Popen([harness.ISCSIADM, "top", "-j", "-i", "0.1"], env=environment, stdout=subprocess.PIPE) as process:
            self.assertEqual(json.loads(process.stdout.readline())["version"], 1)
            process.stdout.close()
            self.assertEqual(process.wait(60), -signal.SIGPIPE)

    def test_only_what_was_chosen(self):
        for words, sids in ((f"-T {T2}", [2]), ("-p 10.0.0.1", [1]), ("-p 10.0.0.1:3261", []), ("-r 2", [2]), ("-r 9", []),
                            ("-I default", [1, 2]), ("-I other", []), (f"-T {T1} -r 2", [])):
            code, out, err = self.run_adm(f"top -j -i 0.1 -c 1 {words}")
            self.assertEqual((code, err), (0, ""), words)
            self.assertEqual([unit["sid"] for unit in json.loads(out)["units"]], sids, words)

    def test_nobody_runs(self):
        self.daemon.close()
        self.daemon = None
        self.expect("top -i 0.1 -c 2", err="iscsid does not run: waiting for it", code=20)
        code, out, err = self.run_adm("top -j -i 0.1 -c 2")
        self.assertEqual((code, err), (20, ""))
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([(line["exit_code"], line["error"], line["units"]) for line in lines],
                         [(20, "could not connect to iscsid", [])] * 2)

    def test_a_daemon_comes_and_goes(self):
        failing = lambda _: error(9, "it ends")
        script = [self.answers, self.answers, failing, failing, self.answers, self.answers]
        self.daemon.answers["sessions"] = lambda request: script.pop(0)(request)
        code, out, err = self.run_adm("top -i 0.1 -c 5")
        self.assertEqual((code, out.count(" R/S")), (0, 3))
        self.assertEqual(err, "iscsiadm: it ends: asking again\niscsiadm: iscsid answers again\n")

    def test_what_never_will_be_ends_it(self):
        self.daemon.answers["sessions"] = lambda _: error(13)
        self.expect("top", err="daemon access denied", code=13)

    def test_wrong_words(self):
        for word in ("0", "0.05", "x", "-1", "86401", "1.0001"):
            self.expect(["top", "-i", word], code=7, err=f"Invalid interval '{word}'. Must be from 0.1 to 86400 seconds.")
        for word in ("0", "x", "-1"):
            self.expect(["top", "-c", word], code=7, err=f"Invalid count '{word}'. Must be a number above 0.")
        self.expect("top -o new", code=7, err="top mode: option '-o' is not allowed/supported")
        self.expect("-m top -l", code=7, err="top mode: option '-l' is not allowed/supported")
        code, out, err = self.run_adm("top -j -i 0")
        self.assertEqual((code, err), (7, ""))
        self.assertIn("Invalid interval", json.loads(out)["messages"][0])


class InTheList(harness.CliTest):
    def test_the_document_of_sessions_has_the_numbers(self):
        daemon = self.start_daemon()
        daemon.sessions = [session(1, T1, "10.0.0.1", luns=[
            {**lun(1, device="/dev/ublkb0"), "io": io(read=kind({96: 3, 1024: 1}), in_hand=2)}])]
        for command in ("-m session -j", "-m session -P 3 -j"):
            _, out, _ = self.run_adm(command)
            numbers = json.loads(out)["sessions"][0]["luns"][0]["io"]
            self.assertEqual((numbers["in_hand"], numbers["read"]["requests"], numbers["read"]["latency_us"]),
                             (2, 4, [[96, 3], [1024, 1]]))
        self.assertEqual([request["with_io"] for request in daemon.requests("sessions")], [True, True])
        # Without -j nobody asks for them.
        self.run_adm("-m session")
        self.assertFalse(daemon.requests("sessions")[-1].get("with_io"))


if __name__ == "__main__":
    harness.main()
