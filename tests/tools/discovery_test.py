"""iscsi_discovery: what it leaves behind and says, and the same of Debian's script, each with our iscsiadm and a daemon
of this test."""

import os
import shutil
import stat
import tempfile
import unittest

import tools
import harness  # of tests/cli, which tools has made known

ONE, TWO = "iqn.2020-01.org.example:one", "iqn.2020-01.org.example:two"
REFUSED = harness.error(24, "CHAP failed")


class World:
    """A root with a daemon that knows two targets; those in `refusing` let nobody in."""

    def __init__(self, refusing=(), found=(ONE, TWO), sessions=()):
        self.root = tempfile.mkdtemp(prefix="iscsi-discovery-")
        os.makedirs(os.path.join(self.root, "etc/iscsi"))
        os.makedirs(os.path.join(self.root, "bin"))
        os.symlink(tools.PROGRAMS[1], os.path.join(self.root, "bin/iscsiadm"))
        with open(os.path.join(self.root, "bin/pidof"), "w", encoding="ascii") as file:
            file.write("#!/bin/sh\nexit 0\n")
        os.chmod(file.name, stat.S_IRWXU)
        self.daemon = harness.FakeDaemon(self.root)
        self.daemon.sessions = list(sessions)
        self.refusing = refusing
        portals = [harness.found(target, "10.0.0.1") for target in found]
        self.daemon.answers["discover"] = lambda _: harness.discovered(*portals)
        self.daemon.answers["login"] = self.log_in
        self.daemon.answers["logout"] = self.log_out

    def log_in(self, request):
        values = request["node"]["values"]
        target, transport = values["node.name"], values.get("iface.transport_name", "tcp")
        if target in self.refusing or transport in self.refusing:
            return REFUSED
        sid = len(self.daemon.sessions) + 1
        self.daemon.sessions.append(harness.session(sid, target, "10.0.0.1"))
        return {"reply": "login", "sid": sid, "luns": [], "note": ""}

    def log_out(self, request):
        self.daemon.sessions = [one for one in self.daemon.sessions if one["sid"] != request["sid"]]
        return {"reply": "done"}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.daemon:
            self.daemon.close()
        shutil.rmtree(self.root)

    def run(self, script, *words):
        env = {"ISCSI_ROOT": self.root, "PATH": f"{self.root}/bin:{os.environ['PATH']}"}
        return tools.run(script, *words, env=env)

    def records(self):
        """target -> the keys of its record that matter here."""
        out = {}
        nodes = os.path.join(self.root, "etc/iscsi/nodes")
        for place, _, names in os.walk(nodes):
            for name in names:
                with open(os.path.join(place, name), encoding="utf-8") as file:
                    values = dict(line.strip().split(" = ", 1) for line in file if " = " in line)
                out[values["node.name"]] = {key: values.get(key) for key in (
                    "node.conn[0].startup", "node.startup", "iface.transport_name", "node.conn[0].iscsi.HeaderDigest")}
        return out

    def left(self):
        return self.records(), [one["target"] for one in self.daemon.sessions]


class Discovery(unittest.TestCase):
    maxDiff = None

    def test_targets_that_answer_are_set_to_automatic_and_logged_out_of(self):
        with World() as world:
            code, out, err = world.run(tools.PROGRAMS[0], "10.0.0.1")
            self.assertEqual((code, err), (0, ""))
            self.assertIn(f"Set target {ONE} to automatic login over tcp to portal 10.0.0.1:3260\n", out)
            self.assertTrue(out.endswith("discovered 2 targets at 10.0.0.1\n"), out)
            records, sessions = world.left()
            self.assertEqual({name: row["node.conn[0].startup"] for name, row in records.items()},
                             {ONE: "automatic", TWO: "automatic"})
            self.assertEqual(sessions, [])

    def test_a_target_that_lets_nobody_in_is_set_to_manual(self):
        with World(refusing=[TWO]) as world:
            code, out, _ = world.run(tools.PROGRAMS[0], "10.0.0.1", "-l")
            self.assertEqual(code, 0)
            self.assertEqual(out.count("Cannot login over tcp to portal 10.0.0.1:3260\n"), 1)
            records, sessions = world.left()
            self.assertEqual(records[TWO]["node.conn[0].startup"], "manual")
            self.assertEqual(sessions, [ONE])

    def test_m_leaves_the_startup_alone_and_does_not_claim_otherwise(self):
        with World() as world:
            code, out, _ = world.run(tools.PROGRAMS[0], "10.0.0.1", "-m")
            self.assertEqual(code, 0)
            self.assertNotIn("automatic", out)
            self.assertEqual(world.records()[ONE]["node.conn[0].startup"], "manual")

    def test_tcp_is_tried_when_another_transport_fails_unless_f_is_given(self):
        for force, transport in ((True, "iser"), (False, "tcp")):
            with World(refusing=["iser"]) as world:
                words = ["10.0.0.1", "-t", "iser"] + (["-f"] if force else [])
                code, out, _ = world.run(tools.PROGRAMS[0], *words)
                self.assertEqual(code, 0)
                self.assertIn("Cannot login over iser", out)
                self.assertEqual("login over tcp" in out, not force)
                self.assertEqual(world.records()[ONE]["iface.transport_name"], transport)

    def test_a_portal_with_a_session_is_left_alone(self):
        with World(sessions=[harness.session(1, ONE, "10.0.0.1")]) as world:
            self.assertEqual(world.run(tools.PROGRAMS[0], "10.0.0.1"), (
                2, "Please logout from all targets on 10.0.0.1:3260 before trying to run discovery on that portal\n", ""))
            self.assertEqual(world.daemon.requests("discover"), [])
            # 326 is not 3260.
            self.assertEqual(world.run(tools.PROGRAMS[0], "10.0.0.1", "-p", "326", "-m")[0], 0)

    def test_nothing_found_and_nobody_there(self):
        with World(found=()) as world:
            code, out, _ = world.run(tools.PROGRAMS[0], "10.0.0.1")
            self.assertEqual((code, out), (2, "failed to discover targets at 10.0.0.1\n"))
            world.daemon.close()
            world.daemon = None
            code, out, _ = world.run(tools.PROGRAMS[0], "10.0.0.1")
            self.assertEqual((code, out), (1, "iscsid is not running\nExiting...\n"))

    def test_ipv6(self):
        with World() as world:
            self.assertEqual(world.run(tools.PROGRAMS[0], "fe80::1")[0], 0)
            request, = world.daemon.requests("discover")
            self.assertEqual(request["discovery"]["values"]["discovery.sendtargets.address"], "fe80::1")

    def test_wrong_command_lines_end_with_1(self):
        with World() as world:
            self.assertEqual(world.run(tools.PROGRAMS[0])[0], 1)
            self.assertEqual(world.run(tools.PROGRAMS[0], "10.0.0.1", "-x")[0], 1)
            for address in ("-h", "256.1.1.1", "1.2.3", "1.2.3.4.5", "host", "1..2.3", "10.0.0.a", "", "1.2.3.4;ls",
                            "1.2.3.99999999999999999999"):
                self.assertEqual(world.run(tools.PROGRAMS[0], address),
                                 (1, f"{address} is not a vaild IP address!\n", ""))
            self.assertEqual(world.daemon.seen, [])

    def test_a_transport_that_there_is_none_of_is_refused_and_not_stored(self):
        with World() as world:
            for transport in ("bogus", "x y", ""):
                code, out, err = world.run(tools.PROGRAMS[0], "10.0.0.1", "-t", transport)
                self.assertEqual((code, out), (1, ""))
                self.assertIn(f"'{transport}'", err)
            self.assertEqual(world.daemon.seen, [])

    def test_d_shows_why_a_login_failed(self):
        with World(refusing=[ONE]) as world:
            self.assertIn("CHAP failed", world.run(tools.PROGRAMS[0], "10.0.0.1", "-d")[2])
        with World(refusing=[ONE]) as world:
            self.assertEqual(world.run(tools.PROGRAMS[0], "10.0.0.1")[2], "")

    def test_the_iscsiadm_beside_the_script_is_used(self):
        with World() as world:
            script = shutil.copy(tools.PROGRAMS[0], os.path.join(world.root, "bin"))
            other = os.path.join(world.root, "other")
            os.makedirs(other)
            with open(os.path.join(other, "iscsiadm"), "w", encoding="ascii") as file:
                file.write("#!/bin/sh\nexit 1\n")
            os.chmod(file.name, stat.S_IRWXU)
            path = f"{other}:/usr/bin:/bin"
            done = tools.run(script, "10.0.0.1", env={"ISCSI_ROOT": world.root, "PATH": path})
            self.assertEqual(done[0], 0, done)
            # Also when the script is found by way of PATH.
            path = f"{world.root}/bin:{path}"
            done = tools.run("env", "iscsi_discovery", "10.0.0.1", env={"ISCSI_ROOT": world.root, "PATH": path})
            self.assertEqual(done[0], 0, done)

    def test_debians_script_leaves_the_same_behind(self):
        theirs = os.path.join(tools.debian(), "sbin", "iscsi_discovery")
        for world, words in [
            ({}, ["10.0.0.1"]), ({}, ["10.0.0.1", "-l"]), ({}, ["10.0.0.1", "-p", "3261", "-f"]),
            ({"refusing": [TWO]}, ["10.0.0.1", "-f"]),
            # One target: theirs asks no further ones for a transport that has failed once.
            ({"refusing": ["iser"], "found": [ONE]}, ["10.0.0.1", "-t", "iser"]),
            ({"refusing": ["iser"]}, ["10.0.0.1", "-t", "iser", "-f", "-l"]),
            ({}, ["10.0.0.1", "-t", "iser", "-d"]), ({"sessions": [harness.session(1, ONE, "10.0.0.1")]}, ["10.0.0.1"]),
            ({}, ["300.0.0.1"]), ({}, ["host"]),
        ]:
            outcomes = []
            for script in (theirs, tools.PROGRAMS[0]):
                with World(**world) as there:
                    # stderr is not compared: theirs lets iscsiadm complain that there are no sessions.
                    outcomes.append((there.run(script, *words)[:2], there.left()))
            self.assertEqual(outcomes[1], outcomes[0], (world, words))
        # -m: as theirs but for the words.
        outcomes = []
        for script in (theirs, tools.PROGRAMS[0]):
            with World() as there:
                outcomes.append((there.run(script, "10.0.0.1", "-m")[0], there.left()))
        self.assertEqual(outcomes[1], outcomes[0])


if __name__ == "__main__":
    tools.main()
