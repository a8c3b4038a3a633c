"""Targets that say nothing: swallowed bytes, stopped programs, ports where nobody listens."""

import os
import signal
import time

from faultlab import PATIENCE, TGTD, FaultLab, check, kill, scenarios, shows, tgtd_stacks, wait_until

INTERVAL, TIMEOUT, GRACE = 1, 1, 1  # seconds; the first two are those of faultlab.SHORT
CPU_WHEN_DOWN = 0.05


def _until_lost(lab, count, begun):
    """Seconds until the log says so of that many sessions."""
    wait_until(lambda: lab.log().count(" lost: ") >= count, 30, "the silence to be noticed")
    return time.monotonic() - begun


def _served(lab, stacks):
    lab.iscsid()
    for stack in stacks:
        stack.load()
        stack.oracle.goes_on()


def _end(lab, stacks, **more):
    for stack in stacks:
        stack.oracle.goes_on()
        stack.oracle.settle(stack.lun.path, **more)
    lab.adm("-m", "node", "-u", quiet=True)


def _hole(ways, idle):
    with FaultLab() as lab:
        stacks = tgtd_stacks(lab, 1, len(ways))
        _served(lab, stacks)
        if idle:
            for stack in stacks:
                stack.oracle.pause()
            time.sleep(0.5)
        begun = time.monotonic()
        for way, stack in zip(ways, stacks):
            stack.oracle.say("epoch")
            stack.proxy.say(f"hole way={way}")
        found = _until_lost(lab, len(ways), begun)
        print(f"found after {found:.2f} s", flush=True)
        check(found <= (INTERVAL + TIMEOUT + GRACE) * PATIENCE, f"the silence was found after {found:.2f} s only")
        check(found >= TIMEOUT, f"a connection was given up after {found:.2f} s")
        time.sleep(2)
        for stack in stacks:
            stack.proxy.say("clear")
            if idle:
                stack.oracle.go()
        _end(lab, stacks)


@shows("F-01", "F-04")
def hole_under_load():
    """a connection whose bytes vanish in both directions or in one is found within the ping's interval and timeout and
    a second, and the load rides through it"""
    _hole(("both", "out", "in"), idle=False)


@shows("F-01")
def hole_when_idle():
    "an idle connection whose bytes vanish is found within the ping's interval and timeout and a second"
    _hole(("both", "out", "in"), idle=True)


@shows("F-04", "F-02")
def half_open():
    "the target's host goes without a word and is another one when it answers again: the load rides through it"
    with FaultLab() as lab:
        stacks = tgtd_stacks(lab, 1, 1)
        stack = stacks[0]
        _served(lab, stacks)
        stack.proxy.say("hole")
        kill(stack.target)
        stack.target.start()
        stack.target.add(stack.name, [stack.lun], parameters=TGTD)
        time.sleep(1)
        stack.proxy.say("clear")
        _end(lab, stacks, flush_errors=True)


@shows("F-07")
def stopped_target():
    """a target that stands still for less than the ping's time is waited for; one that stands still for longer is
    connected to anew, and what it had taken before is not executed over what is newer"""
    with FaultLab() as lab:
        stacks = tgtd_stacks(lab, 1, 2)
        target = stacks[0].target
        _served(lab, stacks)
        for seconds, drops in ((0.8, 0), (4, 2), (9, 4)):
            for stack in stacks:
                stack.oracle.say("epoch")
            os.kill(target.process.pid, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(target.process.pid, signal.SIGCONT)
            for stack in stacks:
                stack.oracle.goes_on()
            seen = lab.log().count(" lost: ")
            check(seen <= drops if drops == 0 else seen >= drops,
                  f"{seen} connections were given up by the time the target stood still for {seconds} s")
            time.sleep(1)
        _end(lab, stacks)


@shows("F-20")
def idle_when_down():
    "a daemon whose targets refuse, or say nothing, takes less than a twentieth of a processor"
    with FaultLab() as lab:
        stacks = tgtd_stacks(lab, 2, 2)
        _served(lab, stacks)
        for fault in ("refuse", "hole"):
            for stack in stacks:
                stack.proxy.say(fault)
                if fault == "refuse":
                    stack.proxy.say("reset now")
            time.sleep(3)  # all of them have noticed
            share = lab.cpu_share(lab.daemon, 6)
            print(f"{fault}: {share:.1%} of a processor", flush=True)
            check(share < CPU_WHEN_DOWN, f"with '{fault}' the daemon takes {share:.1%} of a processor")
            for stack in stacks:
                stack.proxy.say("refuse off")
                stack.proxy.say("clear")
            for stack in stacks:
                stack.oracle.goes_on()
        _end(lab, stacks, flush_errors=True)  # who refuses, and says 29/00 later, may have lost its cache


if __name__ == "__main__":
    scenarios(globals())
