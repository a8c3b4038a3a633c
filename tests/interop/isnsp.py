"""iSNSP messages as bytes (RFC 4171), written apart from the code under test, and a server that answers as scripted."""

import socket
import struct

from pdu import Closed
from scripted import Server

REGISTER, QUERY, DEREGISTER, ANSWER = 1, 2, 4, 0x8000
WHOLE = 0x4C00  # from a server, first and last part


def attribute(tag, value=b""):
    """An attribute: text with its NUL, a number of four bytes, or bytes; padded."""
    if isinstance(value, str):
        value = value.encode() + b"\0"
    elif isinstance(value, int):
        value = struct.pack(">I", value)
    value += b"\0" * (-len(value) % 4)
    return struct.pack(">II", tag, len(value)) + value


def address(text):
    return b"\0" * 10 + b"\xff\xff" + socket.inet_aton(text)


def message(function, transaction, payload, flags=WHOLE, sequence=0):
    return struct.pack(">HHHHHH", 1, function, len(payload), flags, transaction, sequence) + payload


def targets(*portals):
    """The payload of a successful answer to a query for targets: (name, address, port, tag) each."""
    groups = b"".join(attribute(48, name) + attribute(49, address(where)) + attribute(50, port) + attribute(51, tag)
                      for name, where, port, tag in portals)
    return struct.pack(">I", 0) + attribute(33, 1) + attribute(0) + groups


def status(number):
    return struct.pack(">I", number)


class Scripted(Server):
    """`answer(function, transaction, payload)` gives the bytes that go back; what was asked stands in `asked`."""

    def __init__(self, lab, answer):
        self.answer, self.asked = answer, []
        super().__init__(lab)

    def serve(self, peer):
        while True:
            _, function, length, _, transaction, _ = struct.unpack(">HHHHHH", self.take(peer, 12))
            payload = self.take(peer, length)
            self.asked.append(function)
            for part in self.answer(function, transaction, payload):
                peer.sendall(part)

    @staticmethod
    def take(peer, size):
        taken = b""
        while len(taken) < size:
            part = peer.recv(size - len(taken))
            if not part:
                raise Closed()
            taken += part
        return taken
