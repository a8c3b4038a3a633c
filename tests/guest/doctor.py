"""iscsiadm doctor where a session is up and a disk is not: units, device nodes, udev's links, mounts, each broken as it breaks
in life, and mended by what doctor says to try. (The steps before a session: tests/interop/operator.py.)"""

import json
import os
import struct

from guest import MIB, Disk, Guest, check, scenarios, wait_until

TARGET = "iqn.2026-01.org.example:patient"
EMPTY = "iqn.2026-01.org.example:without-a-unit"
FSTAB = "/etc/fstab"
NOT_FOUND, CONNECTION, NOT_CONNECTED = 21, 4, 32


def ends(guest, name, ok=0, state="wrong", target=TARGET):
    """The last step: what it says and what is to be tried. The text has the same."""
    said = guest.adm("doctor", "-T", target, ok=ok).out
    steps = json.loads(guest.adm("doctor", "-T", target, "-j", ok=ok, quiet=True).out)["steps"]
    last = steps[-1]
    check((last["step"], last["state"]) == (name, state), f"the chain was to end at {name}, {state}: {last}")
    check(last["what"] in said and last["try"] in said and bool(last["try"]) == (state == "wrong"), f"{last}")
    return last["what"], last["try"]


def well(guest, what="not mounted"):
    check(what in ends(guest, "mount", state="ok")[0], f"'{what}' was expected")


def no_units(guest, lio):
    lio.add(EMPTY, [])
    guest.discover(lio.portal)
    guest.login(EMPTY)
    what, attempt = ends(guest, "LUNs", ok=NOT_FOUND, target=EMPTY)
    check("shows none to this initiator" in what and "map a unit" in attempt, f"{what} {attempt}")
    guest.logout(EMPTY)


def no_node(guest, device):
    number = os.stat(device).st_rdev
    command = f"mknod {device} b {os.major(number)} {os.minor(number)}"
    os.unlink(device)
    what, attempt = ends(guest, "device", ok=NOT_FOUND)
    check(f"{device}: No such file" in what and f"'{command}'" in attempt, f"{what} {attempt}")
    with open(device, "w", encoding="ascii"):
        pass
    what, attempt = ends(guest, "device", ok=NOT_FOUND)
    check("is no block device" in what and "remove that" in attempt and f"'{command}'" in attempt, f"{what} {attempt}")
    os.unlink(device)
    guest.run(*command.split())
    well(guest)


def no_link(guest, device, link):
    os.unlink(link)
    what, attempt = ends(guest, "link", ok=NOT_FOUND)
    command = f"udevadm trigger --settle {device}"
    check(link in what and f"'{command}'" in attempt, f"{what} {attempt}")
    guest.run(*command.split())
    well(guest)
    os.unlink(link)
    os.symlink("/dev/vda" if os.path.exists("/dev/vda") else "/dev/null", link)
    check("leads to another device" in ends(guest, "link", ok=28)[0], "another device")
    os.unlink(link)
    guest.run(*command.split())
    well(guest)


def squashfs():
    """An empty one, with no compression: https://docs.kernel.org/filesystems/squashfs.html"""
    header, none, uncompressed = 96, (1 << 64) - 1, 1 << 15

    def block(data):
        return struct.pack("<H", uncompressed | len(data)) + data

    root = block(struct.pack("<HHHHII" "IIHHI", 1, 0o755, 0, 0, 0, 1, 0, 2, 3, 0, 2))
    names, owner = block(bytes(4)), block(bytes(4))
    folders = header + len(root)
    owners = folders + len(names)
    size = owners + len(owner) + 8
    flags = 0x1 | 0x2 | 0x8 | 0x10 | 0x200  # neither compression, nor fragments, nor attributes
    said = struct.pack("<4sIIIIHHHHHH" "QQQQQQQQ", b"hsqs", 1, 0, 1 << 17, 0, 1, 17, flags, 1, 4, 0, 0, size,
                       owners + len(owner), none, header, folders, none, none)
    return said + root + names + owner + struct.pack("<Q", owners)


def never_written(guest, device):
    """A file system that is read-only by itself has not stopped taking writes."""
    place = os.path.join(guest.root, "image")
    os.mkdir(place)

    def write(data):
        with open(device, "r+b", buffering=0) as file:
            file.write(data.ljust(4096, b"\0"))
            os.fsync(file.fileno())

    write(squashfs())
    guest.run("mount", "-t", "squashfs", device, place)
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        mount = next(line.split() for line in file if f" {place} " in line)
    check(mount[5].startswith("rw") and mount[-1].startswith("ro"), f"it is not what it is to be: {mount}")
    well(guest, f"mounted at {place} (squashfs)")
    guest.unmount(place)
    write(b"")


def not_mounted(guest, device):
    guest.run("mkfs.ext4", "-q", device)
    guest.run("udevadm", "settle", "-t", "60")
    place = os.path.join(guest.root, "a place")
    os.mkdir(place)
    uuid = guest.run("blkid", "-s", "UUID", "-o", "value", device).out.strip()
    with open(FSTAB, encoding="utf-8") as file:
        before = file.read()

    def restore():
        with open(FSTAB, "w", encoding="utf-8") as file:
            file.write(before)

    def line(options):
        with open(FSTAB, "w", encoding="utf-8") as file:
            file.write(f"{before}\nUUID={uuid} {place.replace(' ', chr(92) + '040')} ext4 {options} 0 2\n")

    guest.undo.append(restore)
    line("_netdev,noauto")
    well(guest, f"not mounted; fstab has it at {place}, noauto")
    line("_netdev,errors=remount-ro")
    what, attempt = ends(guest, "mount", ok=NOT_FOUND)
    check(f"fstab has it at {place}, and it is not mounted" in what and f"'mount {place}'" in attempt, f"{what} {attempt}")
    guest.run("mount", place)
    guest.undo.append(lambda: guest.unmount(place) if os.path.ismount(place) else None)
    well(guest, f"mounted at {place} (ext4)")
    return place


def stopped(guest, device, place):
    """What ext4 does after an error."""
    with open(f"/sys/fs/ext4/{os.path.basename(device)}/trigger_fs_error", "w", encoding="ascii") as file:
        file.write("of the test")
    what, attempt = ends(guest, "mount", ok=CONNECTION)
    said = ("was mounted for writing and takes no more", "has met 1 error(s) since it was last checked")  # by the kernel's version
    check(any(f"at {place} {words}" in what for words in said) and f"unmount {place}" in attempt, f"{what} {attempt}")
    guest.unmount(place)
    guest.run("e2fsck", "-f", "-y", device, ok=None)
    guest.run("mount", place)
    well(guest, f"mounted at {place} (ext4)")
    guest.unmount(place)


def another_unit(guest, lio, disk):
    lio.enable(TARGET, False)
    wait_until(lambda: " FAILED" in guest.adm("-m", "session", "-P", "1", quiet=True).out, 60, "the session to be lost")
    lio.remove_lun(TARGET, 0)
    lio.add_lun(TARGET, Disk(path=guest.disk("another", 64 * MIB), name="another"))
    lio.enable(TARGET)
    guest.logged_in(1)
    what, attempt = ends(guest, "LUN", ok=NOT_CONNECTED)
    check("LUN 0: offline" in what and "'iscsiadm -m session -R'" in attempt, f"{what} {attempt}")
    lio.remove_lun(TARGET, 0)
    lio.add_lun(TARGET, disk)
    guest.adm("-m", "session", "-R", ok=None)
    wait_until(lambda: guest.adm("doctor", "-T", TARGET, ok=None, quiet=True).status in (0, NOT_FOUND), 60, "the unit to be back")


def where_it_breaks():
    """Each of the steps behind a login: wrong, with the reason and what to try; and well when that was done."""
    with Guest() as guest:
        lio = guest.lio()
        disk = Disk(path=guest.disk("disk", 64 * MIB))
        lio.add(TARGET, [disk])
        guest.start_daemon()
        guest.discover(lio.portal)
        guest.update(TARGET, {"node.session.timeo.replacement_timeout": 5})
        guest.login(TARGET)
        device, link = guest.device(TARGET, 0, lio.portal), guest.by_path(TARGET, 0, lio.portal)
        well(guest)
        no_units(guest, lio)
        no_node(guest, device)
        no_link(guest, device, link)
        never_written(guest, device)
        place = not_mounted(guest, device)
        stopped(guest, device, place)
        another_unit(guest, lio, disk)
        guest.logout(TARGET)


if __name__ == "__main__":
    scenarios(globals())
