#!/usr/bin/env python3
"""A load that knows, for each block, which write was the last one: ledger.py DEVICE OFFSET LENGTH [THREADS].

Each thread has a part of the place to itself. It reads what it is about to write and compares it with what it wrote there
last, so that a write which overtook a later one (of a daemon that was killed, say) is seen before it is gone. On SIGINT the
writes in progress end, and then every block that was ever written is read and compared. Exit status 1: one was not what it
should be, or I/O failed. All of it past the page cache."""

import mmap
import os
import random
import signal
import struct
import sys
import threading
import time

BLOCK, MOST = 4096, 16  # bytes; blocks of one write
READ = 256  # blocks of one read at the end


class Stale(Exception):
    pass


class Part(threading.Thread):
    def __init__(self, fd, first, count):
        super().__init__(daemon=True)
        self.fd, self.first, self.count = fd, first, count
        self.written = [0] * count  # the number of the last write of each block; 0: none
        self.writes, self.stop, self.error = 0, False, None
        self.buffer = mmap.mmap(-1, READ * BLOCK)

    def stamp(self, at, number):
        return struct.pack("<QQ", self.first + at, number) * (BLOCK // 16)

    def compare(self, at, count):
        """Some blocks with what they should be."""
        size = count * BLOCK
        got = os.preadv(self.fd, [memoryview(self.buffer)[:size]], (self.first + at) * BLOCK)
        if got != size:
            raise Stale(f"{got} bytes of {size} were read at block {self.first + at}")
        for block in range(count):
            number = self.written[at + block]
            found = self.buffer[block * BLOCK:(block + 1) * BLOCK]
            if number and found != self.stamp(at + block, number):
                raise Stale(f"block {self.first + at + block} was last written as {number}, but is "
                            f"{struct.unpack_from('<QQ', found)}")

    def overwrite(self, at, count):
        self.writes += 1
        data = memoryview(self.buffer)[:count * BLOCK]
        for block in range(count):
            data[block * BLOCK:(block + 1) * BLOCK] = self.stamp(at + block, self.writes)
        if os.pwritev(self.fd, [data], (self.first + at) * BLOCK) != count * BLOCK:
            raise Stale(f"a short write at block {self.first + at}")
        self.written[at:at + count] = [self.writes] * count

    def run(self):
        chance = random.Random(self.first)
        try:
            while not self.stop:
                count = chance.randint(1, MOST)
                at = chance.randrange(self.count - count + 1)
                self.compare(at, count)
                self.overwrite(at, count)
            for at in range(0, self.count, READ):
                self.compare(at, min(READ, self.count - at))
        except (OSError, Stale) as error:
            self.error = error


def run(device, offset, length, threads=8):
    fd = os.open(device, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
    each = length // BLOCK // threads
    parts = [Part(fd, offset // BLOCK + number * each, each) for number in range(threads)]
    ended = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    for part in parts:
        part.start()
    while not ended.is_set() and not any(part.error for part in parts):
        time.sleep(0.1)
    for part in parts:
        part.stop = True
    for part in parts:
        part.join()
    blocks = sum(1 for part in parts for number in part.written if number)
    print(f"{sum(part.writes for part in parts)} writes, {blocks} blocks", flush=True)
    errors = [part.error for part in parts if part.error]
    for error in errors:
        print(error, flush=True)
    return 1 if errors or not blocks else 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], *map(int, sys.argv[2:])))
