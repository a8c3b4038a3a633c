"""A client of an NBD export on a Unix socket that reads in step: a batch of requests leaves with one send, the next one when all
of it is answered. So what the server is asked for at a time is the same in every run, however busy the machine."""

import socket
import struct
import urllib.parse

HELLO, OPTIONS, GO, BLOCK_BYTES = b"NBDMAGIC", b"IHAVEOPT", 7, 4096
FIXED_NEWSTYLE_NO_ZEROES = 3
REQUEST, REPLY = 0x25609513, 0x67446698
OPTION_REPLY, ACKNOWLEDGED = 0x3E889045565A9, 1


def check(condition, what):
    if not condition:
        raise AssertionError(f"NBD: {what}")


class NbdReader:
    """One connection; `uri` as iscsiadm shows it. Reads blocks of 4 KiB, one after the other within `span` bytes."""

    def __init__(self, uri, depth, span=64 << 20):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(urllib.parse.unquote(uri.partition("socket=")[2]))
        self._shake_hands()
        self.requests = [b"".join(struct.pack(">IHHQQI", REQUEST, 0, 0, number, (first + number) * BLOCK_BYTES, BLOCK_BYTES)
                                  for number in range(depth)) for first in range(0, span // BLOCK_BYTES, depth)]
        self.answer = memoryview(bytearray(depth * (16 + BLOCK_BYTES)))
        self.next = 0

    def _take(self, count):
        taken = b""
        while len(taken) < count:
            piece = self.socket.recv(count - len(taken))
            check(piece, "the server has closed the connection")
            taken += piece
        return taken

    def _shake_hands(self):
        check(self._take(18)[:16] == HELLO + OPTIONS, "not a server of today")
        self.socket.sendall(struct.pack(">I", FIXED_NEWSTYLE_NO_ZEROES))
        self.socket.sendall(OPTIONS + struct.pack(">IIIH", GO, 6, 0, 0))  # the export without a name
        kind = None
        while kind != ACKNOWLEDGED:
            magic, option, kind, length = struct.unpack(">QIII", self._take(20))
            check((magic, option) == (OPTION_REPLY, GO) and kind < 1 << 31, f"the export is refused: {kind:#x}")
            self._take(length)

    def read(self, batches):
        """That many batches; the first reply of each is looked at."""
        for _ in range(batches):
            self.socket.sendall(self.requests[self.next])
            self.next = (self.next + 1) % len(self.requests)
            done = 0
            while done < len(self.answer):
                count = self.socket.recv_into(self.answer[done:])
                check(count, "the server has closed the connection")
                done += count
            check(struct.unpack(">II", self.answer[:8]) == (REPLY, 0), "a read failed")

    def close(self):
        self.socket.close()
