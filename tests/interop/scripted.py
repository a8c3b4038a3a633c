"""Peers that say what a test wants: a discovery target with any list, and servers that are no targets at all."""

import os
import socket
import threading

import pdu

BOOLEANS = ("ImmediateData", "InitialR2T", "DataPDUInOrder", "DataSequenceInOrder")
DIGESTS = ("HeaderDigest", "DataDigest")
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
    """A target that logs everyone in and answers SendTargets with `listing`, raw bytes."""

    def __init__(self, lab, listing):
        self.listing = listing
        super().__init__(lab)

    def serve(self, peer):
        stat_sn = 1
        while True:
            request = pdu.receive(peer)
            if request.opcode == 0x03:
                answer = self.login(request)
            elif request.opcode == 0x04:
                answer = self.text(request)
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
            if request.opcode == 0x06:
                return

    def login(self, request):
        answer = pdu.Pdu(pdu.header(0x23, request.flags & 0x8F, at16=request.itt))
        answer.header[8:14] = request.header[8:14]
        if request.flags & 0x83 == 0x83:
            answer.header[14:16] = b"\0\1"
        answer.data = pdu.text({key: self.value(key, value) for key, value in pdu.keys(request.data).items()
                                if key not in DECLARED})
        return answer

    @staticmethod
    def value(key, value):
        if key in BOOLEANS or value.isdigit():
            return value
        return "None" if key in DIGESTS or key == "AuthMethod" else "NotUnderstood" if key[0] != "I" else "No"

    def text(self, request):
        answer = pdu.Pdu(pdu.header(0x24, 0x80, at16=request.itt, at20=0xFFFFFFFF), self.listing)
        return answer


def listing(*entries):
    """SendTargets text of (name, address) pairs; either may be bytes that are no name and no address."""
    out = b""
    for name, address in entries:
        name, address = (part.encode() if isinstance(part, str) else part for part in (name, address))
        out += b"TargetName=" + name + b"\0TargetAddress=" + address + b"\0"
    return out
