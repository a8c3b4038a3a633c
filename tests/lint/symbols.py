#!/usr/bin/env python3
"""libiscsi-core opens nothing, waits for nothing and reads no clock: its objects' undefined symbols say so.

Arguments: the object files of the library. Objects of records/ may touch files, those of records/store also wait
for a lock.
"""

import os
import re
import subprocess
import sys
import tempfile

import tree

CLOCK_AND_WAIT = r"clock_gettime|clock_nanosleep|gettimeofday|time|nanosleep|usleep|sleep|_ZNSt6chrono.*3nowEv"
OUTSIDE = re.compile(
    r"^(?:__)?(?:socket|socketpair|bind|listen|accept4?|connect|send(?:to|m?msg)?|recv(?:from|m?msg)?|shutdown"
    r"|getaddrinfo|gethostbyname|inet_\w+|p?poll|p?select|epoll_\w+|eventfd|timerfd_\w+|signalfd|io_uring_\w+|syscall"
    r"|pthread_create|fork|vfork|execv\w*|posix_spawnp?|system|_ZNSt6thread\w*|ioctl)(?:_chk|64)?$"
)
WAITS = re.compile(rf"^(?:__)?(?:{CLOCK_AND_WAIT})$")
FILES = re.compile(
    r"^(?:__)?(?:open|openat|creat|fopen|freopen|rename|renameat2?|unlink|unlinkat|mkdir|mkdirat|rmdir|opendir|readdir"
    r"|f?stat|lstat|fstatat|flock|symlink|link|readlink|fsync|_ZNSt10filesystem\w*"
    r"|_ZNSt1[34]basic_[io]?fstream\w*)(?:64)?(?:_2|_chk)?$"
)


def place_of(path):
    """(room, file) of an object file: .../<room>/<file>.cpp.o"""
    parts = path.split("/")
    return (parts[-2] if len(parts) > 1 else "?"), parts[-1]


def undefined(path):
    out = subprocess.run(["nm", "-u", path], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1].split("@")[0] for line in out.splitlines() if line.split()}


def check_object(path):
    room, name = place_of(path)
    store = room == "records" and name.startswith("store")
    out = []
    for symbol in sorted(undefined(path)):
        if OUTSIDE.match(symbol) or (WAITS.match(symbol) and not store) or (FILES.match(symbol) and room != "records"):
            out.append(f"{room}/{name}: uses {symbol}")
    return out


def check():
    objects = [path for path in sys.argv[1:] if path.endswith(".o")]  # and no precompiled header
    if len(objects) < 2:
        return ["no object files were given"]
    return [line for path in objects for line in check_object(path)]


def self_test():
    text = """#include <chrono>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
long f() {
    timespec t; clock_gettime(CLOCK_MONOTONIC, &t);
    pollfd p{}; poll(&p, 1, 0);
    return socket(1, 1, 0) + open("x", 0) + t.tv_sec + std::chrono::steady_clock::now().time_since_epoch().count();
}
"""
    out = []
    with tempfile.TemporaryDirectory() as place:
        for room, name, wanted in [("session", "x", 5), ("records", "names", 4), ("records", "store", 2)]:
            os.makedirs(f"{place}/{room}", exist_ok=True)
            with open(f"{place}/x.cpp", "w", encoding="utf-8") as file:
                file.write(text)
            path = f"{place}/{room}/{name}.cpp.o"
            subprocess.run(["c++", "-std=c++20", "-c", f"{place}/x.cpp", "-o", path], check=True)
            out += tree.expect(f"{room}/{name}", check_object(path), wanted)
    return out


if __name__ == "__main__":
    tree.main(check, self_test)
