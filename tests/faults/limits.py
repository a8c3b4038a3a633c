"""node.session.timeo.replacement_timeout, to the second: when what waits for a lost session fails, and that it is
served again when the session is back."""

import errno
import os
import time

from faultlab import PATIENCE, FaultLab, check, scenarios, shows, tgtd_stacks, wait_until

EARLY, LATE = 0.05, 0.6  # seconds that an error may come before its time (clocks are read apart) and after it


def _down(stack):
    """The target is gone. Gives the moment of that."""
    stack.oracle.say("epoch")
    stack.proxy.say("refuse")
    begun = time.monotonic()
    stack.proxy.say("reset now")
    return begun


def _with_limit(limit, between):
    """What waits fails `limit` seconds after the drop and what comes then fails at once, if limit is not negative; after
    `between`, a function of the lab and the stack, the target is back."""
    with FaultLab() as lab:
        (stack,) = tgtd_stacks(lab, 1, 1)
        lab.iscsid()
        stack.load({"node.session.timeo.replacement_timeout": limit})
        stack.oracle.goes_on()
        between(stack, _down(stack))
        stack.proxy.say("refuse off")
        stack.oracle.goes_on()
        # Who refuses connections, and says 29/00 later, may have lost its cache.
        stack.oracle.settle(stack.lun.path, errors=limit >= 0, flush_errors=True)
        lab.adm("-m", "node", "-u", quiet=True)


def _fails_after(limit):
    def between(stack, begun):
        oracle = stack.oracle
        seen = wait_until(lambda: (now := oracle.stats())["errors"] and now, limit + 10, "requests to fail")
        waited = time.monotonic() - begun
        print(f"the first failed after {waited:.2f} s: {os.strerror(seen['last_error'])}", flush=True)
        check(limit - EARLY <= waited <= limit + LATE * PATIENCE, f"requests failed after {waited:.2f} s")
        check(seen["last_error"] == errno.EIO, f"with {os.strerror(seen['last_error'])}")
        wait_until(lambda: oracle.stats()["errors"] > seen["errors"] + 100, 5, "new requests to fail at once")
        check(oracle.stats()["oldest_ms"] < 500, "some are still waiting")
    return between


@shows("F-01")
def fails_after_the_limit():
    """replacement_timeout N: requests wait for a lost session for N seconds, then they and all new ones fail; a later
    login serves them again without anybody's doing"""
    _with_limit(3, _fails_after(3))


@shows("F-01")
def fails_at_once():
    "replacement_timeout 0: requests fail as soon as the session is lost; a later login serves them again"
    _with_limit(0, _fails_after(0))


@shows("F-01")
def waits_without_limit():
    "replacement_timeout -1: requests wait for as long as the target is away, and none fails"
    def between(stack, begun):
        time.sleep(max(0, begun + 12 - time.monotonic()))
        now = stack.oracle.stats()
        check(now["errors"] == 0, f"{now['errors']} failed")
        check(now["oldest_ms"] > 10000, f"the oldest waits for {now['oldest_ms']} ms only")
    _with_limit(-1, between)


if __name__ == "__main__":
    scenarios(globals())
