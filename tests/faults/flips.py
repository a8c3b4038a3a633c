"""Bytes that are changed on their way, with digests and without."""

import random

from faultlab import FaultLab, check, rounds, scenarios, shows, tgtd_stacks, wait_until

DIGESTS = {f"node.conn[0].iscsi.{which}Digest": "CRC32C" for which in ("Header", "Data")}
REGIONS = ("header", "header_digest", "data", "data_digest")


@shows("F-06")
def flips_with_digests():
    """a flipped bit in a header, in data or in a digest, on its way there or back, costs the connection and no more:
    nothing wrong is stored or delivered, and no request fails"""
    with FaultLab() as lab:
        stacks, chance = tgtd_stacks(lab, 2, 4), random.Random(lab.seed)
        kinds = {stack: f"flip way={way} region={region}" for stack, (way, region) in
                 zip(stacks, [(way, region) for way in ("out", "in") for region in REGIONS])}

        def harm(stack):
            before = stack.proxy.stats()
            stack.proxy.say(f"{kinds[stack]} after={chance.randrange(300_000)}")
            wait_until(lambda: stack.proxy.stats()["strikes"] > before["strikes"], 20, f"a {kinds[stack]}")
            wait_until(lambda: stack.proxy.stats()["connections"] > before["connections"], 20,
                       f"another connection after a {kinds[stack]}")

        lab.iscsid()
        for stack in stacks:
            stack.load(DIGESTS)
        rounds(stacks, harm, 1)
        for stack in stacks:
            stack.oracle.settle(stack.lun.path)
        lab.adm("-m", "node", "-u", quiet=True)


@shows("F-06")
def flips_without_digests():
    "without digests flipped bits of data get through, and the oracle sees them: it can fail"
    with FaultLab() as lab:
        for way, stack in zip(("out", "in"), tgtd_stacks(lab, 1, 2)):
            if not lab.daemon:
                lab.iscsid()
            stack.load()
            stack.proxy.say(f"flip way={way} region=data repeat after=200000")
            wait_until(lambda stack=stack: stack.proxy.stats()["strikes"] >= 20, 30, "flips")
            stack.proxy.say("clear")
            stack.oracle.pause()
            stack.oracle.say("verify", 130)
            seen = stack.oracle.violations()
            check(any("damaged" in line for line in seen), f"20 flips way={way} were not seen: {seen[:3]}")
            before = stack.oracle.stats()["violations"]
            stack.oracle.say(f"judge {stack.lun.path}", 60)
            stored = stack.oracle.stats()["violations"] - before
            check((stored > 0) == (way == "out"), f"of flips way={way} the target has stored {stored}")
            stack.oracle.process.expected_end = True  # it says that there were violations
        lab.adm("-m", "node", "-u", quiet=True)


if __name__ == "__main__":
    scenarios(globals())
