"""Targets that come and go at an iSNS server (isnsd) and that nobody logs in to by hand, on block devices of the kernel and
under the daemon's AppArmor profile."""

import os

from guest import MIB, Guest, Lun, check, need, scenarios, wait_until

TARGET = "iqn.2026-01.org.example:discovered"


def said(log):
    with open(log, encoding="utf-8", errors="replace") as file:
        return file.read()


def comes_and_goes():
    """What is registered is there, unasked; what is deregistered stays as long as it is mounted, or open."""
    need("mkfs.ext4")
    with Guest() as guest:
        guest.configure({"iscsid.safe_logout": "No"})  # of what a person asks for
        # isnsd resolves no address, not even in numbers, where there is none but the loopback's.
        guest.run("ip", "address", "add", "192.0.2.1/32", "dev", "lo")
        server, target = guest.isnsd(), guest.tgtd()
        target.add(TARGET, [Lun(guest.disk("disk", 64 * MIB))])
        guest.start_daemon()
        record = ("-m", "discoverydb", "-t", "isns", "-p", server.portal)
        guest.adm(*record, "-o", "new")
        guest.adm(*record, "-o", "update", "-n", "discovery.isns.discoveryd_poll_inval", "-v", "2",
                  "-n", "discovery.isns.use_discoveryd", "-v", "Yes")
        server.register(TARGET, target.portal)
        device = guest.by_path(TARGET, 1, target.portal)
        wait_until(lambda: os.path.exists(device), 30, "the device")
        guest.run("mkfs.ext4", "-q", device)
        place = os.path.join(guest.root, "mounted")
        os.mkdir(place)
        guest.run("mount", device, place)
        server.deregister(TARGET)
        log = os.path.join(guest.root, "iscsid.log")
        wait_until(lambda: "gone, but kept: " in said(log), 30, "the refusal in the log")
        check(place in said(log), "the log does not say who uses it")
        guest.logged_in(1)
        # Nor is it taken from somebody who merely has it open: qemu and databases claim nothing.
        with open(device, "rb") as opener:
            guest.run("umount", place)
            wait_until(lambda: f" is opened by python3 (pid {os.getpid()})" in said(log), 30, "the opener in the log")
            guest.logged_in(1)
            check(os.path.exists(device) and len(os.pread(opener.fileno(), 512, 0)) == 512, "the disk was taken away")
        wait_until(lambda: not os.path.exists(device), 30, "the device to be gone")
        wait_until(lambda: guest.adm("-m", "node", ok=None, quiet=True).status == 21, 30, "the record to be gone")
        guest.stop_daemon()
        check(server.nodes() == [], "the daemon did not deregister at its end")


scenarios(globals())
