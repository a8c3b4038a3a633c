"""iscsid.queues: one LUN, served by several sessions, each on a thread of its own. Clients of the export are
distributed among them, the target sees all of them, iscsiadm shows the first."""

import os
import re
import signal
import socket
import sys
import threading
import time

import pdu
from lab import MIB, Lab, check, check_same, main, need, wait_until
from scripted import Server
from targets import Lun

TARGET = "iqn.2026-01.org.example:queues"
TWO = {"iscsid.shards": 2, "iscsid.queues": 2}


def log_of(lab):
    with open(os.path.join(lab.root, "iscsid.log"), encoding="utf-8", errors="replace") as file:
        return file.read()


def sessions_at(target):
    """(tgtd's number, connection) of each."""
    shown = target.admin("--op", "show", "--mode", "conn", "--tid", "1").out
    return re.findall(r"Session: (\d+)\s+Connection: (\d+)", shown)


def sent_bytes(lab, target):
    """By the initiator, on each connection to the target."""
    shown = lab.run("ss", "-tinH", "state", "established", f"( dport = :{target.port} )", quiet=True).out
    return sorted(int(n) for n in re.findall(r"bytes_sent:(\d+)", shown))


def one_unit(lab, size=64 * MIB):
    lab.configure(TWO)
    disk = lab.disk("disk", size)
    target = lab.tgtd()
    target.add(TARGET, [Lun(disk)])
    lab.iscsid()
    lab.discover(target.portal)
    lab.login()
    return target, disk


def leaves_nothing(lab, target):
    lab.logout()
    check(not sessions_at(target), f"sessions are left at the target: {sessions_at(target)}")
    check(not os.listdir(os.path.join(lab.root, "run/iscsid/sessions")), "a state file is left")


def both_carry():
    """Two connections of a client, two sessions, one disk; a flush by one of them is for what the other wrote."""
    need("nbdcopy", "fio", "ss")
    size = 64 * MIB
    with Lab() as lab:
        target, disk = one_unit(lab)
        check(len(sessions_at(target)) == 2, f"two sessions: {sessions_at(target)}")
        check(len(lab.adm("-m", "session").out.splitlines()) == 1, "iscsiadm shows the first one")
        check(all(job.wait(120) == 0 for job in verified_load(lab, 2)), "a writer failed")
        sent = sent_bytes(lab, target)
        check(len(sent) == 2 and sent[0] > 4 * MIB, f"both sessions carry data: {sent}")
        image = lab.random_image("image", size)
        lab.run("nbdcopy", "--connections=2", "--requests=8", "--flush", image, lab.export())
        check_same(image, disk, size, "what was written by two connections")
        back = lab.disk("back", size)
        lab.run("nbdcopy", "--connections=4", lab.export(), back)
        check_same(image, back, size, "what was read by four connections")
        leaves_nothing(lab, target)


def verified_load(lab, seconds):
    """Two writers with places of their own, who read back what they wrote."""
    words = ["--ioengine=nbd", f"--uri={lab.export()}", "--rw=randrw", "--bsrange=4k-64k", "--iodepth=8", "--size=24m",
             "--time_based", f"--runtime={seconds}", "--verify=crc32c", "--verify_fatal=1", "--verify_backlog=64",
             "--fsync=32"]
    jobs = []
    for number in (0, 1):
        jobs.append(lab.start(f"fio{number}-{seconds}", ["fio", f"--name=queue{number}", f"--offset={24 * number}m", *words],
                              cwd=lab.root))
    return jobs


def connections_end():
    """The target ends the sessions one after the other under load: each comes back, and nothing is lost."""
    need("fio")
    with Lab() as lab:
        target, _ = one_unit(lab)
        jobs = verified_load(lab, 12)
        for number in range(1, 5):
            time.sleep(1)  # the load goes on
            known = sessions_at(target)
            check(len(known) == 2, f"both are there: {known}")
            sid, cid = known[number % 2]
            target.admin("--op", "delete", "--mode", "conn", "--tid", "1", "--sid", sid, "--cid", cid)
            wait_until(lambda: log_of(lab).count(" is back after ") >= number, 30, "the session to be back")
            wait_until(lambda: len(sessions_at(target)) == 2, 10, "two sessions")
        check(all(job.wait(120) == 0 for job in jobs), "a writer failed")
        check(", queue: 1]" in log_of(lab), "the log says which queue it was")
        leaves_nothing(lab, target)


def daemon_restarts():
    """Killed, the next daemon has both sessions again, whatever the settings say by then."""
    need("nbdcopy", "fio", "ss")
    size = 64 * MIB
    with Lab() as lab:
        target, disk = one_unit(lab)
        image = lab.random_image("image", size)
        for number in (signal.SIGKILL, signal.SIGTERM):
            lab.run("nbdcopy", "--connections=2", "--flush", image, lab.export())
            daemon = [process for name, process in lab.processes if name == "iscsid"][-1]
            daemon.send_signal(number)
            daemon.wait(20)
            lab.processes = [(name, process) for name, process in lab.processes if process is not daemon]
            lab.configure({"iscsid.queues": 1, "iscsid.shards": 1})
            lab.iscsid()
            wait_until(lambda: lab.session().exports, 20, "the export to be back")
            wait_until(lambda: len(sessions_at(target)) == 2, 20, "two sessions")
            before = sent_bytes(lab, target)
            check_same(image, disk, size, "what was flushed")
            check(all(job.wait(120) == 0 for job in verified_load(lab, 2)), "a writer failed")
            after = sent_bytes(lab, target)
            check(len(after) == 2 and after[0] > before[0] + MIB, f"both carry data again: {before} {after}")
        leaves_nothing(lab, target)


class OneSession(Server):
    """In front of a target: lets no second session in beside the first, for lack of resources (RFC 7143 11.13.5)."""

    def __init__(self, lab, target):
        self.target, self.sessions = target, 0
        super().__init__(lab)

    def serve(self, peer):
        login = pdu.receive_exactly(peer, 48)
        length = int.from_bytes(login[5:8], "big")
        text = pdu.receive_exactly(peer, (length + 3) & ~3)
        self.sessions += 1
        if self.sessions > 1:
            peer.sendall(bytes([0x23]) + bytes(7) + login[8:20] + bytes(8) + login[24:28] * 2 + bytes([3, 2]) + bytes(10))
            return
        with socket.create_connection(("127.0.0.1", self.target.port)) as behind:
            behind.sendall(login + text)
            back = threading.Thread(target=self._pass, args=(behind, peer), daemon=True)
            back.start()
            self._pass(peer, behind)
            back.join()

    @staticmethod
    def _pass(here, there):
        here.settimeout(None)
        try:
            while data := here.recv(1 << 18):
                there.sendall(data)
        finally:
            there.shutdown(socket.SHUT_RDWR)


def refused():
    """A target that takes no second session: one queue, which is said once, and all works."""
    need("nbdcopy")
    size = 16 * MIB
    with Lab() as lab:
        lab.configure(TWO)
        disk = lab.disk("disk", size)
        target = lab.tgtd()
        target.add(TARGET, [Lun(disk)])
        door = OneSession(lab, target)
        lab.iscsid()
        lab.adm("-m", "node", "-o", "new", "-T", TARGET, "-p", door.portal)
        lab.login()
        check(door.sessions == 2, f"a second session was asked for: {door.sessions}")
        check(log_of(lab).count("1 queue(s) instead of 2") == 1, "it is said that there is one queue")
        check(len(sessions_at(target)) == 1, f"one session: {sessions_at(target)}")
        image = lab.random_image("image", size)
        lab.run("nbdcopy", "--connections=2", "--flush", image, lab.export())
        check_same(image, disk, size, "what was written")
        leaves_nothing(lab, target)


if __name__ == "__main__":
    main(globals()[sys.argv[1]])
