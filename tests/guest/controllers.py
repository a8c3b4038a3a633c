#!/usr/bin/env python3
"""A storage controller that dies without a word and a standby that takes its address, under a mounted file system.

Runs in a guest: tests/guest/run -k new --udev 'python3 controllers.py NAME...'. ISCSI_SECONDS: how long nobody is
there to answer."""

import os
import time

from faults import LONG, TARGET, Faults
from guest import MIB, Lun, check, need, scenarios, wait_until
from netns import Network

ADDRESS = "10.213.200.1"
PORT = 3260
SECONDS = float(os.environ.get("ISCSI_SECONDS", "30"))
BEFORE, AFTER = 80 * MIB, 144 * MIB
SETTINGS = {"node.session.timeo.replacement_timeout": 120, "node.session.iscsi.DefaultTime2Wait": 0,
            "node.conn[0].timeo.noop_out_interval": 1, "node.conn[0].timeo.noop_out_timeout": 1,
            "node.conn[0].timeo.login_timeout": 5}


class Site(Faults):
    """A daemon and two controllers, each in a network of its own."""

    def __enter__(self):
        super().__enter__()
        self.net = Network(self)
        self.initiator, *self.hosts = (self.net.host(name) for name in ("initiator", "first", "second"))
        self.controllers = []
        for host in self.hosts:
            self.net.serve(ADDRESS, host)  # tgtd wants the address to be there when it begins
            self.controllers.append(self.tgtd(address=ADDRESS, port=PORT, inside=host.inside))
        self.net.serve(ADDRESS, self.hosts[0])
        return self

    def start(self, name, command, **options):
        return super().start(name, [*(self.initiator.inside if name == "iscsid" else []), *command], **options)


def failover_and_resize():
    """The standby serves the same unit, larger, to new sessions: the file system sees a pause, and then it can grow."""
    need("fio", "resize2fs", "nft", "ip", "ss")
    with Site() as guest:
        first, standby = guest.controllers
        lun = Lun(guest.disk("disk", BEFORE), volatile_cache=False)
        first.add(TARGET, [lun])
        guest.iscsid()
        guest.discover(first.portal)
        guest.update(TARGET, SETTINGS)
        guest.login()
        device, mark = guest.lun(lun.number, first.portal), guest.mark()
        guest.run("grep", "-qx", "write through", f"/sys/block/{os.path.basename(device)}/queue/write_cache")
        guest.mkfs("ext4", device)
        place = guest.mount(device)
        judged = os.path.join(place, "judged")
        with open(judged, "wb") as file:
            file.truncate(16 * MIB)
        oracle, fio = guest.oracle(judged), guest.fio_verify(f"{place}/file", seconds=LONG, size="32m")
        oracle.fill()
        oracle.go()
        oracle.goes_on()
        oracle.say("epoch")
        guest.net.drop(guest.hosts[0], guest.hosts[0])
        silent = time.monotonic()
        guest.wait_log(" lost: ")
        os.truncate(lun.path, AFTER)
        standby.add(TARGET, [lun])
        time.sleep(max(0, silent + SECONDS - time.monotonic()))
        guest.net.serve(ADDRESS, guest.hosts[1])
        moved = time.monotonic()
        oracle.goes_on(60)
        print(f"I/O went on {time.monotonic() - moved:.2f} s after the standby had the address", flush=True)
        gap = oracle.stats()["gap_ms"] / 1000
        check(gap >= SECONDS - 2, f"{gap:.1f} s without an answer: nothing was missing")
        wait_until(lambda: guest.size_of(device) == AFTER, 20, f"{device} to grow")
        guest.run("resize2fs", device)
        room = os.statvfs(place)
        check(room.f_blocks * room.f_frsize > BEFORE, "the file system did not grow")
        guest.goes_on(device)
        fio.stop()
        oracle.settle()
        guest.end(oracle.process)  # it has a file open
        # More than the old size had room for.
        guest.run("dd", "if=/dev/urandom", f"of={place}/more", "bs=1M", "count=64", "conv=fsync")
        guest.unmount(place)
        guest.fsck("ext4", device)
        guest.same_as_file(device, lun.path, "after the failover")
        guest.logout()
        guest.check_no_errors(mark)


if __name__ == "__main__":
    scenarios(globals())
