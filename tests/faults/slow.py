"""Targets whose disks are slow: what they had handed on to them when a connection ended is written later."""

import time

from faultlab import TGTD, FaultLab, Stack, check, scenarios, shows

LATE = 3  # seconds


def _slow(lab, stack):
    """The environment of a target whose disk can be slow (slow_disk.cpp)."""
    return {"LD_PRELOAD": lab.program("tests/faults/libslow-disk.so"), "ISCSI_SLOW_FILE": stack.lun.path}


def _be_slow(stack, seconds):
    """Of what is written from now on."""
    with open(f"{stack.lun.path}.ms", "w", encoding="ascii") as file:
        file.write(str(round(seconds * 1000)))


def _written_late(lab, stack, drop):
    """The connection ends with writes in the slow disk; what is sent after that would be written at once."""
    lab.iscsid()
    stack.load()
    for _ in range(4):
        stack.oracle.say("epoch")
        _be_slow(stack, LATE)
        time.sleep(0.5)
        _be_slow(stack, 0)
        drop(stack)
        time.sleep(LATE)
        stack.oracle.goes_on()
        gap = stack.oracle.stats()["gap_ms"]
        print(f"without an answer: {gap} ms", flush=True)
        # A load that is connected anew counts anew.
        check(drop is not _reset or gap > (LATE - 1) * 1000, "nothing was late: is the library in the target?")
        time.sleep(2.5)
    stack.oracle.settle(stack.lun.path)
    lab.adm("-m", "node", "-u", quiet=True)


def _reset(stack):
    stack.proxy.say("reset now")


def _slow_tgtd_stack(lab):
    stack = Stack(lab)
    target = lab.tgtd(env=_slow(lab, stack))
    target.add(stack.name, [stack.lun], parameters=TGTD)
    stack.stand_before(target)
    return stack


@shows("F-05", "F-34")
def late_in_tgtd():
    "what tgtd's threads still have to write when a connection is reset is not written over what is newer"
    with FaultLab() as lab:
        _written_late(lab, _slow_tgtd_stack(lab), _reset)


@shows("F-05", "F-34")
def late_in_istgt():
    "what istgt's threads still have to write when a connection is reset is not written over what is newer"
    with FaultLab() as lab:
        stack = Stack(lab, 1, lun=0)
        stack.stand_before(lab.istgt(stack.name, [stack.lun], time_to_wait=0, env=_slow(lab, stack)))
        _written_late(lab, stack, _reset)


@shows("F-25", "F-34")
def late_after_a_kill():
    "what tgtd's threads still have to write when the daemon is killed is not written over what comes by the next one"
    with FaultLab() as lab:
        def restart(_):
            lab.kill_daemon()
            lab.iscsid()

        _written_late(lab, _slow_tgtd_stack(lab), restart)


if __name__ == "__main__":
    scenarios(globals())
