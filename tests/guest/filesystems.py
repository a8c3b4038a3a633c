"""Disks as an administrator uses them: names, partitions, file systems; from login to the last trace of a logout."""

import json
import os

from guest import MIB, Disk, Guest, Lun, check, scenarios

TARGET = "iqn.2026-01.org.example:files"
SIZE = 320 * MIB  # XFS makes none below 300
FIO_SECONDS = 3


def _check_links(guest, device, wanted, when):
    missing = sorted(set(wanted) - guest.links_to(device))
    check(not missing, f"{when} there is no link to {device} by the name of {missing}")


def _check_nothing_left(guest, before):
    """To be called first thing after a logout: nothing is waited for."""
    now = guest.block_nodes()
    check(now == before, f"after the logout there still is {sorted(now - before)}, missing is {sorted(before - now)}")


def _log_in(guest, portal):
    """The device of LUN 1. Its link must be there at once."""
    guest.login()
    return guest.device(TARGET, 1, portal)


def _use(guest, kind, device):
    """Makes a file system, works in it, and leaves it unmounted and whole. Returns the links that it has by now."""
    label = f"on-{kind}"
    guest.mkfs(kind, device, "-L", label)
    uuid = guest.run("blkid", "-p", "-s", "UUID", "-o", "value", device).out.strip()
    names = [f"/dev/disk/by-label/{label}", f"/dev/disk/by-uuid/{uuid}"]
    for name in names:
        guest.wait_for(name)
    _check_links(guest, device, names, "after mkfs")
    place = guest.mount(names[0])
    text = os.urandom(3 * MIB)
    with open(os.path.join(place, "file"), "wb") as file:
        file.write(text)
    guest.fio_verify(os.path.join(place, "verify"), seconds=FIO_SECONDS, size="64m", depth=32).wait()
    guest.unmount(place)
    place = guest.mount(device)
    with open(os.path.join(place, "file"), "rb") as file:
        check(file.read() == text, "the file is another one after the next mount")
    guest.unmount(place)
    guest.fsck(kind, device)
    return names


def _session_with_file_systems(guest, portal, names, kinds):
    """A session for each kind of file system; `names`: the links that the device has by what its target says of it."""
    mark, before = guest.mark(), guest.block_nodes()
    made = []
    for kind in kinds:
        device = _log_in(guest, portal)
        _check_links(guest, device, [*names, *made], "at the end of the login")
        made = _use(guest, kind, device)
        guest.logout()
        _check_nothing_left(guest, before)
    device = _log_in(guest, portal)
    _check_links(guest, device, [*names, *made], "at the end of the login")
    guest.fsck(kinds[-1], device)
    guest.logout()
    _check_nothing_left(guest, before)
    guest.check_no_errors(mark)


def lio():
    """ext4, then XFS; the names are those that any SCSI disk of LIO has."""
    with Guest() as guest:
        target = guest.lio()
        target.add(TARGET, [Disk(number=1, size=SIZE)])
        guest.start_daemon()
        guest.discover(target.portal)
        by_path = guest.by_path(TARGET, 1, target.portal)
        naa = target.naa(TARGET, 1)
        before = guest.block_nodes()
        properties = guest.udev_properties(_log_in(guest, target.portal))
        for key, value in {"ID_SERIAL": f"3{naa}", "ID_SERIAL_SHORT": naa, "ID_WWN": f"0x{naa[:16]}",
                           "ID_WWN_WITH_EXTENSION": f"0x{naa}", "ID_BUS": "scsi", "ID_VENDOR": "LIO-ORG",
                           "ID_PATH": os.path.basename(by_path)}.items():
            check(properties.get(key) == value, f"{key} is {properties.get(key)}, not {value}")
        guest.logout()
        _check_nothing_left(guest, before)
        names = [by_path, f"/dev/disk/by-id/wwn-0x{naa}", f"/dev/disk/by-id/scsi-3{naa}"]
        _session_with_file_systems(guest, target.portal, names, ["ext4", "xfs"])


def tgtd():
    with Guest() as guest:
        target = guest.tgtd()
        target.add(TARGET, [Lun(guest.disk("disk", SIZE))])
        guest.start_daemon()
        guest.discover(target.portal)
        by_path = guest.by_path(TARGET, 1, target.portal)
        before = guest.block_nodes()
        device = _log_in(guest, target.portal)
        serial = guest.udev_properties(device).get("ID_SERIAL", "")
        check(len(serial) > 8, f"ID_SERIAL is '{serial}'")
        guest.logout()
        _check_nothing_left(guest, before)
        _session_with_file_systems(guest, target.portal, [by_path, f"/dev/disk/by-id/scsi-{serial}"], ["xfs", "ext4"])


def _doctor_finds_all_well(guest, device, by_path, place):
    steps = {step["step"]: step for step in json.loads(guest.adm("doctor", "-T", TARGET, "-j").out)["steps"]}
    check({step["state"] for step in steps.values()} == {"ok"}, f"the doctor finds something: {steps}")
    for name, words in (("device", device), ("link", by_path), ("mount", f"mounted at {place} (ext4)")):
        check(words in steps[name]["what"], f"{name}: {steps[name]['what']}")


def partitions():
    """They come and go with their disk, and have its names."""
    with Guest() as guest:
        target = guest.lio()
        target.add(TARGET, [Disk(number=1, size=64 * MIB)])
        guest.start_daemon()
        guest.discover(target.portal)
        naa = target.naa(TARGET, 1)
        mark, before = guest.mark(), guest.block_nodes()
        device = _log_in(guest, target.portal)
        with open(os.path.join(guest.data, "table"), "w+", encoding="ascii") as table:
            table.write("label: gpt\nsize=24MiB, name=first\nname=second\n")
            table.seek(0)
            guest.run("sfdisk", device, stdin=table)
        by_path = guest.by_path(TARGET, 1, target.portal)
        parts = [f"{device}p{number}" for number in (1, 2)]
        names = [[f"{by_path}-part{number}", f"/dev/disk/by-id/wwn-0x{naa}-part{number}",
                  f"/dev/disk/by-id/scsi-3{naa}-part{number}", f"/dev/disk/by-partlabel/{label}"]
                 for number, label in ((1, "first"), (2, "second"))]
        for name in sum(names, []):
            guest.wait_for(name)
        guest.mkfs("ext4", parts[1], "-L", "on-a-part")
        guest.logout()
        _check_nothing_left(guest, before)
        names[1].append("/dev/disk/by-label/on-a-part")
        device = _log_in(guest, target.portal)
        for number, links in enumerate(names, 1):
            _check_links(guest, f"{device}p{number}", links, "at the end of the login")
        place = guest.mount("/dev/disk/by-label/on-a-part")
        _doctor_finds_all_well(guest, device, by_path, place)
        with open(os.path.join(place, "file"), "wb") as file:
            file.write(os.urandom(MIB))
        guest.unmount(place)
        guest.fsck("ext4", f"{device}p2")
        guest.logout()
        _check_nothing_left(guest, before)
        guest.check_no_errors(mark)


scenarios(globals())
