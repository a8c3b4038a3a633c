"""LIO, the target in the kernel, driven through configfs as targetcli does it. Only for a guest: it has one kernel.

    lio = Lio(lab)
    lio.add(IQN, [Disk(size=64 * MIB), Disk(number=1, path=lab.disk("a", 64 * MIB), block_bytes=4096)])
    lab.discover(lio.portal)

Every initiator may log in and write ("demo mode"), unless a disk is read-only: that is a matter of an initiator's access
list, so such a target knows the lab's initiator alone. Everything is taken down when the lab is left.
"""

import dataclasses
import hashlib
import os

from lab import INITIATOR, MIB, check

CONFIG = "/sys/kernel/config/target"
PORTAL = "127.0.0.1:3260"


@dataclasses.dataclass
class Disk:
    """What a LUN shows. path: a file (which must exist) or a block device; without one: `size` bytes of memory."""

    path: str = ""
    number: int = 0
    size: int = 64 * MIB  # of memory
    block_bytes: int = 512
    read_only: bool = False
    cache: bool = False  # a volatile write cache: only a flush or FUA makes the file safe
    unmap: bool = False
    name: str = ""  # of the backstore; two LUNs with one name are the same disk
    attributes: dict = dataclasses.field(default_factory=dict)  # more of the backstore's, as configfs names them


def _write(path, value):
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(f"{value}\n")
    except OSError as error:
        raise OSError(error.errno, f"LIO refuses '{value}': {error.strerror}", path) from None


def _read(path):
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()


class Lio:
    def __init__(self, lab):
        self.lab, self.portal = lab, PORTAL
        self.stores = {}  # name -> folder
        self.targets = {}  # name -> {LUN number: Disk}
        modules = ["target_core_mod", "iscsi_target_mod", "target_core_file", "target_core_iblock"]
        lab.run("modprobe", "-a", *modules, quiet=True)
        os.makedirs("/etc/target/pr", exist_ok=True)  # where it keeps registrations: without it none is accepted
        os.makedirs(f"{CONFIG}/iscsi", exist_ok=True)
        lab.undo.append(self.remove_all)

    # Targets

    def add(self, name, disks=(), portals=(PORTAL,)):
        """A target with these disks, enabled, on these portals ("address:port", "[address]:port")."""
        folder = self.folder(name)
        os.makedirs(folder)
        self.targets[name] = {}
        for portal in portals:
            os.mkdir(f"{folder}/np/{portal}")
        listed = any(disk.read_only for disk in disks)
        for key, value in (("authentication", 0), ("generate_node_acls", int(not listed)), ("cache_dynamic_acls", 1),
                           ("demo_mode_write_protect", 0)):
            _write(f"{folder}/attrib/{key}", value)
        if listed:
            os.mkdir(f"{folder}/acls/{INITIATOR}")
        for disk in disks:
            self.add_lun(name, disk)
        self.enable(name)

    def folder(self, name):
        return f"{CONFIG}/iscsi/{name}/tpgt_1"

    def enable(self, name, on=True):
        """Off: its sessions end, and logins are refused until it is on again."""
        _write(f"{self.folder(name)}/enable", int(on))

    def drop_sessions(self, name):
        self.enable(name, False)
        self.enable(name)

    def add_portal(self, name, portal):
        os.mkdir(f"{self.folder(name)}/np/{portal}")

    def remove_portal(self, name, portal):
        os.rmdir(f"{self.folder(name)}/np/{portal}")

    def sessions(self, name):
        """What the kernel says of the target's sessions, one text each."""
        dynamic = _read(f"{self.folder(name)}/dynamic_sessions").replace("\0", "\n").split()
        listed = [f"{self.folder(name)}/acls/{initiator}/info" for initiator in os.listdir(f"{self.folder(name)}/acls")]
        return dynamic + [text for text in map(_read, listed) if not text.startswith("No active")]

    # LUNs

    def add_lun(self, name, disk):
        """Also while initiators are logged in: they see it when they scan."""
        folder, store = self.folder(name), self.store(name, disk)
        check(not disk.read_only or os.listdir(f"{folder}/acls"), "a read-only LUN has to be there from the start")
        os.mkdir(f"{folder}/lun/lun_{disk.number}")
        os.symlink(store, f"{folder}/lun/lun_{disk.number}/disk")
        for initiator in os.listdir(f"{folder}/acls"):
            mapped = f"{folder}/acls/{initiator}/lun_{disk.number}"
            os.makedirs(mapped, exist_ok=True)  # the kernel makes it by itself where it does so for all
            if not any(os.path.islink(f"{mapped}/{entry}") for entry in os.listdir(mapped)):
                os.symlink(f"{folder}/lun/lun_{disk.number}", f"{mapped}/disk")
            _write(f"{mapped}/write_protect", int(disk.read_only))
        self.targets[name][disk.number] = disk

    def remove_lun(self, name, number):
        folder = self.folder(name)
        for initiator in os.listdir(f"{folder}/acls"):
            mapped = f"{folder}/acls/{initiator}/lun_{number}"
            if os.path.isdir(mapped):
                for entry in os.listdir(mapped):
                    if os.path.islink(f"{mapped}/{entry}"):
                        os.unlink(f"{mapped}/{entry}")
                os.rmdir(mapped)
        os.unlink(f"{folder}/lun/lun_{number}/disk")
        os.rmdir(f"{folder}/lun/lun_{number}")
        del self.targets[name][number]

    def grow(self, name, number, size):
        """A LUN on a file becomes `size` bytes long. Initiators are not told: READ CAPACITY says it from now on."""
        disk = self.targets[name][number]
        check(disk.path and os.path.isfile(disk.path), "only a LUN on a file can grow")
        os.truncate(disk.path, size)
        _write(f"{self.store(name, disk)}/control", f"fd_dev_size={size}")

    # Backstores

    def store(self, target, disk):
        """The backstore's folder, made when it is first asked for."""
        name = disk.name or f"{hashlib.sha256(target.encode()).hexdigest()[:8]}-{disk.number}"
        if name in self.stores:
            return self.stores[name]
        if not disk.path:
            kind, control = "rd_mcp", f"rd_pages={disk.size // os.sysconf('SC_PAGE_SIZE')}"
        elif os.path.isfile(disk.path):
            buffered = ",fd_buffered_io=1" if disk.cache else ""
            kind, control = "fileio", f"fd_dev_name={disk.path},fd_dev_size={os.path.getsize(disk.path)}{buffered}"
        else:
            kind, control = "iblock", f"udev_path={disk.path}"
        folder = self.stores[name] = f"{CONFIG}/core/{kind}_0/{name}"
        os.makedirs(folder)
        _write(f"{folder}/control", control)
        _write(f"{folder}/wwn/vpd_unit_serial", hashlib.sha256(name.encode()).hexdigest()[:25])
        _write(f"{folder}/enable", 1)
        if kind != "iblock":
            _write(f"{folder}/attrib/block_size", disk.block_bytes)
            _write(f"{folder}/attrib/emulate_write_cache", int(disk.cache))
        if disk.unmap:
            _write(f"{folder}/attrib/emulate_tpu", 1)
            _write(f"{folder}/attrib/emulate_tpws", 1)
        for key, value in disk.attributes.items():
            _write(f"{folder}/attrib/{key}", value)
        return folder

    def naa(self, target, number):
        """The name that a LUN has in the world, as the digits of its NAA identifier."""
        text = _read(f"{self.store(target, self.targets[target][number])}/wwn/vpd_unit_serial")
        return "6001405" + text.rpartition(":")[2].strip()

    # The end

    def remove(self, name):
        """The target and its sessions; its backstores stay."""
        folder = self.folder(name)
        self.enable(name, False)
        for number in list(self.targets[name]):
            self.remove_lun(name, number)
        for part in ("acls", "np"):
            for entry in os.listdir(f"{folder}/{part}"):
                os.rmdir(f"{folder}/{part}/{entry}")
        os.rmdir(folder)
        os.rmdir(os.path.dirname(folder))
        del self.targets[name]

    def remove_all(self):
        for name in list(self.targets):
            self.remove(name)
        for folder in self.stores.values():
            os.rmdir(folder)
        self.stores.clear()
