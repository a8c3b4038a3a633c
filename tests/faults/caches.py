"""Targets whose write cache dies with them: what was flushed must be there, and a flush must not hide what is not."""

import time

from faultlab import TGTD, FaultLab, Stack, check, kill, rounds, scenarios, shows


def _start(lab, stack):
    """tgtd with a cache of the LUN's file in its memory alone (volatile_cache.cpp)."""
    if stack.target is None:
        stack.stand_before(lab.tgtd(env={"LD_PRELOAD": lab.program("tests/faults/libvolatile-cache.so"),
                                         "ISCSI_CACHED_FILE": stack.lun.path}))
    else:
        stack.target.start()
    stack.target.add(stack.name, [stack.lun], parameters=TGTD)


def _lose_cache(lab):
    def harm(stack):
        drops = lab.log().count(" lost: ")
        kill(stack.target)
        lab.wait_log(" lost: ", drops + 1)
        time.sleep(0.2)  # what the target had answered before has reached the oracle
        stack.oracle.say("cache-lost")
        _start(lab, stack)
    return harm


@shows("F-03")
def flushed_survives():
    "a target with a volatile cache is killed under load: what was flushed or written through is there afterwards"
    with FaultLab() as lab:
        stacks = [Stack(lab, number) for number in range(1, 5)]
        for stack in stacks:
            _start(lab, stack)
        lab.iscsid()
        for stack in stacks:
            # One flush, at one moment of the load, and none behind the loss, which would have to fail.
            stack.load(options=("--flushes", "0", "--through", "50"))
        time.sleep(0.5)
        for stack in stacks:
            stack.oracle.say("flush", 35)
            stack.oracle.goes_on()
            _lose_cache(lab)(stack)
        for stack in stacks:
            stack.oracle.goes_on()
            stack.oracle.settle()
        lab.adm("-m", "node", "-u", quiet=True)


@shows("F-03")
def lost_is_told():
    "a flush fails when a write that was acknowledged before it died with the target's cache"
    with FaultLab() as lab:
        stack = Stack(lab)
        _start(lab, stack)
        stack.proxy = stack.target  # one that answers in its place would hide that it is away
        lab.iscsid()
        stack.load(options=("--flushes", "30", "--through", "0"))
        rounds([stack], _lose_cache(lab), 2)
        counts = stack.oracle.settle(flush_errors=True)
        check(counts["flush_errors"] > 0, "no flush has told of a lost write")
        lab.adm("-m", "node", "-u", quiet=True)


if __name__ == "__main__":
    scenarios(globals())
