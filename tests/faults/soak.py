#!/usr/bin/env python3
"""Hours of load with a fault every half minute, by hand: `ninja soak`, or soak.py [--hours H] [--every SECONDS] [--kill].

Four disks on tgtd and istgt, two of them with digests, each behind a proxy and under an oracle. After each fault a line:
what was done, how long no request was answered, and of the daemon memory, descriptors and the processor time that a request
took since the line before; all of them are to stay as they are. --kill: the daemon is killed now and then too, so that its memory begins anew. What it drew can
be drawn again with ISCSI_SEED."""

import argparse
import os
import random
import signal
import time

from faultlab import TGTD, FaultLab, check, istgt_stack, kill, main, tgtd_stacks, wait_until
from flips import DIGESTS

DRIFT_KIB = 1024  # of the daemon's memory, once it has seen every fault
SETTLED = 20  # faults


class Soak:
    def __init__(self, lab, kills):
        self.lab, self.chance = lab, random.Random(lab.seed)
        self.stacks = [*tgtd_stacks(lab, 1, 3), istgt_stack(lab, 4)]
        self.faults = [self.reset, self.orphan, self.flip, self.hole, self.refuse, self.target_killed, self.stopped]
        self.faults += [self.daemon_killed] if kills else []
        self.spent = self.served = 0  # by the last line: processor time, requests
        lab.iscsid()
        for number, stack in enumerate(self.stacks):
            stack.load(DIGESTS if number < 2 else None)

    def one(self):
        return self.chance.choice(self.stacks)

    def reset(self):
        self.one().proxy.say("reset after=" + str(self.chance.randrange(1_000_000)))

    def orphan(self):
        self.one().proxy.say(f"orphan bytes=20000 ms={self.chance.randrange(100, 3000)}")

    def flip(self):
        stack = self.stacks[self.chance.randrange(2)]
        region = self.chance.choice(("header", "header_digest", "data", "data_digest"))
        stack.proxy.say(f"flip way={self.chance.choice(('in', 'out'))} region={region}")

    def hole(self):
        stack = self.one()
        stack.proxy.say(f"hole way={self.chance.choice(('in', 'out', 'both'))}")
        time.sleep(self.chance.uniform(1, 12))
        stack.proxy.say("clear")

    def refuse(self):
        stack = self.one()
        stack.proxy.say("refuse")
        stack.proxy.say("reset now")
        time.sleep(self.chance.uniform(0, 8))
        stack.proxy.say("refuse off")

    def target_killed(self):
        target = self.one().target
        kill(target)
        time.sleep(self.chance.uniform(0, 5))
        target.start()
        if target is not self.stacks[-1].target:
            for stack in self.stacks[:-1]:
                target.add(stack.name, [stack.lun], parameters=TGTD)

    def stopped(self):
        process = self.one().target.process
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(self.chance.uniform(0.5, 10))
        os.kill(process.pid, signal.SIGCONT)

    def daemon_killed(self):
        self.lab.kill_daemon()
        self.lab.iscsid()

    def fault(self):
        for stack in self.stacks:
            stack.oracle.say("epoch")
        what = self.chance.choice(self.faults)
        what()
        for stack in self.stacks:
            stack.oracle.goes_on(120)
        return what.__name__

    def line(self, what, begun):
        """Prints it; the daemon's memory in KiB and its descriptors."""
        pid, now = self.lab.daemon.pid, [stack.oracle.stats() for stack in self.stacks]
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            memory = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))

        def total(key):
            return sum(one[key] for one in now)

        spent, served = self.lab.cpu_seconds(self.lab.daemon), total("reads") + total("writes")
        if spent < self.spent:
            self.spent = 0  # of a daemon that is no more
        each_us = 1e6 * (spent - self.spent) / max(1, served - self.served)
        self.spent, self.served = spent, served
        print(f"{time.monotonic() - begun:8.0f} s  {what:14} pause {max(one['gap_ms'] for one in now):6} ms  "
              f"rss {memory} KiB  fds {descriptors}  cpu {each_us:.1f} us each  "
              f"reads {total('reads')} writes {total('writes')} errors {total('errors')} "
              f"flush errors {total('flush_errors')} violations {total('violations')}", flush=True)
        check(total("violations") == 0, f"{[stack.oracle.violations()[:3] for stack in self.stacks]}")
        check(total("errors") == 0, "requests failed")
        return memory, descriptors


def soak(hours, every, kills):
    with FaultLab(seed=int(time.time())) as lab:
        print(f"ISCSI_SEED={lab.seed}", flush=True)
        run, begun, settled, last, count = Soak(lab, kills), time.monotonic(), None, None, 0
        while time.monotonic() - begun < hours * 3600:
            due = time.monotonic() + every
            last = run.line(run.fault(), begun)
            count += 1
            settled = last if count == SETTLED else settled
            time.sleep(max(0, due - time.monotonic()))
        for stack in run.stacks:
            stack.oracle.settle(stack.lun.path, flush_errors=True)
        wait_until(lambda: lab.session().text.count("LOGGED IN") >= len(run.stacks), 60, "all sessions")
        lab.adm("-m", "node", "-u", quiet=True)
        if settled and not kills:
            check(last[0] - settled[0] <= DRIFT_KIB, f"the daemon's memory went from {settled[0]} to {last[0]} KiB")
            check(abs(last[1] - settled[1]) <= 2, f"its descriptors went from {settled[1]} to {last[1]}")


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--hours", type=float, default=2)
    words.add_argument("--every", type=float, default=30)
    words.add_argument("--kill", action="store_true")
    given = words.parse_args()
    main(lambda: soak(given.hours, given.every, given.kill))
