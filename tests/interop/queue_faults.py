"""iscsid.queues when one of a device's sessions is lost: what was acknowledged by either queue is flushed by both, a loss is
told once, the others go on, and whoever looks sees which is down."""

import errno
import json
import os
import socket
import struct
import sys
import threading
import time
import urllib.parse

import pdu
from lab import MIB, Lab, check, check_same, main, need, wait_until
from queues import TARGET, TWO, log_of, sessions_at, verified_load
from scripted import Server
from targets import Lun

SIZE = 64 * MIB
WRITE10, SYNCHRONIZE_CACHE = 0x2A, 0x35


class Doors(Server):
    """In front of a target: knows sessions by their ISID, in the order of their first logins, and can end the connection of
    one and keep it out. Who is kept out hears that the target is not available (RFC 7143 section 11.13.5), and so does
    everybody while there is no target."""

    def __init__(self, lab, target):
        self.target, self.isids, self.inside, self.shut, self.seen = target, [], {}, set(), []
        self.logins, self.refused = [], []
        super().__init__(lab)

    def serve(self, peer):
        login = pdu.receive_exactly(peer, 48)
        text = pdu.receive_exactly(peer, (int.from_bytes(login[5:8], "big") + 3) & ~3)
        isid = bytes(login[8:14])
        if isid not in self.isids:
            self.isids.append(isid)
        number = self.isids.index(isid)
        behind = None if number in self.shut else self._behind()
        if behind is None:
            self.refused.append(number)
            peer.sendall(bytes([0x23]) + bytes(7) + login[8:20] + bytes(8) + login[24:28] * 2 + bytes([3, 1]) + bytes(10))
            return
        self.logins.append(number)
        with behind:
            self.inside[number] = (peer, behind)
            behind.sendall(login + text)
            back = threading.Thread(target=self._pass, args=(behind, peer), daemon=True)
            back.start()
            try:
                self._watch(number, peer, behind)
            finally:
                _shut_down(behind)
                back.join()

    def _behind(self):
        try:
            return socket.create_connection(("127.0.0.1", self.target.port))
        except OSError:
            return None

    def _watch(self, number, peer, behind):
        peer.settimeout(None)
        while True:
            header = pdu.receive_exactly(peer, 48)
            rest = pdu.receive_exactly(peer, header[4] * 4 + ((int.from_bytes(header[5:8], "big") + 3) & ~3))
            if header[0] & 0x3F == 0x01:
                self.seen.append((number, header[32]))
            behind.sendall(header + rest)

    @staticmethod
    def _pass(here, there):
        try:
            while data := here.recv(1 << 18):
                there.sendall(data)
        except OSError:
            pass
        finally:
            _shut_down(there)

    def end(self, number, keep_out=False):
        """The connection of that session."""
        if keep_out:
            self.shut.add(number)
        for end in self.inside[number]:
            _shut_down(end)

    def let_in(self, number):
        self.shut.discard(number)


def _shut_down(end):
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class Client:
    """Of an NBD export (the protocol's doc/proto.md): one request at a time."""

    READ, WRITE, FLUSH = 0, 1, 3

    def __init__(self, lab):
        path = urllib.parse.unquote(lab.export().split("socket=", 1)[1])
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(path)
        lab.undo.append(self.socket.close)
        pdu.receive_exactly(self.socket, 18)
        self.socket.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, 0))  # NBD_OPT_EXPORT_NAME
        pdu.receive_exactly(self.socket, 10)

    def ask(self, what, offset=0, length=0, data=b""):
        """The errno of the answer."""
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, what, 1, offset, length) + data)
        error = struct.unpack(">4xI8x", pdu.receive_exactly(self.socket, 16))[0]
        if what == self.READ and not error:
            pdu.receive_exactly(self.socket, length)
        return error

    def write(self, offset, data):
        check(self.ask(self.WRITE, offset, len(data), data) == 0, "a write")

    def read(self):
        check(self.ask(self.READ, 0, 4096) == 0, "a read")

    def flush(self):
        return self.ask(self.FLUSH)


class Scene:
    """A target with a volatile cache behind doors, a session of two queues, and a client at each of them."""

    def __init__(self, lab, settings=None):
        self.lab, self.disk = lab, lab.disk("disk", SIZE)
        lab.configure(TWO)
        self.target = lab.tgtd(env={"LD_PRELOAD": lab.program("tests/faults/libvolatile-cache.so"),
                                    "ISCSI_CACHED_FILE": self.disk})
        self.add()
        self.doors = Doors(lab, self.target)
        lab.iscsid()
        lab.adm("-m", "node", "-o", "new", "-T", TARGET, "-p", self.doors.portal)
        lab.update(TARGET, {"node.session.iscsi.DefaultTime2Wait": 0, "node.conn[0].timeo.noop_out_interval": 1,
                            "node.conn[0].timeo.noop_out_timeout": 1, **(settings or {})})
        lab.login()
        check(self.doors.logins == [0, 1], f"two sessions: {self.doors.logins}")

    def add(self):
        self.target.add(TARGET, [Lun(self.disk)], parameters={"DefaultTime2Wait": 0})

    def kill_target(self):
        self.target.process.expected_end = True
        self.target.process.kill()
        self.target.process.wait()

    def lose_cache(self):
        """With all of the target; both sessions have seen that it is away, without which its greeting would say nothing."""
        before = len(self.doors.refused)
        self.kill_target()
        wait_until(lambda: {0, 1} <= set(self.doors.refused[before:]), 30, "both sessions to see that the target is away")
        self.target.start()
        self.add()

    def wait_back(self, count):
        wait_until(lambda: log_of(self.lab).count(" is back after ") >= count, 40, "the sessions to be back")

    def snapshot(self):
        [session] = json.loads(self.lab.adm("-m", "session", "--json", quiet=True).out)["sessions"]
        return session

    def losses(self):
        return self.snapshot()["luns"][0]["cache_losses"]

    def logs_out(self):
        self.lab.logout()
        check(not sessions_at(self.target), f"sessions are left at the target: {sessions_at(self.target)}")


def on_disk(path, data, offset):
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(len(data)) == data


def flush_covers_all():
    """What one queue has acknowledged is on the medium when a flush by the other has ended; without one it is not."""
    with Lab() as lab:
        scene = Scene(lab)
        clients = [Client(lab), Client(lab)]
        for turn in range(2):
            writer, flusher = clients[turn], clients[1 - turn]
            data, volatile = os.urandom(MIB), os.urandom(MIB)
            seen = len(scene.doors.seen)
            writer.write(0, data)
            check(not on_disk(scene.disk, data, 0), "what was not flushed is on the medium already: this shows nothing")
            check(flusher.flush() == 0, "a flush")
            commands = scene.doors.seen[seen:]
            check(commands.index((turn, WRITE10)) < commands.index((1 - turn, SYNCHRONIZE_CACHE)), f"in order: {commands}")
            check((turn, SYNCHRONIZE_CACHE) not in commands, f"the flush came by the other queue: {commands}")
            writer.write(4 * MIB, volatile)
            scene.lose_cache()
            check(on_disk(scene.disk, data, 0), "what one queue wrote and the other one flushed is lost")
            check(not on_disk(scene.disk, volatile, 4 * MIB), "the target's cache outlived it: this shows nothing")
            scene.wait_back(2 * (turn + 1))
            told = [client.flush() for client in (flusher, writer)]
            check(told == [errno.EIO, 0], f"the loss is told, once: {told}")
        scene.logs_out()


def a_loss_is_told_once():
    """A queue whose session comes back late says nothing of a loss that was told; and tells of one that nobody else knows."""
    with Lab() as lab:
        scene = Scene(lab)
        first, second = Client(lab), Client(lab)
        data = os.urandom(MIB)
        second.write(0, data)
        scene.doors.shut.add(1)
        scene.lose_cache()
        scene.wait_back(1)
        check(first.flush() == errno.EIO, "the loss was not told")
        check(first.flush() == 0, "the loss was told twice")
        first.write(0, data)
        scene.doors.let_in(1)
        scene.wait_back(2)
        second.read()
        check("another queue has heard of the loss" in log_of(lab), "it was not known as the same loss")
        check([second.flush(), first.flush()] == [0, 0], "a loss that was told before is told again")
        check(on_disk(scene.disk, data, 0) and scene.losses() == 1, f"{scene.losses()} losses")
        # The next one is heard of by the second queue, while the first one has written and is away.
        first.write(0, bytes(MIB))
        scene.doors.shut.add(0)
        scene.lose_cache()
        scene.wait_back(3)
        check(second.flush() == errno.EIO, "the second loss was not told")
        scene.doors.let_in(0)
        scene.wait_back(4)
        check([first.flush(), second.flush()] == [0, 0], "the second loss was told twice")
        check(scene.losses() == 2, f"{scene.losses()} losses")
        # And one more that the first queue hears of.
        first.write(0, data)
        scene.doors.shut.add(1)
        scene.lose_cache()
        scene.wait_back(5)
        check(first.flush() == errno.EIO, "the third loss was not told")
        scene.doors.let_in(1)
        scene.wait_back(6)
        check([second.flush(), first.flush()] == [0, 0], "the third loss was told twice")
        check(scene.losses() == 3, f"{scene.losses()} losses")
        scene.logs_out()


def companion_dies():
    """The connection of the second queue alone ends again and again under load: it comes back, the first one is not touched,
    and what is read is what was written."""
    need("fio")
    with Lab() as lab:
        scene = Scene(lab)
        for number in (2, 4, 6):
            before = len(scene.doors.seen)
            jobs = verified_load(lab, 3)
            wait_until(lambda b=before: {0, 1} <= {queue for queue, _ in scene.doors.seen[b:]}, 20, "both queues to be used")
            scene.doors.end(1)
            scene.wait_back(number - 1)
            scene.doors.end(1)
            scene.wait_back(number)
            check(all(job.wait(120) == 0 for job in jobs), "a writer failed")
        check(scene.doors.logins.count(0) == 1, f"the first session was not touched: {scene.doors.logins}")
        check(scene.snapshot()["queues"][0]["recoveries"] == 6, f"counted: {scene.snapshot()['queues']}")
        scene.logs_out()


def companion_is_seen():
    """A queue that is down is in the list for programs that ask for it and in doctor's, and not in the one of old."""
    with Lab() as lab:
        scene = Scene(lab)
        [queue] = scene.snapshot()["queues"]
        check((queue["number"], queue["session_state"], queue["down_s"]) == (1, "LOGGED_IN", None), f"up: {queue}")
        plain = lab.adm("-m", "session", quiet=True).out
        scene.doors.end(1, keep_out=True)
        wait_until(lambda: (scene.snapshot()["queues"][0]["down_s"] or 0) >= 1, 20, "the queue to be seen as lost")
        session = scene.snapshot()
        [queue] = session["queues"]
        check(queue["session_state"] == "FAILED" and "available" in queue["last_error"], f"lost: {queue}")
        check(session["session_state"] == "LOGGED_IN" and session["down_s"] is None, "the first one is up")
        check(lab.adm("-m", "session", quiet=True).out == plain, "the list of old has changed")
        doctor = lab.adm("doctor", "-T", TARGET, ok=None)
        check(doctor.status != 0 and "queue 1 of 2 is lost" in doctor.out, "doctor says so")
        scene.doors.let_in(1)
        scene.wait_back(1)
        check("all 2 have a session" in lab.adm("doctor", "-T", TARGET).out, "doctor says that both are up")
        scene.logs_out()


def logout_without_companion():
    """A logout waits for a queue that is on its way back; and if it does not come in time the others flush what it has
    acknowledged."""
    with Lab() as lab:
        scene = Scene(lab, {"node.conn[0].timeo.logout_timeout": 20})
        for comes_back in (True, False):
            clients, data = [Client(lab), Client(lab)], os.urandom(MIB)
            clients[1].write(0, data)
            check((1, WRITE10) in scene.doors.seen, "the second queue has written")
            scene.doors.end(1, keep_out=True)
            wait_until(lambda: scene.snapshot()["queues"][0]["session_state"] == "FAILED", 20, "the loss to be seen")
            if comes_back:
                tries = lab.start("logout", [lab.program("iscsiadm"), "-m", "node", "-T", TARGET, "-u"])
                wait_until(lambda: "logging out of" in log_of(lab), 10, "the logout to begin")
                time.sleep(0.5)  # it goes on waiting
                check(tries.poll() is None, "the logout did not wait for the second queue")
                scene.doors.let_in(1)
                check(tries.wait(60) == 0, "the logout failed")
                check(log_of(lab).count(" is back after ") == 1, "the second queue was not waited for")
            else:
                lab.update(TARGET, {"node.conn[0].timeo.logout_timeout": 1})
                lab.logout()
            check(not sessions_at(scene.target), "sessions are left at the target")
            scene.kill_target()
            check(on_disk(scene.disk, data, 0), "what the second queue has acknowledged was not flushed")
            scene.target.start()
            scene.add()
            scene.doors.let_in(1)
            if comes_back:
                lab.update(TARGET, {"node.conn[0].timeo.logout_timeout": 1})
                lab.login()


def many_clients():
    """Several NBD clients at once (CAN_MULTI_CONN), some of them with several connections: what two have written by two queues
    all of them read, and a logout makes it durable."""
    need("fio", "nbdcopy", "nbdinfo", "qemu-img")
    with Lab() as lab:
        scene = Scene(lab)
        check("can_multi_conn: true" in lab.run("nbdinfo", lab.export(), quiet=True).out, "the export says CAN_MULTI_CONN")
        check(all(job.wait(120) == 0 for job in verified_load(lab, 3)), "a writer failed")
        writers = {queue for queue, code in scene.doors.seen if code == WRITE10}
        check(writers == {0, 1}, f"queues that wrote: {writers}")
        seen = lab.disk("seen", SIZE)
        lab.run("nbdcopy", "--connections=4", lab.export(), seen)
        lab.run("qemu-img", "compare", "-f", "raw", "-F", "raw", seen, lab.export())
        scene.logs_out()
        scene.kill_target()
        check_same(seen, scene.disk, SIZE, "what two queues wrote, behind the logout")


if __name__ == "__main__":
    main(globals()[sys.argv[1]])
