"""Programs that are killed under load: targets, and the daemon. With the write oracle behind."""

import random
import time

from faultlab import TGTD, FaultLab, check, istgt_stack, kill, rounds, scenarios, shows, tgtd_stacks


def _end(lab, stacks, **more):
    for stack in stacks:
        stack.oracle.settle(stack.lun.path, **more)
    lab.adm("-m", "node", "-u", quiet=True)


@shows("F-02")
def target_kills_tgtd():
    "fifty killed tgtds: each LUN is served again as it was, and no request but a flush fails"
    with FaultLab() as lab:
        stacks, kills = tgtd_stacks(lab, 6, 1), []

        def harm(stack):
            kill(stack.target)
            kills.append(stack)
            stack.target.start()
            stack.target.add(stack.name, [stack.lun], parameters=TGTD)

        lab.iscsid()
        for stack in stacks:
            stack.load()
        rounds(stacks, harm, 3)
        check(len(kills) >= 50, "fewer kills than meant")
        _end(lab, stacks, flush_errors=True)


@shows("F-02")
def target_kills_istgt():
    "killed istgts: their LUN is served again as it was, and no request but a flush fails"
    with FaultLab() as lab:
        stack = istgt_stack(lab)

        def harm(_):
            kill(stack.target)
            stack.target.start()

        lab.iscsid()
        stack.load()
        rounds([stack], harm, 2)
        _end(lab, [stack], flush_errors=True)


@shows("F-25", "F-34")
def daemon_kills():
    """twenty daemons killed under load, while what they had sent still is on its way to the target: exports come back
    with what was acknowledged, and nothing arrives late"""
    with FaultLab() as lab:
        stacks, chance = tgtd_stacks(lab, 2, 2), random.Random(lab.seed)
        lab.iscsid()
        for stack in stacks:
            stack.load()
        for number in range(20):
            late = number % 2 == 1
            for stack in stacks:
                stack.oracle.say("epoch")
                if late:
                    stack.proxy.say("delay way=out ms=400")
            time.sleep(chance.uniform(0.05, 0.4))
            lab.kill_daemon()
            for stack in stacks:
                stack.proxy.say("clear")
            lab.iscsid()
            for stack in stacks:
                stack.oracle.goes_on()
            if late:
                time.sleep(0.5)
        counts = [stack.oracle.stats() for stack in stacks]
        check(all(count["reconnects"] >= 20 for count in counts), f"kills went unnoticed: {counts}")
        check(any(count["lost"] > 0 for count in counts), "no request was in progress at any kill")
        _end(lab, stacks)


if __name__ == "__main__":
    scenarios(globals())
