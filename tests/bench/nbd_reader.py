"""A client of an NBD export on a Unix socket that reads in step: a batch of requests leaves with one send, the next one when all
of it is answered. So what the server is asked for at a time is the same in every run, however busy the machine; and the client
costs as little as one can.

As a program, `nbd_reader.py URI DEPTH BYTES SECONDS` reads blocks of so many bytes for so long and prints how many it read."""

import socket
import struct
import sys
import time
import urllib.parse

HELLO, OPTIONS, GO, BLOCK_BYTES = b"NBDMAGIC", b"IHAVEOPT", 7, 4096
FIXED_NEWSTYLE_NO_ZEROES = 3
REQUEST, REPLY = 0x25609513, 0x67446698
OPTION_REPLY, ACKNOWLEDGED = 0x3E889045565A9, 1


def check(condition, what):
    if not condition:
        raise AssertionError(f"NBD: {what}")


class NbdReader:
    """One connection; `uri` as iscsiadm shows it. Reads blocks, one after the other within `span` bytes."""

    def __init__(self, uri, depth, span=64 << 20, block_bytes=BLOCK_BYTES):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(urllib.parse.unquote(uri.partition("socket=")[2]))
        self._shake_hands()
        self.requests = [b"".join(struct.pack(">IHHQQI", REQUEST, 0, 0, number, (first + number) * block_bytes, block_bytes)
                                  for number in range(depth)) for first in range(0, span // block_bytes, depth)]
        self.answer = memoryview(bytearray(depth * (16 + block_bytes)))
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


def main():
    uri, depth, block_bytes, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    reader = NbdReader(uri, depth, block_bytes=block_bytes)
    end, batches = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        reader.read(1)
        batches += 1
    reader.close()
    print(batches * depth)


if __name__ == "__main__":
    main()
