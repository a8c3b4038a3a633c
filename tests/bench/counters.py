"""Counts what processes do, by the kernel's own trace points: system calls, and calls of the C library's allocation functions.

    with Counter(SYSTEM_CALLS) as calls:
        calls.watch(pid)        # every thread that it has now and starts later
        ...
        calls.read()

perf_event_open(2): the kernel counts, nothing is stopped and nothing is sampled. Wants root and tracefs.
"""

import ctypes
import os
import struct

from guest import check

TRACING = "/sys/kernel/debug/tracing"
PERF_EVENT_OPEN = 298  # of x86-64
PERF_TYPE_TRACEPOINT, PERF_FLAG_FD_CLOEXEC = 2, 8
INHERIT, ENABLE_ON_EXEC, DISABLED = 1 << 1, 1 << 12, 1
ALLOCATORS = ("malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc")  # memalign is aligned_alloc
SYSTEM_CALLS = ("raw_syscalls/sys_enter",)
ALLOCATIONS = tuple(f"bench/{name}" for name in ALLOCATORS)


def _c_library():
    """Where it lies on the disk, and where in memory its file begins."""
    with open("/proc/self/maps", encoding="utf-8") as file:
        for line in file:
            words = line.split()
            if len(words) == 6 and os.path.basename(words[5]).startswith("libc.so") and words[2] == "00000000":
                return words[5], int(words[0].split("-")[0], 16)
    check(False, "this interpreter has no C library")


def add_allocation_probes():
    """Makes the trace points ALLOCATIONS, once in a boot."""
    path, begin = _c_library()
    library = ctypes.CDLL(path)
    with open(f"{TRACING}/uprobe_events", "w", encoding="ascii") as file:
        for name in ALLOCATORS:
            offset = ctypes.cast(getattr(library, name), ctypes.c_void_p).value - begin
            file.write(f"p:bench/{name} {path}:{offset:#x}\n")
            file.flush()


class Counter:
    """The sum of some trace points' hits in the threads that are watched."""

    def __init__(self, points):
        self.kinds = []
        for point in points:
            with open(f"{TRACING}/events/{point}/id", encoding="ascii") as file:
                self.kinds.append(int(file.read()))
        self.descriptors = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for descriptor in self.descriptors:
            os.close(descriptor)

    def watch(self, pid, from_exec=False):
        """from_exec: begins when the process, which has one thread yet, executes its next program."""
        flags = INHERIT | ((DISABLED | ENABLE_ON_EXEC) if from_exec else 0)
        for kind in self.kinds:
            # struct perf_event_attr in its first version: type, size, config, period, sample_type, read_format, flags, ...
            attributes = struct.pack("IIQQQQQIIQ", PERF_TYPE_TRACEPOINT, 64, kind, 0, 0, 0, flags, 0, 0, 0)
            for thread in os.listdir(f"/proc/{pid}/task"):
                call = ctypes.CDLL(None, use_errno=True).syscall
                descriptor = call(PERF_EVENT_OPEN, attributes, int(thread), -1, -1, ctypes.c_ulong(PERF_FLAG_FD_CLOEXEC))
                check(descriptor >= 0, f"perf_event_open: {os.strerror(ctypes.get_errno())}")
                self.descriptors.append(descriptor)

    def read(self):
        return sum(struct.unpack("Q", os.read(descriptor, 8))[0] for descriptor in self.descriptors)
