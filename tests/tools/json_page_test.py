"""iscsiadm(8) describes -j: every member of every document that iscsiadm prints stands on the page."""

import json
import os
import re

import tools
import harness  # of tests/cli, which tools has made known

TARGET = "iqn.2020-01.org.example:one"
PAGE = os.path.join(os.path.dirname(tools.TESTS), "man", "iscsiadm.8")
# Their members are not the document's own words: keys of records, and the counters of -s.
FOREIGN = {"values", "statistics"}


def names_in(value, name=""):
    if isinstance(value, list):
        return set().union(*(names_in(item, name) for item in value))
    if not isinstance(value, dict) or name in FOREIGN:
        return set()
    return set(value).union(*(names_in(item, member) for member, item in value.items()))


class JsonPage(harness.CliTest):
    def test_every_member_is_described(self):
        with open(PAGE, encoding="utf-8") as file:
            section = file.read().split("\n.SH JSON\n")[1].split("\n.SH ")[0]
        described = set(re.findall(r"[a-z][a-z0-9_]+", section))
        daemon = self.start_daemon()
        daemon.answers["discover"] = lambda _: harness.discovered(harness.found(TARGET, "10.0.0.1"))
        daemon.sessions = [harness.session(1, TARGET, "10.0.0.9", luns=[
            {**harness.lun(1, device="/dev/ublkb0"), "io": harness.io(read=harness.kind({96: 1}))}])]
        names = set()
        for command in ("-m discovery -t st -p 10.0.0.1", "-m discovery", "-m discovery -P 1",
                        "-m discoverydb -t st -p 10.0.0.1", "-m node", "-m node -o show", "-m node -l", "-m node -L all",
                        "-m session", "-m session -s", "-m session -R", "-m session -u", "-m host", "-m iface",
                        "-m iface -P 1", "-m iface -I a -o new", "-m iface -I a -o delete", "-m node -o delete",
                        "-m discoverydb -t st -p 10.0.0.1 -o update -n discovery.startup -v manual", "-m fw", "-m none",
                        "doctor", f"doctor -T {TARGET}", "top -i 0.1 -c 1",
                        "-m discoverydb -t st -p 10.0.0.1 -o delete"):
            _, out, err = self.run_adm(f"-j {command}")
            self.assertEqual(err, "", command)
            names |= names_in(json.loads(out))
        self.assertGreater(len(names), 50)
        self.assertEqual(sorted(names - described), [])


if __name__ == "__main__":
    harness.main()
