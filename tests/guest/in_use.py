"""A logout of disks that somebody uses: refused, by name and without a trace; or, where that is not wanted, done."""

import os

from guest import MIB, Disk, Guest, check, scenarios
from lab import check_same

TARGET = "iqn.2026-01.org.example:in-use"
SECOND = "iqn.2026-01.org.example:in-use-2"
SIZE = 64 * MIB
BUSY = 28


def _start(guest, *targets):
    """LIO with a disk for each target, all logged in; their devices and their files."""
    lio = guest.lio()
    files = {target: guest.disk(f"disk{number}", SIZE) for number, target in enumerate(targets)}
    for target, file in files.items():
        lio.add(target, [Disk(path=file)])
    guest.start_daemon()
    guest.discover(lio.portal)
    guest.login()
    return [guest.device(target, 0, lio.portal) for target in targets], list(files.values())


def _check_works(guest, device):
    guest.run("dd", f"if={device}", "of=/dev/null", "bs=1M", "count=4", "iflag=direct", "status=none", quiet=True)


def _check_refused(guest, device, *said):
    """Each of `said` is part of what iscsiadm says; and nothing has changed."""
    guest.run("udevadm", "settle", "-t", "60")  # what a device is used for changes its links
    before = guest.block_nodes()
    done = guest.logout(ok=BUSY)
    for text in said:
        check(text in done.err, f"iscsiadm does not say '{text}'")
    changed = guest.block_nodes() ^ before
    check(not changed, f"a logout that was refused changed {sorted(changed)}")
    guest.logged_in(1)
    _check_works(guest, device)


def _partition(guest, device):
    path = os.path.join(guest.data, "table")
    with open(path, "w", encoding="ascii") as table:
        table.write("label: gpt\nsize=24MiB\n")
    with open(path, encoding="ascii") as table:
        guest.run("sfdisk", "-q", device, stdin=table)
    part = f"{device}p1"
    guest.wait_for(f"/dev/disk/by-path/{_by_path(device)}-part1")
    return part


def _by_path(device):
    names = [link for link in Guest.links_to(device) if "/by-path/" in link]
    return os.path.basename(names[0])


def users_are_named():
    """Mounts, of partitions too, swaps, device mapper, exclusive opens. Then, with nobody left, the logout is done."""
    with Guest() as guest:
        mark = guest.mark()
        [device], _ = _start(guest, TARGET)

        guest.mkfs("ext4", device)
        place = guest.mount(device)
        _check_refused(guest, device, f"{device} is mounted on {place}")
        with open(os.path.join(place, "file"), "wb") as file:
            file.write(os.urandom(MIB))
            os.fsync(file.fileno())
        guest.unmount(place)
        guest.fsck("ext4", device)

        guest.run("mkswap", "-q", device)
        guest.run("swapon", device)
        _check_refused(guest, device, f"{device} is swapped on")
        guest.run("swapoff", device)

        guest.run("modprobe", "dm_mod")
        guest.run("dmsetup", "create", "in-use", "--table", f"0 2048 linear {device} 0")
        holder = os.path.basename(os.path.realpath("/dev/mapper/in-use"))
        _check_refused(guest, device, f"{device} is held by {holder} (in-use)")
        guest.run("dmsetup", "remove", "in-use")

        opened = os.open(device, os.O_RDONLY | os.O_EXCL)
        _check_refused(guest, device, f"{device} is opened by ", f"(pid {os.getpid()})")
        os.close(opened)

        guest.run("wipefs", "-q", "-a", device)
        part = _partition(guest, device)
        guest.mkfs("ext4", part)
        place = guest.mount(part)
        _check_refused(guest, device, f"{part} is mounted on {place}")
        guest.unmount(place)
        guest.fsck("ext4", part)

        before = guest.block_nodes()
        guest.logout()
        left = {name for name in guest.block_nodes() & before if os.path.basename(device) in name}
        check(not left, f"the logout left {sorted(left)}")
        guest.check_no_errors(mark)


def one_of_two_sessions():
    """The one that nobody uses is logged out of; the exit code is that of the other."""
    with Guest() as guest:
        mark = guest.mark()
        devices, _ = _start(guest, TARGET, SECOND)
        guest.mkfs("ext4", devices[0])
        place = guest.mount(devices[0])
        done = guest.logout(ok=BUSY)
        check(f"is mounted on {place}" in done.err, "iscsiadm does not say who uses the device")
        check(not os.path.exists(devices[1]), f"{devices[1]} is still there")
        sessions = guest.adm("-m", "session").out
        check(TARGET + " " in sessions and SECOND not in sessions, "which session is left")
        _check_works(guest, devices[0])
        guest.unmount(place)
        guest.fsck("ext4", devices[0])
        guest.logout()
        check(not os.path.exists(devices[0]), f"{devices[0]} is still there")
        guest.check_no_errors(mark)


def unsafe_logout():
    """With iscsid.safe_logout = No it is done all the same, also of a mounted disk: its user gets errors, no hang."""
    with Guest() as guest:
        guest.configure({"iscsid.safe_logout": "No"})
        [device], _ = _start(guest, TARGET)
        guest.mkfs("ext4", device)
        place = guest.mount(device)
        done = guest.logout()
        check(done.seconds < 30, "it took too long")
        check(guest.adm("-m", "session", ok=None).status == 21, "the session is still there")
        if guest.backend == "ublk":  # an nbd device goes when its last user does
            check(not [link for link in guest.block_nodes() if TARGET in link], "the disk still has its names")
        read = guest.run("dd", f"if={device}", "of=/dev/null", "bs=1M", "count=1", "iflag=direct", ok=None, seconds=30)
        check(read.status != 0, "the device still reads")
        guest.run("umount", place, ok=None, seconds=60)
        check(not os.path.ismount(place), "it is still mounted")
        guest.wait_gone(device)
        guest.wait_gone(guest.by_path(TARGET, 0, "127.0.0.1:3260"))
        guest.configure({})
        guest.login()
        guest.fsck("ext4", guest.device(TARGET, 0, "127.0.0.1:3260"))
        guest.logout()


def written_and_never_synced():
    """What was written to the device alone is on the target when the logout returns."""
    with Guest() as guest:
        mark = guest.mark()
        [device], [file] = _start(guest, TARGET)
        image = guest.random_image("image", SIZE)
        guest.run("dd", f"if={image}", f"of={device}", "bs=1M", "status=none")
        guest.logout()
        check_same(image, file, SIZE, "the target's file after the logout")
        guest.check_no_errors(mark)


scenarios(globals())
