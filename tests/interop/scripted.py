"""Peers that say what a test wants: a discovery target with any list, and servers that are no targets at all."""

import hashlib
import os
import socket
import threading

import pdu

BOOLEANS = ("ImmediateData", "InitialR2T", "DataPDUInOrder", "DataSequenceInOrder")
DIGESTS = ("HeaderDigest", "DataDigest")
CHAP_DIGESTS = {"5": hashlib.md5, "6": hashlib.sha1, "7": hashlib.sha256, "8": hashlib.sha3_256}
SEGMENT = 8192  # what an initiator takes that has not said otherwise
DECLARED = ("InitiatorName", "InitiatorAlias", "SessionType", "TargetName", "MaxRecvDataSegmentLength")


class Server:
    """Accepts on a loopback port and serves each connection in a thread of its own, until close()."""

    def __init__(self, lab):
        self.port = lab.port()
        self.portal = f"127.0.0.1:{self.port}"
        self.accepted = 0
        self.socket = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()
        lab.undo.append(self.close)

    def close(self):
        self.socket.close()

    def _accept(self):
        while True:
            try:
                peer, _ = self.socket.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        with peer:
            peer.settimeout(30)
            try:
                self.serve(peer)
            except (OSError, pdu.Closed):
                pass

    def serve(self, peer):
        raise NotImplementedError


class Http(Server):
    """Answers like a web server that was sent something it does not understand."""

    def serve(self, peer):
        peer.recv(4096)
        body = "<html><body><h1>400 Bad Request</h1></body></html>\r\n"
        peer.sendall(f"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n"
                     f"Connection: close\r\n\r\n{body}".encode())


class Random(Server):
    """Answers with bytes that mean nothing."""

    def serve(self, peer):
        peer.recv(4096)
        for _ in range(64):
            peer.sendall(os.urandom(4096))
        peer.recv(1)


class Silent(Server):
    """Takes everything and says nothing."""

    def serve(self, peer):
        while peer.recv(65536):
            pass


class Discovery(Server):
    """A target that logs everyone in, or everyone who passes CHAP, and answers SendTargets with `listing`, raw
    bytes, in as many PDUs as it takes. `algorithm` is the CHAP_A number that it insists on; `chap` has the names and
    secrets. With `moved_to`, a portal, it sends everyone there instead (RFC 7143 section 11.13.5)."""

    def __init__(self, lab, listing, chap=None, algorithm="5", moved_to=None):
        self.listing, self.chap, self.algorithm, self.moved_to = listing, chap, algorithm, moved_to
        self.offered = None  # the last CHAP_A
        super().__init__(lab)

    def serve(self, peer):
        stat_sn, challenge, sent = 1, os.urandom(32), 0
        while True:
            request = pdu.receive(peer)
            if request.opcode == 0x03:
                answer = self.login(request, challenge)
            elif request.opcode == 0x04:
                part = self.listing[sent:sent + SEGMENT]
                sent += len(part)
                flags, tag = (0x80, 0xFFFFFFFF) if sent == len(self.listing) else (0x40, 1)  # or to be continued
                answer = pdu.Pdu(pdu.header(0x24, flags, at16=request.itt, at20=tag), part)
            elif request.opcode == 0x06:
                answer = pdu.Pdu(pdu.header(0x26, 0x80, at16=request.itt))
            else:
                return
            answer.header[24:28] = stat_sn.to_bytes(4, "big")
            cmd_sn = request.word(24) + (0 if request.immediate else 1)
            answer.header[28:32] = cmd_sn.to_bytes(4, "big")
            answer.header[32:36] = (cmd_sn + 16).to_bytes(4, "big")
            peer.sendall(answer.bytes())
            stat_sn += 1
            if request.opcode == 0x06 or answer.header[36]:
                return

    def login(self, request, challenge):
        offered = pdu.keys(request.data)
        answer = pdu.Pdu(pdu.header(0x23, request.flags & 0x8F, at16=request.itt))
        answer.header[8:14] = request.header[8:14]
        if request.flags & 0x83 == 0x83:
            answer.header[14:16] = b"\0\1"
        if self.moved_to:
            answer.header[1] = 0
            answer.header[36:38] = b"\1\1"  # moved temporarily
            answer.data = pdu.text({"TargetAddress": self.moved_to})
        elif self.chap and not request.flags & 0x0C:
            reply = self.security(offered, challenge)
            if reply is None:
                answer.header[36:38] = b"\2\1"  # authentication failure
                reply = {}
            if "CHAP_R" not in offered:
                answer.header[1] &= 0x0C  # no transit yet
            answer.data = pdu.text(reply)
        else:
            answer.data = pdu.text({key: self.value(key, value) for key, value in offered.items()
                                    if key not in DECLARED})
        return answer

    def security(self, offered, challenge):
        """The next step of CHAP (RFC 7143 section 12.1.3); None refuses."""
        if "CHAP_R" in offered:
            if offered.get("CHAP_N") != self.chap.user or offered["CHAP_R"] != self.response(1, self.chap.secret, challenge):
                return None
            if not self.chap.user_in:
                return {}
            theirs = bytes.fromhex(offered["CHAP_C"].removeprefix("0x"))
            return {"CHAP_N": self.chap.user_in,
                    "CHAP_R": self.response(int(offered["CHAP_I"], 0), self.chap.secret_in, theirs)}
        if "CHAP_A" in offered:
            self.offered = offered["CHAP_A"].split(",")
            if self.algorithm not in self.offered:
                return None
            return {"CHAP_A": self.algorithm, "CHAP_I": "1", "CHAP_C": "0x" + challenge.hex()}
        return {"AuthMethod": "CHAP"} if "CHAP" in offered.get("AuthMethod", "").split(",") else None

    def response(self, identifier, secret, challenge):
        digest = CHAP_DIGESTS[self.algorithm](bytes([identifier]) + secret.encode() + challenge)
        return "0x" + digest.hexdigest()

    @staticmethod
    def value(key, value):
        if key in BOOLEANS or value.isdigit():
            return value
        return "None" if key in DIGESTS or key == "AuthMethod" else "NotUnderstood" if key[0] != "I" else "No"


def listing(*entries):
    """SendTargets text of (name, address) pairs; either may be bytes that are no name and no address."""
    out = []
    for entry in entries:
        name, address = (part.encode() if isinstance(part, str) else part for part in entry)
        out.append(b"TargetName=" + name + b"\0TargetAddress=" + address + b"\0")
    return b"".join(out)
