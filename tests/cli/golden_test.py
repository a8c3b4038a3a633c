"""Recorded runs of open-iscsi 2.1.8, command by command: stdout, stderr and the exit code, byte for byte. golden/*.txt:

    $ iscsiadm ...      a command; then its lines as O|stdout and E|stderr, and rc=
    ! id                before the lines of a command: ours, because of the difference `id` of iscsiadm/differences.txt
    @ ...               what the daemon knows from here on, see Golden.direct()

Secrets, sessions and targets are those of the recordings."""

import os
import re
import shlex

import harness
from harness import discovered, error, found, lun, session

HERE = os.path.dirname(os.path.abspath(__file__))
T1 = "iqn.2001-04.com.example:t1"
T2 = "iqn.2001-04.com.example:t2"


class Golden(harness.CliTest):
    def setUp(self):
        super().setUp()
        self.start_daemon()
        with open(os.path.join(HERE, "..", "..", "iscsiadm", "differences.txt"), encoding="ascii") as stream:
            self.listed = set(re.findall("(?m)^id: (.*)$", stream.read()))

    def direct(self, words):
        """`@ login CODE`: logins end so (0: well). `@ logout CODE`. `@ sessions N`: the first N of three. `@ finds
        ADDRESS`: discoveries find both targets at it. `@ undiscovered CODE`: they end so. `@ stop`: there is no daemon.
        `@ cut FILE N`: the file of the database ends in the middle of the line behind the first N. `@ lock`: another
        program, which was killed, holds the lock."""
        kind, *values = words
        if kind in ("login", "logout"):
            code = int(values[0])
            well = {"reply": "login", "sid": 1, "luns": [], "note": ""} if kind == "login" else {"reply": "done"}
            self.daemon.answers[kind] = lambda _: error(code) if code else well
        elif kind == "sessions":
            self.daemon.sessions = [
                session(1, T1, "10.0.0.1", luns=[lun(1, device="/dev/sdb")]),
                session(2, T1, "10.0.0.2", tpgt=2),
                session(3, T2, "fe80::1", 3261, iface="if1"),
            ][:int(values[0])]
        elif kind == "undiscovered":
            self.daemon.answers["discover"] = lambda _: error(int(values[0]))
        elif kind == "finds":
            self.daemon.answers["discover"] = lambda request: discovered(*(
                found(target, values[0], iface=iface["values"].get("iface.iscsi_ifacename", "default"))
                for iface in request["ifaces"] for target in (T1, T2)))
        elif kind == "cut":
            path = os.path.join(self.config, values[0])
            with open(path, encoding="ascii") as stream:
                lines = stream.readlines()
            count = int(values[1])
            with open(path, "w", encoding="ascii") as stream:
                stream.writelines([*lines[:count], lines[count][:10] if count else ""])
        elif kind == "lock":
            folder = os.path.join(self.root, "run/lock/iscsi")
            os.makedirs(folder, exist_ok=True)
            for name in ("lock", "lock.write"):
                with open(os.path.join(folder, name), "w", encoding="ascii"):
                    pass
        else:
            self.assertEqual(kind, "stop")
            self.daemon.close()
            self.daemon = None

    def replay(self, name):
        with open(os.path.join(HERE, "golden", name), encoding="utf-8") as stream:
            blocks = re.split(r"(?m)^(?=[$@] )", stream.read())
        for block in blocks:
            lines = block.splitlines()
            if block.startswith("@ "):
                self.direct(lines[0].split()[1:])
            elif block.startswith("$ "):
                self.compare(lines)

    def compare(self, lines):
        out, err, code = "", "", None
        for line in lines[1:]:
            if line.startswith("O|"):
                out += line[2:] + "\n"
            elif line.startswith("E|"):
                err += line[2:] + "\n"
            elif line.startswith("rc="):
                code = int(line[3:])
            elif line.startswith("! "):
                self.assertIn(line[2:], self.listed)
            else:
                self.assertRegex(line, "^(#|$)")
        command = shlex.split(lines[0])[2:]
        got = self.run_adm(command)
        if "! help" in lines:
            # Our own text, for people.
            self.assertIn("iscsiadm -m node", got[1])
            got = (got[0], "", got[2])
        wanted = (code, out.replace("/etc/iscsi", self.config), err.replace("/etc/iscsi", self.config))
        self.assertEqual(got, wanted, lines[0])

    def test_the_command_line_and_discovery_records(self):
        self.replay("options.txt")

    def test_discovery_nodes_and_interfaces(self):
        self.replay("nodes.txt")

    def test_sessions(self):
        self.replay("sessions.txt")

    def test_damaged_databases(self):
        self.replay("damaged.txt")


if __name__ == "__main__":
    harness.main()
