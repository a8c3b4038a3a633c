"""Connections that end in the middle of what they carry, on real targets, with the write oracle behind the daemon."""

import random
import time

from faultlab import PATIENCE, FaultLab, check, istgt_stack, rounds, scenarios, shows, tgtd_stacks, wait_until


def _reset(chance, line="reset after={}"):
    """At a random byte of those that pass next."""
    def harm(stack):
        before = stack.proxy.stats()["resets"]
        stack.proxy.say(line.format(chance.randrange(1_000_000)))
        wait_until(lambda: stack.proxy.stats()["resets"] > before, 30, "a reset")
    return harm


def _resets_under_load(lab, stacks, times, harm):
    lab.iscsid()
    for stack in stacks:
        stack.load()
    rounds(stacks, harm, times)
    resets = sum(stack.proxy.stats()["resets"] for stack in stacks)
    print(f"{resets} resets", flush=True)
    for stack in stacks:
        stack.oracle.settle(stack.lun.path)
    lab.adm("-m", "node", "-u", quiet=True)
    return resets


@shows("F-05")
def resets_tgtd():
    "two hundred resets at random bytes under load, on tgtd: nothing is lost, stale or torn, and no request fails"
    with FaultLab() as lab:
        resets = _resets_under_load(lab, tgtd_stacks(lab, 3, 4), 6, _reset(random.Random(lab.seed)))
        check(resets >= 200, "fewer resets than meant")


@shows("F-05")
def resets_istgt():
    "resets at random bytes under load, on istgt: nothing is lost, stale or torn, and no request fails"
    with FaultLab() as lab:
        _resets_under_load(lab, [istgt_stack(lab)], 3, _reset(random.Random(lab.seed)))


def _resumed(lab, stacks, times):
    """Milliseconds from resets to the next answer, sorted: one connection at a time, of records that nobody has
    changed, under a load of half writes."""
    lab.iscsid()
    for stack in stacks:
        stack.load(record={"node.session.iscsi.DefaultTime2Wait": 2})
    gaps = []
    for _ in range(times):
        for _ in range(3):  # a session that is lost more often than this is taken for one that flaps: see rounds()
            for stack in stacks:
                stack.oracle.say("epoch")
                stack.proxy.say("reset now")
                stack.oracle.goes_on()
                gaps.append(stack.oracle.stats()["gap_ms"])
        time.sleep(5.2)
    for stack in stacks:
        stack.oracle.settle(stack.lun.path)
    lab.adm("-m", "node", "-u", quiet=True)
    gaps.sort()
    print(f"{len(gaps)} lone resets: {gaps[len(gaps) // 2]} ms in the middle, {gaps[len(gaps) * 99 // 100]} ms at 99 %",
          flush=True)
    return gaps


@shows("F-05")
def lone_resets_tgtd():
    "a connection that is reset while its target is there costs a fraction of a second, on tgtd"
    with FaultLab() as lab:
        gaps = _resumed(lab, tgtd_stacks(lab, 1, 3, depth=4), 6)
        check(len(gaps) >= 50, "fewer resets than meant")
        # A pause that is not meant to be there shows in the middle; the rest says how busy the machine is.
        check(gaps[len(gaps) // 2] < 200 * PATIENCE, f"resets have cost too much: {gaps}")


def _orphan(chance, late):
    """Only our side is reset. The last writes before that reach the target later, on the old connection, when the
    session is back already on a new one and works."""
    reset = _reset(chance, f"orphan after={{}} bytes=20000 ms={round(late * 1000)}")

    def harm(stack):
        reset(stack)
        stack.oracle.goes_on()
        time.sleep(late)
    return harm


@shows("F-05", "F-34")
def ghosts_tgtd():
    "what a dead connection of ours still had on its way is not executed over what is newer, on tgtd"
    with FaultLab() as lab:
        _resets_under_load(lab, tgtd_stacks(lab, 1, 3), 2, _orphan(random.Random(lab.seed), 0.4))


@shows("F-05", "F-34")
def ghosts_istgt():
    "what a dead connection of ours still had on its way is not executed over what is newer, on istgt"
    with FaultLab() as lab:
        _resets_under_load(lab, [istgt_stack(lab)], 2, _orphan(random.Random(lab.seed), 1.5))


if __name__ == "__main__":
    scenarios(globals())
