"""PDUs that come in pieces, twice, or out of their order."""

import random

from faultlab import FaultLab, check, rounds, scenarios, shows, tgtd_stacks, wait_until

DATA_IN, RESPONSE, R2T = "0x25", "0x21", "0x31"


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
            # Writes are asked for, so that there are R2Ts.
            stack.load({"node.session.iscsi.InitialR2T": "Yes", "node.session.iscsi.ImmediateData": "No"})
        rounds(stacks, harm, 2)
        for stack in stacks:
            stack.oracle.settle(stack.lun.path)
        lab.adm("-m", "node", "-u", quiet=True)


if __name__ == "__main__":
    scenarios(globals())
