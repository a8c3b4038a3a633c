"""iscsiadm top beside real clients of real targets: what its lines say is what was asked for. In a directory ISCSI_BUILD.
Argument: the name of the function to run."""

import json
import os
import signal
import sys

from lab import MIB, PATIENCE, Lab, check, main, need, wait_until
from queues import sent_bytes
from targets import Lun

TARGET = "iqn.2026-01.org.example:top"
NAME = "top.jsonl"


def logged_in(lab):
    """Two units, each served by two queues."""
    lab.configure({"iscsid.shards": 2, "iscsid.queues": 2, "node.conn[0].timeo.noop_out_interval": 60,
                   "node.conn[0].timeo.noop_out_timeout": 60})
    target = lab.tgtd()
    target.add(TARGET, [Lun(lab.disk("a", 64 * MIB), 1), Lun(lab.disk("b", 64 * MIB), 2)])
    lab.iscsid()
    lab.discover(target.portal)
    lab.login()
    return target


class Top:
    """iscsiadm top -j, and the lines that it has written so far."""

    def __init__(self, lab):
        self.path, self.lab = os.path.join(lab.root, NAME), lab
        with open(self.path, "wb") as file, open(os.path.join(lab.root, "top.err"), "wb") as err:
            self.process = lab.start("top", [lab.program("iscsiadm"), "top", "-j", "-i", "0.2"], stdout=file, stderr=err)
        self.until(lambda lines: lines, "the first line")

    def lines(self):
        with open(self.path, encoding="utf-8") as file:
            return [json.loads(line) for line in file.read().split("\n")[:-1]]

    def until(self, condition, what):
        wait_until(lambda: condition(self.lines()), 30, what)
        return self.lines()

    def fresh(self):
        """The lines so far, when two more were written."""
        known = len(self.lines())
        return self.until(lambda lines: len(lines) >= known + 2, "two more lines")

    def end(self):
        self.lab.end(self.process)
        with open(os.path.join(self.lab.root, "top.err"), encoding="utf-8") as file:
            said = file.read()
        check(said == "", f"with -j all of it is on stdout: {said}")


def units(lines, lun):
    return [(line, unit) for line in lines for unit in line["units"] if unit["lun"] == lun]


def summed(lines, lun, rate):
    """What a rate comes to over all lines."""
    return round(sum(unit[rate] * line["seconds"] for line, unit in units(lines, lun)))


def fio(lab, lun, *words):
    """Two clients of a unit, of fixed numbers of requests: the process, and a function for what they did in the end."""
    uri, path = lab.export(lun), os.path.join(lab.root, f"fio-{lun}.json")
    process = lab.start(f"fio-{lun}", ["fio", "--name=load", "--ioengine=nbd", f"--uri={uri}", "--bs=4k", "--iodepth=8",
                                       "--size=64m", "--numjobs=2", "--group_reporting", "--output-format=json",
                                       f"--output={path}", *words], cwd=lab.root)

    def done():
        check(process.wait(120) == 0, "fio failed")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        return json.loads(text[text.index("{"):])["jobs"][0]

    return process, done


def numbers_are_those_of_the_clients():
    """Reads of one unit, writes and flushes of the other, by two clients each, so that both queues have some."""
    need("fio", "ss")
    with Lab() as lab:
        target = logged_in(lab)
        top = Top(lab)
        before = sent_bytes(lab, target)
        _, read = fio(lab, 1, "--rw=randread", "--number_ios=4000")
        _, written = fio(lab, 2, "--rw=randwrite", "--number_ios=2000", "--fsync=100")
        read, written = read(), written()
        lines = top.fresh()
        after = sent_bytes(lab, target)
        check(len(after) == 2 and after[0] - before[0] > 100000, f"both queues carried requests: {before} {after}")

        for lun, kind, did in ((1, "read", read["read"]), (2, "write", written["write"])):
            other = "write" if kind == "read" else "read"
            told = (summed(lines, lun, f"{kind}s_per_s"), summed(lines, lun, f"{kind}_bytes_per_s"))
            check(told == (did["total_ios"], did["io_bytes"]), f"LUN {lun}: {told}, and fio {did['total_ios']}, {did['io_bytes']}")
            check(summed(lines, lun, f"{other}s_per_s") == 0, f"LUN {lun}: a {other}")
        check(read["read"]["total_ios"] == 8000, "fio did not read what it was to")
        check(summed(lines, 1, "others_per_s") == 0, "a flush where nobody wrote")
        check(summed(lines, 2, "others_per_s") >= 2000 // 100 * 2 - 2, "flushes are missing")
        for line in lines:
            check(line["total"]["reads_per_s"] == sum(unit["reads_per_s"] for unit in line["units"]), f"the sum: {line}")
        busy = [unit for _, unit in units(lines, 1) if unit["reads_per_s"]]
        check(all(0 < unit["p50_us"] <= unit["p99_us"] <= unit["p999_us"] for unit in busy), f"latencies: {busy}")
        # Half of what fio saw with its own clock, which counts the way to the daemon, too.
        check(min(unit["p50_us"] for unit in busy) < read["read"]["lat_ns"]["max"] / 1000, f"latencies: {busy}")
        passed = lines[-1]["time"] - lines[0]["time"]
        counted = sum(line["seconds"] for line in lines[1:])
        check(abs(passed - counted) < PATIENCE, f"{passed} s by the clock, {counted} s by the lines")

        session, = json.loads(lab.adm("-m", "session", "-j", quiet=True).out)["sessions"]
        io = {unit["number"]: unit["io"] for unit in session["luns"]}
        check((io[1]["read"]["requests"], io[2]["write"]["bytes"]) == (8000, 4000 * 4096), f"the list's numbers: {io}")
        others_see_it(lab)
        top.end()
        lab.logout()


def others_see_it(lab):
    """Who is not root has one request a connection."""
    options = {}
    if os.geteuid() == 0:
        for place in ("", "etc", "run"):
            os.chmod(os.path.join(lab.root, place), 0o711)
        options = {"user": 65534, "group": 65534, "extra_groups": []}
        if lab.run("test", "-x", lab.program("iscsiadm"), ok=None, quiet=True, **options).status:
            options = {}  # nobody but root may read the build directory
    done = lab.adm("top", "-j", "-i", "0.1", "-c", "3", quiet=True, **options)
    check([len(json.loads(line)["units"]) for line in done.out.splitlines()] == [2, 2, 2], f"{done}")
    table = lab.adm("top", "-i", "0.1", "-c", "1", **options).out.splitlines()
    check(len(table) == 5 and "1 session, 2 units" in table[0] and table[3].endswith(TARGET), f"{table}")


def what_waits_and_what_restarts():
    """A target that stands still: the requests that wait are seen; a daemon that is killed: top goes on with the next one."""
    need("fio", "nbdcopy")
    with Lab() as lab:
        target = logged_in(lab)
        top = Top(lab)
        target.process.send_signal(signal.SIGSTOP)
        process, done = fio(lab, 1, "--rw=randread", "--number_ios=100")
        top.until(lambda lines: lines[-1]["units"][0]["in_hand"] == 2 * 8, "what two clients ask for at a time")
        target.process.send_signal(signal.SIGCONT)
        done()
        top.until(lambda lines: lines[-1]["units"][0]["in_hand"] == 0, "all of it to end")

        daemon = [process for name, process in lab.processes if name == "iscsid"][-1]
        daemon.expected_end = True
        daemon.kill()
        daemon.wait()
        lab.processes = [(name, process) for name, process in lab.processes if process is not daemon]
        lines = top.until(lambda lines: "exit_code" in lines[-1], "the daemon to be missed")
        check((lines[-1]["exit_code"], lines[-1]["units"]) == (20, []), f"{lines[-1]}")
        lab.iscsid()
        top.until(lambda lines: len(lines[-1]["units"]) == 2, "the units to be back")
        wait_until(lambda: len(lab.session().exports) == 2, 30, "the exports to be back")
        known = len(top.fresh())
        lab.run("nbdcopy", "--request-size=65536", lab.export(2), lab.disk("copy", 64 * MIB))
        lines = top.fresh()[known:]
        check(summed(lines, 2, "read_bytes_per_s") == 64 * MIB, "what the next daemon has read")
        check(all(unit[rate] >= 0 for line in lines for unit in line["units"] for rate in unit if rate.endswith("_s")), f"{lines}")
        top.end()
        lab.logout()


if __name__ == "__main__":
    main(globals()[sys.argv[1]])
