"""iscsi-iname: the names, and its command line beside Debian's."""

import os
import unittest

import tools

DEFAULT = "iqn.2016-04.com.open-iscsi"
NAME = r"[0-9a-f]{12}\n"


class Iname(unittest.TestCase):
    def iname(self, *words):
        return tools.run(tools.PROGRAMS[0], *words)

    def test_a_name_is_the_prefix_and_twelve_digits(self):
        for words, start in [
            ((), DEFAULT), (("-p", "iqn.2020-01.org.example"), "iqn.2020-01.org.example"),
            (("--prefix=iqn.2020-01.org.example:a",), "iqn.2020-01.org.example:a"),
            (("-g",), "InitiatorName=" + DEFAULT),
            (("--generate-iname-prefix", "--prefix", "iqn.2020-01.org.example"),
             "InitiatorName=iqn.2020-01.org.example"),
            (("-p", "iqn.2020-01.org.example", "-p", "iqn.2020-02.org.example"), "iqn.2020-02.org.example"),
        ]:
            code, out, err = self.iname(*words)
            self.assertEqual((code, err), (0, ""), words)
            self.assertRegex(out, "^" + start.replace(".", r"\.") + ":" + NAME + "$")

    def test_no_two_names_are_the_same(self):
        self.assertEqual(len({self.iname()[1] for _ in range(50)}), 50)

    def test_a_prefix_that_makes_no_name_is_refused(self):
        for prefix in ("", "foo", "iqn.example", "iqn.2020-01.org.exa/mple", "iqn.2020-01.org.example\nx"):
            code, out, err = self.iname("-p", prefix)
            self.assertEqual((code, out), (1, ""), prefix)
            self.assertIn("iscsi-iname: ", err)

    def test_the_longest_prefix_is_that_of_open_iscsi(self):
        prefix = "iqn.2020-01." + "a" * 198
        self.assertEqual(self.iname("-p", prefix)[0], 0)
        code, out, err = self.iname("-p", prefix + "a")
        self.assertEqual((code, out), (1, ""))
        self.assertTrue(err.startswith("error: prefix too long\nUsage: iscsi-iname"), err)

    def test_debians_program_takes_and_refuses_the_same_command_lines(self):
        theirs = os.path.join(tools.debian(), "sbin", "iscsi-iname")
        for words in [(), ("-h",), ("--help",), ("-g",), ("--gen",), ("-p", "iqn.2020-01.org.example"),
                      ("--pre", "iqn.2020-01.org.example"), ("-g", "-p", "iqn.2020-01.org.example"), ("-p",), ("-x",),
                      ("-V",), ("--version",), ("word",), ("-p", "iqn.2020-01.org.example", "word"),
                      ("-p", "iqn.2020-01." + "a" * 199)]:
            code, out, err = tools.run(theirs, *words)
            own_code, own_out, own_err = self.iname(*words)
            self.assertEqual((own_code, bool(own_out), bool(own_err)), (code, bool(out), bool(err)), words)
            self.assertEqual(own_out.split(":")[0], out.split(":")[0], words)
            self.assertEqual(own_err.count("unknown argument(s)\n"), err.count("unknown argument(s)\n"), words)


if __name__ == "__main__":
    tools.main()
