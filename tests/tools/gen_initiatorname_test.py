"""iscsi-gen-initiatorname: where the name comes from, and that a name is never lost."""

import os
import shutil
import stat
import tempfile
import threading
import unittest

import tools

KERNEL, FIRMWARE = "iqn.2020-01.org.example:kernel", "iqn.2020-01.org.example:ibft"


class GenInitiatorname(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="iscsi-gen-")
        self.path = os.path.join(self.root, "etc/iscsi/initiatorname.iscsi")

    def tearDown(self):
        shutil.rmtree(self.root)

    def put(self, path, text):
        path = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)

    def generate(self, *words):
        return tools.run(tools.PROGRAMS[0], *words, env={"ISCSI_ROOT": self.root})

    def name(self):
        with open(self.path, encoding="ascii") as file:
            lines = [line.strip() for line in file if not line.startswith("#")]
        self.assertEqual(len(lines), 1)
        self.assertTrue(lines[0].startswith("InitiatorName="))
        return lines[0].split("=", 1)[1]

    def expect_name(self, pattern, *words):
        self.assertEqual(self.generate(*words), (0, "", ""))
        self.assertRegex(self.name(), "^" + pattern + "$")
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.assertEqual(os.listdir(os.path.dirname(self.path)), ["initiatorname.iscsi"], "nothing is left beside it")

    def expect_refusal(self, text, *words):
        code, out, err = self.generate(*words)
        self.assertEqual((code, out), (1, ""))
        self.assertIn(text, err)

    def test_a_new_name_has_the_prefix(self):
        self.expect_name(r"iqn\.2016-04\.com\.open-iscsi:[0-9a-f]{12}")
        self.expect_name(r"iqn\.2020-01\.org\.example:[0-9a-f]{12}", "-f", "-p", "iqn.2020-01.org.example")

    def test_the_kernels_command_line_goes_before_a_new_name(self):
        self.put("proc/cmdline", f"quiet rd.initiatorname={KERNEL} ro\n")
        self.expect_name(KERNEL)

    def test_only_the_whole_parameter_counts(self):
        self.put("proc/cmdline", f"x.rd.initiatorname={KERNEL} rd.initiatorname\n")
        self.expect_name(r"iqn\.2016-04\..*")

    def test_the_firmware_goes_before_a_new_name(self):
        self.put("sys/firmware/ibft/initiator/initiator-name", FIRMWARE + "\n")
        self.expect_name(FIRMWARE)

    def test_kernel_and_firmware_have_to_agree(self):
        self.put("sys/firmware/ibft/initiator/initiator-name", FIRMWARE + "\n")
        self.put("proc/cmdline", f"rd.initiatorname={KERNEL}\n")
        self.expect_refusal(FIRMWARE)
        self.assertFalse(os.path.exists(self.path))
        self.put("proc/cmdline", f"rd.initiatorname={FIRMWARE}\n")
        self.expect_name(FIRMWARE)

    def test_a_name_is_replaced_on_request_only(self):
        self.expect_name(".*")
        before = self.name()
        self.expect_refusal("-f")
        self.assertEqual(self.name(), before)
        self.expect_name(".*", "-f")
        self.assertNotEqual(self.name(), before)

    def test_a_name_that_somebody_has_misspelt_is_not_overwritten_either(self):
        self.put("etc/iscsi/initiatorname.iscsi", "InitiatorName=not a name\n")
        self.expect_refusal("-f")
        self.assertEqual(self.name(), "not a name")

    def test_a_file_without_a_name_is_no_obstacle(self):
        self.put("etc/iscsi/initiatorname.iscsi", "GenerateName=yes\n")
        self.expect_name(".*")

    def test_what_is_no_name_is_not_written(self):
        self.put("proc/cmdline", "rd.initiatorname=nonsense\n")
        self.expect_refusal("nonsense")
        self.put("proc/cmdline", "quiet\n")
        self.expect_refusal("foo", "-p", "foo")
        self.assertFalse(os.path.exists(self.path))

    def test_the_directory_is_for_its_owner_alone(self):
        self.expect_name(".*")
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(self.path)).st_mode), 0o700)

    def test_a_link_stays_a_link(self):
        self.put("var/names/initiatorname.iscsi", "")
        os.makedirs(os.path.dirname(self.path))
        os.symlink("../../var/names/initiatorname.iscsi", self.path)
        self.expect_name(".*")
        before = self.name()
        self.expect_name(".*", "-f")
        self.assertNotEqual(self.name(), before)
        self.assertTrue(os.path.islink(self.path))
        place = os.path.join(self.root, "var/names")
        self.assertEqual(os.listdir(place), ["initiatorname.iscsi"])
        os.remove(os.path.join(place, "initiatorname.iscsi"))
        self.expect_name(".*")
        self.assertTrue(os.path.islink(self.path))

    def test_of_many_at_the_same_time_one_wins_and_its_name_stays(self):
        done = []
        threads = [threading.Thread(target=lambda: done.append(self.generate())) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(code for code, _, _ in done), [0] + [1] * 11)
        self.assertEqual(os.listdir(os.path.dirname(self.path)), ["initiatorname.iscsi"])
        self.assertRegex(self.name(), "iqn.*")

    def test_the_command_line_is_that_of_the_script(self):
        code, out, err = self.generate("-h")
        self.assertEqual((code, err), (0, ""))
        self.assertTrue(out.startswith("Usage: iscsi-gen-initiatorname"))
        self.expect_refusal("Usage", "-x")
        self.expect_refusal("'word'", "word")


if __name__ == "__main__":
    tools.main()
