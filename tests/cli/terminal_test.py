"""What a person at a terminal sees and a program does not: the table of sessions, and how far a long command is."""

import re
import threading
import unicodedata

import harness
from harness import discovered, error, found, lun, session

T1 = "iqn.2001-04.com.example:storage.disk1.of.a.long.name"
T2 = "iqn.2001-04.com.example:t2"
LIST = (f"tcp: [1] 10.0.0.1:3260,1 {T1} (non-flash)\n"
        f"tcp: [2] 10.0.0.2:3260,1 {T2} (non-flash)\n")


def sessions():
    up = session(1, T1, "10.0.0.1", luns=[
        lun(1, device="/dev/ublkb0"),
        lun(2, device="/run/luns/2", uri="nbd+unix:///?socket=/run/luns/2", state="offline")])
    up.update(authentication="mutual CHAP", age_s=5 * 3600 + 12 * 60)
    up["negotiated"]["header_digest"] = "CRC32C"
    lost = session(2, T2, "10.0.0.2")
    lost.update(session_state="FAILED", connection_state="TRANSPORT WAIT", down_s=95, age_s=3 * 86400, authentication="None",
                last_error="Connection refused")
    return [up, lost]


TITLES = ("SID", "STATE", "DEVICE", "SIZE", "LUN", "TARGET", "PORTAL", "MODEL", "CHAP", "DIGESTS", "AGE")


class Table(harness.CliTest):
    def setUp(self):
        super().setUp()
        self.start_daemon().sessions = sessions()

    def lines(self, columns, **environment):
        code, out, err = self.run_on_terminal("-m session", columns, **environment)
        self.assertEqual((code, err), (0, ""))
        return out.splitlines()

    def test_everything_at_a_glance_where_there_is_room(self):
        self.assertEqual(self.lines(200), [
            "SID  STATE             DEVICE   SIZE  LUN  TARGET                                                PORTAL"
            "         MODEL             CHAP    DIGESTS  AGE",
            f"  1  up                ublkb0  1 GiB    1  {T1}  10.0.0.1:3260  IET VIRTUAL-DISK  mutual  header   5 h 12 min",
            f"  1  offline           socket  1 GiB    2  {T1}  10.0.0.1:3260  IET VIRTUAL-DISK  mutual  header   5 h 12 min",
            f"  2  recovering 1 min  none                {T2}                            10.0.0.2:3260"
            "                    none    none     3 d 0 h",
        ])

    def test_a_queue_that_is_lost_is_seen_while_the_others_go_on(self):
        up = session(1, T2, "10.0.0.1", luns=[lun(1, device="/dev/ublkb0")])
        queues = [{"number": n, "session_state": "LOGGED_IN", "recoveries": 0, "failed_recoveries": 0, "down_s": None,
                   "last_error": ""} for n in (1, 2, 3)]
        self.daemon.sessions = [{**up, "queues": queues}]
        self.assertRegex(self.lines(200)[1], r"^ +1  up +ublkb0 ")
        plain = self.run_adm("-m session")
        queues[1].update(session_state="FAILED", down_s=95, last_error="Connection refused")
        self.assertRegex(self.lines(200)[1], r"^ +1  queue 2 lost 1 min +ublkb0 ")
        queues[0].update(session_state="FAILED", down_s=7200)
        self.assertRegex(self.lines(200)[1], r"^ +1  2 queues lost 2 h 0 min +ublkb0 ")
        self.assertEqual(self.run_adm("-m session"), plain)
        told = harness.json.loads(self.run_adm("-m session -j")[1])["sessions"][0]["queues"]
        self.assertEqual(told, queues)
        queues[0].update(down_s=None)
        queues[1].update(session_state="LOGGED_IN", down_s=None)
        self.assertRegex(self.lines(200)[1], r"^ +1  queue 1 lost 0 s +ublkb0 ")

    def test_no_line_is_longer_than_the_terminal(self):
        for columns in range(36, 220, 5):
            lines = self.lines(columns)
            self.assertLessEqual(max(map(len, lines)), columns, lines)
            missing = [title for title in TITLES if title not in lines[0].split()]
            if len(lines) == 5:
                self.assertEqual(lines.pop(), f"No room for {', '.join(missing)}: -j has all.")
            else:
                self.assertTrue(not missing or len(", ".join(missing)) + 25 > columns, lines)
            self.assertEqual(len(lines), 4)
            # Which session, how it is and which target are always there.
            self.assertRegex(lines[0], r"^SID +STATE .*TARGET")
            self.assertRegex(lines[1], r"^ +1 +up .*long\.name")
            self.assertRegex(lines[3], r"^ +2 +recovering 1 min .*:t2")
        self.assertIn("..", self.lines(80)[1])

    def test_a_terminal_that_knows_no_width_or_is_dumb_gets_the_same_without_a_control_character(self):
        for environment in ({"TERM": "dumb"}, {"NO_COLOR": "1"}, {"TERM": ""}):
            self.assertEqual(self.lines(80, **environment), self.lines(80))
        self.assertEqual(self.lines(0), self.lines(80))
        self.assertEqual(self.lines(0, COLUMNS="200"), self.lines(200))
        self.assertEqual(self.lines(0, COLUMNS="x"), self.lines(80))
        self.assertTrue(all(line.isprintable() for line in self.lines(80)))

    def test_names_and_models_cannot_write_to_the_terminal(self):
        evil = session(1, "iqn.x:\x1b[2J\nfake", "10.0.0.1", luns=[lun(1, device="/dev/ublkb0", state="\x1b[31m")])
        evil["luns"][0].update(vendor="\x1b[2J", product="a\nb")
        self.daemon.sessions = [evil]
        lines = self.lines(200)
        self.assertEqual(len(lines), 2)
        self.assertTrue(all(line.isprintable() for line in lines), lines)

    def test_columns_stand_below_each_other_in_every_script(self):
        """Wide characters take two columns, those that combine none."""
        names = ("iqn.x:a", "iqn.x:größe", "iqn.x:記憶装置", "iqn.x:e\u0301te\u0301" + "記" * 30)
        self.daemon.sessions = [session(sid, name, "10.0.0.1", luns=[lun(1, device="/dev/ublkb0")])
                                for sid, name in enumerate(names, 1)]
        for sessions in self.daemon.sessions:
            sessions["luns"][0].update(vendor="ÄÖ", product="記")

        def columns(text):
            return sum(0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)

        for width in (200, 100, 60, 37):
            lines = [line for line in self.lines(width) if "No room" not in line]
            self.assertEqual(len(lines), 5)
            self.assertLessEqual(max(map(columns, lines)), width, lines)
            if "PORTAL" in lines[0]:
                self.assertEqual({columns(line[:line.index("10.0.0.1")]) for line in lines[1:]},
                                 {lines[0].index("PORTAL")}, lines)

    def test_programs_get_the_bytes_that_they_know(self):
        self.expect("-m session", LIST)
        for streams in (("stderr",), ()):
            self.assertEqual(self.run_on_terminal("-m session", streams=streams), (0, LIST, ""))
        # The old options mean the old form, wherever it goes.
        for options in ("-P 0", "-o show"):
            self.assertEqual(self.run_on_terminal(f"-m session {options}"), (0, LIST, ""))
        for level in "123":
            self.assertEqual(self.run_on_terminal(f"-m session -P {level}"), self.run_adm(f"-m session -P {level}"))

    def test_the_document_has_all_of_it(self):
        for streams in ((), ("stdout", "stderr")):
            code, out, err = self.run_on_terminal("-m session -j", streams=streams)
            self.assertEqual((code, err), (0, ""))
            up, lost = harness.json.loads(out)["sessions"]
            self.assertEqual((up["authentication"], up["age_s"], up["down_s"]), ("mutual CHAP", 18720, None))
            self.assertEqual((lost["down_s"], lost["last_error"]), (95, "Connection refused"))
            self.assertEqual(up["luns"][1]["state"], "offline")

    def test_no_sessions_are_said_as_ever(self):
        self.daemon.sessions = []
        code, out, err = self.run_on_terminal("-m session")
        self.assertEqual((code, out, err), (21, "", "iscsiadm: No active sessions.\n"))

    def test_a_daemon_of_an_older_version(self):
        self.daemon.sessions = [session(1, T2, "10.0.0.1", luns=[lun(1, device="/dev/ublkb0")])]
        self.assertRegex(self.lines(200)[1], r"^ +1  up +ublkb0 .* none +none +\?$")


class Waiting(harness.CliTest):
    """The daemon answers when a line was seen on the terminal, so nothing here depends on how fast the machine is."""

    def setUp(self):
        super().setUp()
        self.shown = threading.Event()
        self.start_daemon()
        for number in (1, 2, 3):
            self.run_adm(f"-m node -T {T2}{number} -p 10.0.0.{number} -o new")

    def waits(self, command, **options):
        self.shown.clear()
        return self.run_on_terminal(command, streams=("stderr",),
                                    when_told=lambda said: b"\x1b[K" in said and self.shown.set(), **options)

    def slowly(self, kind, at_most=60):
        """Requests of that kind are answered when the line was seen; where none is to be, after a while in which one would
        have been due."""
        answer = {"login": lambda _: {"reply": "login", "sid": 1, "luns": [lun(1, device="/dev/ublkb0")], "note": ""},
                  "logout": lambda _: {"reply": "done"},
                  "discover": lambda _: discovered(found(T1, "10.0.0.1"))}[kind]

        def late(request):
            self.shown.wait(at_most)
            return answer(request)

        self.daemon.answers[kind] = late

    def test_a_login_of_many_says_how_far_it_is_and_leaves_no_trace(self):
        self.slowly("login")
        code, out, err = self.waits("-m node -l")
        self.assertEqual(code, 0)
        self.assertEqual(out.count(" successful.\n"), 3)
        self.assertRegex(err, r"^(\r[0-3] of 3 logged in, \d+ s\x1b\[K)+\r\x1b\[K")
        self.assertTrue(err.endswith("\r\x1b[K"), repr(err))

    def test_logout_and_discovery_say_it_too(self):
        self.daemon.sessions = [session(1, T1, "10.0.0.1")]
        self.slowly("logout")
        code, _, err = self.waits("-m session -u")
        self.assertEqual(code, 0)
        self.assertRegex(err, r"^(\rlogging out, \d+ s\x1b\[K)+\r\x1b\[K$")
        self.slowly("discover")
        code, out, err = self.waits("-m discovery -t st -p 10.0.0.1")
        self.assertEqual((code, out), (0, f"10.0.0.1:3260,1 {T1}\n"))
        self.assertRegex(err, r"^(\rasking 10\.0\.0\.1:3260, \d+ s\x1b\[K)+\r\x1b\[K$")

    def test_it_fits_a_narrow_terminal(self):
        self.slowly("discover")
        _, _, err = self.waits("-m discovery -t st -p 10.0.0.1", columns=12)
        self.assertTrue(all(len(part) <= 11 for part in re.findall(r"\r([^\r\x1b]*)", err)), repr(err))
        self.assertIn("\rasking 10.", err)

    def test_nobody_else_is_bothered(self):
        self.slowly("login", at_most=0.5)
        for streams, environment in (((), {}), (("stdout",), {}), (("stderr",), {"TERM": "dumb"}), (("stderr",), {"TERM": ""})):
            code, _, err = self.run_on_terminal("-m node -l", streams=streams, **environment)
            self.assertEqual((code, err), (0, ""))
        code, out, err = self.run_on_terminal("-m node -l -j")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(len(harness.json.loads(out)["actions"]), 3)

    def test_a_failure_behind_it_is_a_line_of_its_own(self):
        self.slowly("login")
        slow = self.daemon.answers["login"]
        self.daemon.answers["login"] = lambda request: slow(request) and error(8, "Connection refused", cause="connection_refused")
        code, _, err = self.waits("-m node -l")
        self.assertEqual(code, 8)
        self.assertRegex(err, r"\r\x1b\[Kiscsiadm: Connection refused\n")


if __name__ == "__main__":
    harness.main()
