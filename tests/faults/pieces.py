"""PDUs that come in pieces, twice, out of their order, or not at all."""

import random

from faultlab import PATIENCE, FaultLab, check, istgt_stack, rounds, scenarios, shows, tgtd_stacks, wait_until

COMMAND, DATA_OUT, RESPONSE, DATA_IN, R2T = "0x01", "0x05", "0x21", "0x25", "0x31"
ASKED_FOR = {"node.session.iscsi.InitialR2T": "Yes", "node.session.iscsi.ImmediateData": "No"}  # writes, so there are R2Ts

# One command, then abort, reset of the unit, of the target, and a new session: base/limits.hpp and the record's err_timeo.
LONGEST = 30 + 15 + 30 + 30 + 15


@shows("F-37")
def in_pieces():
    "PDUs that arrive in pieces of any size are what they were: no connection is lost, no request fails"
    with FaultLab() as lab:
        stacks = tgtd_stacks(lab, 2, 2, depth=4)
        lab.iscsid()
        for stack, fault in zip(stacks, ("split bytes=1", "split bytes=47", "split bytes=49", "dribble bytes=700 ms=1")):
            stack.load({"node.conn[0].timeo.noop_out_timeout": 20})  # slow is not silent
            stack.proxy.say(fault)
        for stack in stacks:
            stack.oracle.goes_on(60, 200)
            stack.proxy.say("clear")
            stack.oracle.settle(stack.lun.path)
        check(" lost: " not in lab.log(), "a connection was lost")
        lab.adm("-m", "node", "-u", quiet=True)


@shows("F-10")
def doubled_and_late():
    """data, an answer or an R2T that comes twice, or behind later ones, on a real target: at most the connection is
    lost; nothing wrong is delivered or stored, and no request fails"""
    with FaultLab() as lab:
        stacks, chance = tgtd_stacks(lab, 2, 3), random.Random(lab.seed)
        kinds = dict(zip(stacks, [f"{what} way=in opcode={opcode}" for what in ("duplicate", "hold ms=30")
                                  for opcode in (DATA_IN, RESPONSE, R2T)]))

        def harm(stack):
            before = stack.proxy.stats()["strikes"]
            stack.proxy.say(f"{kinds[stack]} after={chance.randrange(300_000)}")
            wait_until(lambda: stack.proxy.stats()["strikes"] > before, 30, f"a {kinds[stack]}")

        lab.iscsid()
        for stack in stacks:
            stack.load(ASKED_FOR)
        rounds(stacks, harm, 2)
        for stack in stacks:
            stack.oracle.settle(stack.lun.path)
        lab.adm("-m", "node", "-u", quiet=True)


@shows("F-08", "F-10")
def vanished():
    """one command, one piece of data, one R2T or one answer that never arrives, while pings do: found by the next number or
    by the command's own time, and no request is lost, wrong or fails"""
    with FaultLab() as lab:
        kinds = [("out", COMMAND), ("out", DATA_OUT), ("in", R2T), ("in", DATA_IN), ("in", RESPONSE)]
        stacks = [*tgtd_stacks(lab, 2, 2), istgt_stack(lab, 5)]
        lab.iscsid()
        for stack, (way, opcode) in zip(stacks, kinds):
            stack.load(ASKED_FOR)
            stack.oracle.say("epoch")
            stack.proxy.say(f"drop way={way} opcode={opcode} after=200000")
        wait_until(lambda: all(stack.proxy.stats()["strikes"] == 1 for stack in stacks), 30, "five lost PDUs")
        for stack, (way, opcode) in zip(stacks, kinds):
            stack.oracle.pause(LONGEST)
            slowest = stack.oracle.stats()["slowest_ms"] / 1000
            print(f"{opcode}, {way}: a request took {slowest:.1f} s at most", flush=True)
            check(slowest <= LONGEST * PATIENCE, f"{opcode}, {way}: a request took {slowest:.1f} s")
            stack.oracle.settle(stack.lun.path)
        lab.adm("-m", "node", "-u", quiet=True)


if __name__ == "__main__":
    scenarios(globals())
