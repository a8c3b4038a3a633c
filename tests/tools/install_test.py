"""cmake --install: everything in its place, readable where it has to be, and no configuration overwritten."""

import os
import re
import shutil
import stat
import tempfile
import unittest

import tools

PROGRAMS = ["iscsid", "iscsiadm", "iscsistart", "iscsi-iname", "iscsi-gen-initiatorname", "iscsi-exporter",
            "iscsi_discovery"]
UNITS = ["iscsid.socket", "iscsi-exporter.socket"]
UNITS += [name + ".service" for name in ("iscsid", "iscsi", "iscsi-init", "iscsi-logout", "open-iscsi", "iscsi-exporter")]
HELPERS = ("iscsi_logout_all", "iscsi_memory_copy", "iscsid-in-memory")
SCRIPTS = ["iscsid", "open-iscsi"]
DRACUT_MODULE = ("module-setup.sh", "parse-iscsi.sh", "iscsiroot.sh")
PAGES = ["man8/" + name + ".8" for name in PROGRAMS] + ["man5/iscsid.conf.5"]


class Install(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="iscsi-install-")
        self.config = os.path.join(self.root, "etc/iscsi/iscsid.conf")

    def tearDown(self):
        shutil.rmtree(self.root)

    def source(self, path):
        with open(os.path.join(tools.PROGRAMS[2], path), encoding="utf-8") as file:
            return file.read()

    def install(self):
        self.addCleanup(os.umask, os.umask(0))  # modes are not left to who installs
        code, out, err = tools.run(tools.PROGRAMS[0], "--install", tools.PROGRAMS[1], "--prefix", "/usr",
                                   env={"DESTDIR": self.root})
        self.assertEqual((code, err), (0, ""), out)

    def test_everything_is_in_its_place(self):
        self.install()
        files = {}
        for place, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(place, name)
                files[os.path.relpath(path, self.root)] = stat.S_IMODE(os.stat(path).st_mode)
        wanted = {f"usr/sbin/{name}": 0o755 for name in PROGRAMS}
        wanted.update({f"usr/share/man/{page}": 0o644 for page in PAGES})
        wanted["usr/share/bash-completion/completions/iscsiadm"] = 0o644
        wanted["usr/share/iscsi-suite/multipath.conf"] = 0o644
        wanted["etc/iscsi/iscsid.conf"] = 0o600
        wanted["etc/apparmor.d/usr.sbin.iscsid"] = 0o644
        wanted.update({f"usr/libexec/iscsi-suite/{name}": 0o755 for name in HELPERS})
        wanted["usr/libexec/iscsi-suite/root_on_a_lun.sh"] = 0o644
        wanted["usr/lib/dracut/dracut.conf.d/iscsi-suite.conf"] = 0o644
        wanted.update({f"usr/lib/dracut/modules.d/95iscsi-suite/{name}": 0o755 for name in DRACUT_MODULE})
        wanted.update({f"etc/init.d/{name}": 0o755 for name in SCRIPTS})
        wanted.update({f"usr/lib/systemd/system/{name}": 0o644 for name in UNITS})
        wanted.update({f"usr/lib/{name}": 0o644 for name in ("libiscsi-core.a", "pkgconfig/libiscsi-core.pc")})
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(self.config)).st_mode), 0o700)
        many = ("usr/lib/udev/rules.d/", "usr/include/iscsi-core/")
        self.assertEqual({path: mode for path, mode in files.items() if not path.startswith(many)}, wanted)
        for folder in many:
            self.assertTrue(any(path.startswith(folder) for path in files))

    def test_files_know_the_prefix(self):
        self.install()
        for name, wanted in (("lib/systemd/system/iscsid.service", "ExecStart=@/usr/sbin/iscsid @iscsid -f\n"),
                             ("lib/systemd/system/iscsi.service", "ExecStart=/usr/sbin/iscsiadm "),
                             ("lib/systemd/system/iscsi-logout.service", "ExecStop=/usr/libexec/iscsi-suite/iscsi_logout_all\n"),
                             ("lib/systemd/system/iscsi-exporter.service", "ExecStart=/usr/sbin/iscsi-exporter\n"),
                             ("lib/dracut/modules.d/95iscsi-suite/module-setup.sh", "libexec=/usr/libexec/iscsi-suite\n"),
                             ("lib/pkgconfig/libiscsi-core.pc", "prefix=/usr\n")):
            with open(os.path.join(self.root, "usr", name), encoding="ascii") as file:
                text = file.read()
            self.assertIn(wanted, text)
            self.assertNotIn("@ISCSI", text)

    def test_units_of_the_exporter_are_sound(self):
        """As systemd reads them; the program is where this installation has it."""
        self.install()
        folder = os.path.join(self.root, "units")  # theirs alone: what 252 does not know of iscsid's is meant
        os.mkdir(folder)
        units = [shutil.copy(os.path.join(self.root, "usr/lib/systemd/system", f"iscsi-exporter.{kind}"), folder)
                 for kind in ("socket", "service")]
        with open(units[1], encoding="ascii") as file:
            text = file.read()
        with open(units[1], "w", encoding="ascii") as file:
            file.write(text.replace("ExecStart=", "ExecStart=" + self.root))
        self.assertEqual(tools.run("systemd-analyze", "verify", "--man=no", *units, env={"SYSTEMD_UNIT_PATH": folder + ":"}),
                         (0, "", ""))

    def test_installed_programs_run(self):
        self.install()
        # Not a DESTDIR's business, but a program that misses a library would end here with 127.
        for name, words in (("iscsiadm", ["-V"]), ("iscsid", ["-v"]), ("iscsistart", ["-v"]), ("iscsi-iname", []),
                            ("iscsi-exporter", ["-v"])):
            self.assertEqual(tools.run(os.path.join(self.root, "usr/sbin", name), *words)[0], 0, name)

    def test_the_demo_builds_all_that_is_installed(self):
        """After it `cmake --install` has to work: so says the README."""
        built = re.search(r"^programs=\(([^)]*)\)", self.source("demo"), re.M)[1].split()
        self.assertEqual(sorted(built), sorted(set(PROGRAMS) - {"iscsi_discovery"}))
        self.assertIn('ninja -C build/release "${programs[@]}"', self.source("demo"))

    def test_what_the_readme_runs_is_there(self):
        readme = self.source("README.md")
        runs = re.findall(r"python3 (tests/guest/\S+\.py) (\w+)'", readme)
        self.assertTrue(runs)
        for script, scenario in runs:
            self.assertIn(f"\ndef {scenario}():", self.source(script))
        for part in re.search(r"one of them: ([a-z, ]+);", readme)[1].split(", "):
            status, said, _ = tools.run(os.path.join(tools.PROGRAMS[2], "bench"), part, "--help", env={"COLUMNS": "500"})
            self.assertEqual(status, 0)
            self.assertIn("default: " + os.path.join(tools.PROGRAMS[2], "build/release\n"), said)

    def test_a_configuration_that_is_there_stays(self):
        self.install()
        with open(self.config, "w", encoding="ascii") as file:
            file.write("node.startup = automatic\n")
        self.install()
        with open(self.config, encoding="ascii") as file:
            self.assertEqual(file.read(), "node.startup = automatic\n")

    def test_an_init_script_that_is_there_stays(self):
        path = os.path.join(self.root, "etc/init.d/iscsid")
        os.makedirs(os.path.dirname(path))
        with open(path, "w", encoding="ascii") as file:
            file.write("#!/bin/sh\n")
        self.install()
        with open(path, encoding="ascii") as file:
            self.assertEqual(file.read(), "#!/bin/sh\n")
        with open(os.path.join(self.root, "etc/init.d/open-iscsi"), encoding="ascii") as file:
            text = file.read()
        self.assertIn("\n  /usr/libexec/iscsi-suite/iscsi_logout_all\n", text)
        self.assertNotIn("@ISCSI", text)


if __name__ == "__main__":
    tools.main()
