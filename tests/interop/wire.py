"""What goes over the wire keeps to what was negotiated: a tap between iscsid and tgtd, read PDU by PDU.

Independent of the initiator's own idea of it: RFC 7143 sections 4.2 (numbering), 11 (PDUs) and 13 (keys).
"""

import socket
import threading

import pdu
from lab import MIB, Failure, Lab, check, main, need
from scripted import Server
from targets import Lun

TARGET = "iqn.2026-01.org.example:wire"
SIZE = 8 * MIB


class Tap(Server):
    """Passes a connection on to `port` and keeps both directions."""

    def __init__(self, lab, port):
        self.to = port
        self.connections = []  # (from the initiator, from the target)
        super().__init__(lab)

    def serve(self, peer):
        streams = (bytearray(), bytearray())
        self.connections.append(streams)
        with socket.create_connection(("127.0.0.1", self.to)) as other:
            back = threading.Thread(target=self.pump, args=(other, peer, streams[1]), daemon=True)
            back.start()
            self.pump(peer, other, streams[0])
            back.join()

    @staticmethod
    def pump(source, sink, stream):
        source.settimeout(None)
        try:
            while data := source.recv(1 << 18):
                stream += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class Write:
    """A SCSI command that writes: bytes expected, and bytes sent with it, unasked behind it, and on request."""

    def __init__(self, command):
        self.expected, self.immediate = command.word(20), len(command.data)
        self.unsolicited = self.solicited = 0
        self.unsolicited_ended = command.final
        self.bursts = {}  # open ones: TTT -> [first offset, bytes, PDUs]


class Reader:
    def __init__(self, streams):
        login = [p for s in streams for p in pdu.split_stream(bytes(s))[0] if p.opcode in (0x03, 0x23)]
        self.offered, self.answered = {}, {}
        for p in login:
            (self.offered if p.opcode == 0x03 else self.answered).update(pdu.keys(p.data))
        self.login = login
        digests = [self.answered.get(key) == "CRC32C" for key in ("HeaderDigest", "DataDigest")]
        self.sent, rest = pdu.split_stream(bytes(streams[0]), *digests)
        check(not rest, f"{len(rest)} bytes behind the initiator's last PDU")
        self.got, rest = pdu.split_stream(bytes(streams[1]), *digests)
        check(not rest, f"{len(rest)} bytes behind the target's last PDU")

    def number(self, key, default):
        return int(self.answered.get(key, self.offered.get(key, default)))

    def check_login(self):
        first = self.login[0]
        check(first.flags >> 2 & 3 == 0, "the login does not start in SecurityNegotiation")
        check(self.offered.get("AuthMethod", "").split(",")[-1] == "None", "AuthMethod=None is not offered")
        requests = [p for p in self.login if p.opcode == 0x03]
        check(all(p.immediate for p in requests), "a login request is not immediate")
        check(len({p.word(24) for p in requests}) == 1, "CmdSN changes during login")
        check(len({bytes(p.header[8:14]) for p in requests}) == 1, "the ISID changes during login")
        check(first.header[14:16] == b"\0\0", "the TSIH of a leading login is not 0")

    def check_numbering(self):
        wanted = next(p for p in self.sent if p.opcode == 0x03).word(24)
        for p in self.sent:
            if p.opcode in (0x03, 0x05):
                continue
            check(p.word(24) == wanted & 0xFFFFFFFF, f"CmdSN {p.word(24)} and not {wanted} in opcode {p.opcode:#x}")
            wanted += 0 if p.immediate else 1

    def check_reads(self):
        bound = int(self.offered.get("MaxRecvDataSegmentLength", 8192))
        longest = max((p.data_length for p in self.got if p.opcode == 0x25), default=0)
        check(longest <= bound, f"a Data-In of {longest} bytes, {bound} were declared")
        check(longest > 0, "no Data-In was seen")

    def writes(self):
        """Follows every write through both directions. The order between them is not known and not needed."""
        out, r2ts = {}, {}
        for p in self.got:
            if p.opcode == 0x31:
                r2ts[(p.itt, p.ttt, p.word(40))] = p.word(44)
        history = []
        for p in self.sent:
            if p.opcode == 0x01 and p.flags & 0x20:
                out[p.itt] = Write(p)
                history.append(out[p.itt])
            elif p.opcode == 0x05:
                self.data_out(out[p.itt], p, r2ts)
        return history

    def data_out(self, write, p, r2ts):
        bound = int(self.answered.get("MaxRecvDataSegmentLength", 8192))
        check(0 < p.data_length <= bound, f"a Data-Out of {p.data_length} bytes, {bound} were declared")
        if p.ttt == 0xFFFFFFFF:
            check(not write.unsolicited_ended, "unsolicited data behind its F bit")
            check(p.word(40) == write.immediate + write.unsolicited, "unsolicited data out of order")
            write.unsolicited += p.data_length
            write.unsolicited_ended = p.final
            return
        burst = write.bursts.setdefault(p.ttt, [p.word(40), 0, 0])
        check(p.word(40) == burst[0] + burst[1], "a burst out of order")
        check(p.word(36) == burst[2], f"DataSN {p.word(36)}, not {burst[2]}")
        burst[1] += p.data_length
        burst[2] += 1
        if p.final:
            desired = r2ts.get((p.itt, p.ttt, burst[0]))
            check(desired is not None, "a burst that no R2T asked for")
            check(burst[1] == desired, f"a burst of {burst[1]} bytes where {desired} were asked for")
            del write.bursts[p.ttt]
            write.solicited += burst[1]


def check_writes(reader, immediate, initial_r2t):
    first, burst = reader.number("FirstBurstLength", 65536), reader.number("MaxBurstLength", 262144)
    segment = int(reader.answered.get("MaxRecvDataSegmentLength", 8192))
    history = reader.writes()
    check(len(history) > 10, f"only {len(history)} writes were seen")
    for write in history:
        check(immediate or write.immediate == 0, "immediate data where ImmediateData=No")
        check(not initial_r2t or write.unsolicited == 0, "unsolicited data where InitialR2T=Yes")
        check(write.immediate <= min(first, segment), f"{write.immediate} bytes of immediate data")
        check(write.immediate + write.unsolicited <= first, "unsolicited data beyond FirstBurstLength")
        check(not write.bursts, "a burst was not ended")
        total = write.immediate + write.unsolicited + write.solicited
        check(total == write.expected, f"{total} bytes were sent of {write.expected}")
        check(write.unsolicited_ended, "the F bit of the unsolicited data is missing")
    if immediate:
        check(any(write.immediate for write in history), "ImmediateData=Yes was never used")
    if not initial_r2t:
        check(any(write.unsolicited for write in history), "InitialR2T=No was never used")
    asked = [p.word(44) for p in reader.got if p.opcode == 0x31]
    check(0 < max(asked, default=0) <= burst, "no R2T was seen, or one beyond MaxBurstLength")


def one(lab, tap, digest, immediate, initial_r2t):
    def yes(flag):
        return "Yes" if flag else "No"

    lab.update(TARGET, {
        "node.conn[0].iscsi.HeaderDigest": "CRC32C" if digest else "None",
        "node.conn[0].iscsi.DataDigest": "CRC32C" if digest else "None",
        "node.session.iscsi.ImmediateData": yes(immediate),
        "node.session.iscsi.InitialR2T": yes(initial_r2t),
        "node.session.iscsi.FirstBurstLength": 16384,
        "node.session.iscsi.MaxBurstLength": 65536,
        "node.conn[0].iscsi.MaxRecvDataSegmentLength": 16384,
    })
    before = len(tap.connections)
    lab.login(TARGET)
    uri = lab.export()
    sizes = ("512", "4k", "12k", "64k", "100k", "256k", "1M")
    verbs = [f"aio_write -P {i + 1} {i}M {size}" for i, size in enumerate(sizes)] * 2 + ["aio_flush"]
    verbs += [f"read -P {i + 1} {i}M {size}" for i, size in enumerate(sizes)]
    done = lab.run("qemu-io", "-f", "raw", *[w for verb in verbs for w in ("-c", verb)], uri, quiet=True)
    check("verification failed" not in done.out + done.err, "what was read is not what was written")
    lab.logout(TARGET)
    check(len(tap.connections) == before + 1, "not one connection was made")
    reader = Reader(tap.connections[-1])
    if digest:
        check(reader.answered.get("HeaderDigest") == reader.answered.get("DataDigest") == "CRC32C", "no digests")
    reader.check_login()
    reader.check_numbering()
    reader.check_reads()
    check_writes(reader, immediate, initial_r2t)
    check(reader.sent[-1].opcode == 0x06 and reader.got[-1].opcode == 0x26, "the session did not end with Logout")


def test():
    need("qemu-io")
    with Lab() as lab:
        target = lab.tgtd()
        target.add(TARGET, [Lun(lab.disk("disk", SIZE))], None, {
            "InitialR2T": "No", "MaxRecvDataSegmentLength": 8192, "FirstBurstLength": 262144, "MaxBurstLength": 1048576,
            "HeaderDigest": "CRC32C,None", "DataDigest": "CRC32C,None"})
        tap = Tap(lab, target.port)
        lab.iscsid()
        lab.adm("-m", "node", "-T", TARGET, "-p", f"{tap.portal},1", "-o", "new")
        for digest, immediate, initial_r2t in [(d, i, r) for d in (0, 1) for i in (0, 1) for r in (0, 1)]:
            what = f"digests={digest} ImmediateData={immediate} InitialR2T={initial_r2t}"
            try:
                one(lab, tap, digest, immediate, initial_r2t)
            except (Failure, ValueError, KeyError) as failure:
                raise Failure(f"{what}: {failure!r}") from failure
            print(f"{what}: as negotiated")


if __name__ == "__main__":
    main(test)
