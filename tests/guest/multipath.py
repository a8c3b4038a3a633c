#!/usr/bin/env python3
"""Two portals of one target, two sessions, and dm-multipath over the devices of both: what becomes of a mounted file system
and of a load when one portal after the other is a black hole.

Runs in a guest with ublk: tests/guest/run --udev 'python3 multipath.py NAME...'. (Over nbd every error is one of the path.)"""

import os
import shutil
import time

from faults import LONG, TARGET, Faults
from guest import MIB, PATIENCE, TREE, Disk, check, need, scenarios, wait_until

PROGRAM, PROGRAM_ASIDE = "/usr/sbin/multipath", "/usr/sbin/multipath.aside"  # see prelude
ADDRESSES = ("10.99.1.1", "10.99.2.1")
LIMIT = 5  # seconds, replacement_timeout
PING = 1  # seconds, interval and timeout each
CHECK = 1  # seconds, between two looks of multipathd at a path
SETTINGS = {"node.session.timeo.replacement_timeout": LIMIT, "node.session.iscsi.DefaultTime2Wait": 0,
            "node.conn[0].timeo.noop_out_interval": PING, "node.conn[0].timeo.noop_out_timeout": PING,
            "node.conn[0].timeo.login_timeout": 3}
# What makes both paths carry load, and the test short.
OWN = f"""
defaults {{
    path_grouping_policy multibus
    polling_interval {CHECK}
    max_polling_interval {CHECK}
}}
"""


class Multipath(Faults):
    def __enter__(self):
        if os.path.exists(PROGRAM_ASIDE):
            os.rename(PROGRAM_ASIDE, PROGRAM)
        need("multipathd", "multipath", "nft")
        super().__enter__()
        self.run("modprobe", "-a", "dm_multipath", "dm_service_time")
        with open("/etc/multipath.conf", "w", encoding="ascii") as file:
            file.write(OWN)
        os.makedirs("/etc/multipath/conf.d", exist_ok=True)
        shutil.copy(f"{TREE}/etc/multipath/iscsi-suite.conf", "/etc/multipath/conf.d/")
        self.run("nft", "add table ip faults; add chain ip faults way { type filter hook input priority 0; }")
        self.undo.append(lambda: self.run("nft", "delete table ip faults", quiet=True))
        for address in ADDRESSES:
            self.run("ip", "address", "add", f"{address}/32", "dev", "lo", quiet=True)
        return self

    def start_multipathd(self):
        process = self.start("multipathd", ["multipathd", "-d", "-s", "-v2"])
        wait_until(lambda: self.run("multipathd", "show", "daemon", ok=None, quiet=True).status == 0, 20, "multipathd")
        return process

    def black_hole(self, address):
        """What is sent to the address and from it vanishes: both ends of a connection to it have it here."""
        self.run("nft", f"add rule ip faults way ip daddr {address} drop")

    def heal(self):
        self.run("nft", "flush chain ip faults way")

    def paths(self):
        """Device -> what dm and the checker think of it."""
        text = self.run("multipathd", "show", "paths", "raw", "format", "%d %t %T", quiet=True).out
        return {f"/dev/{line.split()[0]}": line.split(None, 1)[1].strip() for line in text.splitlines()
                if line.startswith("ublkb")}

    def all_active(self, devices):
        now = self.paths()
        return all(now.get(device) == "active ready" for device in devices)

    def has_paths(self, map_, devices):
        """Whether the map is there and made of these devices."""
        if not os.path.exists(map_):
            return False
        below = os.listdir(f"/sys/block/{os.path.basename(os.path.realpath(map_))}/slaves")
        return sorted(below) == sorted(os.path.basename(device) for device in devices)


def _worst_wait(oracle, condition, seconds, what):
    """The age that a request of the oracle had reached at most, in seconds, until the condition was true."""
    oldest = 0

    def looks():
        nonlocal oldest
        oldest = max(oldest, oracle.stats()["oldest_ms"])
        return condition()

    wait_until(looks, seconds, what)
    return oldest / 1000


def _ride_through(guest, address, devices, load):
    """One portal is a black hole and comes back. devices: address -> its devices; load: the oracle, and fio."""
    oracle, fio = load
    mine, others = devices[address], [d for a, found in devices.items() if a != address for d in found]
    mark, before = guest.mark(), guest.log().count("not back within")
    oracle.say("epoch")
    guest.black_hole(address)
    begun = time.monotonic()
    waited = _worst_wait(oracle, lambda: all(guest.paths()[device].startswith("failed") for device in mine), 30,
                         f"the paths to {address} to fail")
    failed = time.monotonic() - begun
    waited = max(waited, _worst_wait(oracle, lambda: oracle.stats()["oldest_ms"] < 1000, 30, "what waited to be done"))
    for device in others:
        guest.goes_on(device)
    oracle.goes_on()
    print(f"{address}: the paths failed after {failed:.1f} s; a request took {waited:.1f} s", flush=True)
    check(guest.log().count("not back within") > before, "it was not the replacement timeout that ended it")
    check(waited >= LIMIT, f"no request took more than {waited:.1f} s: none was on the path that died")
    check(waited <= (PING + PING + 1 + LIMIT + CHECK + 1) * PATIENCE, f"a request took {waited:.1f} s")
    check(fio.running(), "fio ended when a path failed")
    said = [line for line in guest.dmesg(mark) if "recoverable transport error, dev ublkb" in line]
    check(said, "the kernel does not call it an error of the transport")
    guest.heal()
    healed = time.monotonic()
    wait_until(lambda: guest.all_active(mine + others), 30, "the paths to be reinstated")
    print(f"reinstated {time.monotonic() - healed:.1f} s after the network was back", flush=True)
    for device in mine:
        guest.goes_on(device)


def dying_portals():
    """One portal dies, the load goes on over the other; it comes back, and the other one dies."""
    need("fio")
    with Multipath() as guest:
        portals = [f"{address}:3260" for address in ADDRESSES]
        disks = [Disk(number=n, path=guest.disk(f"disk{n}", 48 * MIB)) for n in range(2)]
        lio = guest.lio()
        lio.add(TARGET, disks, portals=portals)
        guest.iscsid()
        guest.start_multipathd()
        guest.discover(portals[0])
        guest.update(TARGET, SETTINGS)
        guest.login()
        guest.logged_in(2)
        devices = {address: [guest.lun(n, portal) for n in range(2)] for address, portal in zip(ADDRESSES, portals)}
        every = sum(devices.values(), [])
        maps = [f"/dev/mapper/3{lio.naa(TARGET, n)}" for n in range(2)]
        for number, map_ in enumerate(maps):
            wait_until(lambda m=map_, n=number: guest.has_paths(m, [found[n] for found in devices.values()]), 30, map_)
        wait_until(lambda: guest.all_active(every), 20, "four paths")
        guest.mkfs("ext4", maps[0])
        place, mark = guest.mount(maps[0]), guest.mark()
        fio = guest.fio_verify(f"{place}/file", seconds=LONG, size="24m")
        oracle = guest.oracle(maps[1])
        oracle.fill()
        oracle.go()
        oracle.goes_on()
        for address in ADDRESSES:
            _ride_through(guest, address, devices, (oracle, fio))
        fio.stop()
        oracle.settle(disks[1].path)
        guest.end(oracle.process)  # it has the map open
        guest.unmount(place)
        guest.fsck("ext4", maps[0])
        guest.check_no_errors(mark, maps)
        refused = guest.logout(ok=28)
        check("dm-" in refused.out + refused.err, "the logout does not say that a map holds the disks")
        for map_ in maps:
            guest.run("multipath", "-f", map_)
        done = guest.logout()
        check(done.seconds < 20 * PATIENCE, f"the logout took {done.seconds:.1f} s")
        guest.check_no_errors(mark, maps)


if __name__ == "__main__":
    scenarios(globals())
