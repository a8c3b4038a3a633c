#!/usr/bin/env python3
"""Two portals of one LIO target in a Debian that boots: its own multipathd over our devices by the configuration that we ship,
with a file system and LVM on the maps. A portal goes and comes back under load, the machine reboots, the same over nbd.
By hand: multipath_boot.py two_portals; see tests/guest/CMakeLists.txt for what it wants in the environment."""

import json
import os
import re
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), folder) for folder in ("interop", "docs")]

import pages  # noqa: E402  pylint: disable=C0413
from booted import Booted  # noqa: E402  pylint: disable=C0413
from boots import judge_shutdown  # noqa: E402  pylint: disable=C0413
from guest import scenarios  # noqa: E402  pylint: disable=C0413
from lab import MIB, PATIENCE, Lab, check, need  # noqa: E402  pylint: disable=C0413

TARGET = "iqn.2026-01.org.example:two-portals"
MAPS = [f"/dev/mapper/36001405{number:025}" for number in range(2)]  # LIO's: its own prefix, then the serial number
PLACES = ("/plain", "/on-lvm")
LIMIT = 5  # seconds, replacement_timeout, as docs/multipath.md sets it
CHECK = 2  # seconds, between two looks of multipathd at a path, at most
FIO = "/tools/ld.so --library-path /tools /tools/fio"

# A portal group for each portal: when one is turned off, its sessions end and its portal refuses logins.
LIO = f"""
core=/sys/kernel/config/target/core/fileio_0
target=/sys/kernel/config/target/iscsi/{TARGET}
case $1 in
  up)
    set -e
    modprobe -a target_core_mod target_core_file iscsi_target_mod
    for number in 0 1; do
      mkdir -p $core/lun$number
      cd $core/lun$number
      echo fd_dev_name=/srv/lun$number,fd_dev_size=$(stat -c %s /srv/lun$number),fd_buffered_io=1 >control
      printf '%025d\\n' $number >wwn/vpd_unit_serial
      echo 1 >enable
    done
    for group in 1 2; do
      mkdir -p $target/tpgt_$group/np/127.0.0.$group:3260
      cd $target/tpgt_$group
      for number in 0 1; do
        mkdir lun/lun_$number
        ln -s $core/lun$number lun/lun_$number/disk
      done
      echo 0 >attrib/authentication
      echo 1 >attrib/generate_node_acls
      echo 1 >attrib/cache_dynamic_acls
      echo 0 >attrib/demo_mode_write_protect
      echo 1 >enable
    done ;;
  down)
    for group in 1 2; do
      cd $target/tpgt_$group
      echo 0 >enable
      rm lun/lun_*/disk
      rmdir lun/lun_* np/*
      cd /
      rmdir $target/tpgt_$group
    done
    rmdir $target $core/lun* ;;
esac
"""
LIO_UNIT = """[Unit]
DefaultDependencies=no
RequiresMountsFor=/srv
Conflicts=shutdown.target
Before=iscsi-logout.service iscsi.service shutdown.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=bash /var/tmp/lio up
ExecStop=bash /var/tmp/lio down
[Install]
WantedBy=sysinit.target
"""
# The machine's own, beside ours.
OWN = f"""defaults {{
    path_grouping_policy multibus
    polling_interval 1
    max_polling_interval {CHECK}
}}
"""
LOAD = f"""{FIO} --name=load --filename=/plain/load --size=16m --ioengine=libaio --direct=1 --rw=randwrite --bsrange=4k-64k \
--iodepth=16 --serialize_overlap=1 --verify=crc32c --verify_fatal=1 --verify_backlog=64 --verify_state_save=0 --time_based \
--runtime=3600 --output-format=json --output=/run/load.json
echo $? >/run/load.status"""


def tools_drive(lab):
    """An image with this machine's fio and all that it loads."""
    need("fio")
    folder, image = os.path.join(lab.root, "tools"), lab.disk("tools", 256 * MIB)
    os.mkdir(folder)
    shutil.copy(shutil.which("fio"), folder)
    for name, path in re.findall(r"^\s*(\S+) (?:=> (\S+) )?\(0x", lab.run("ldd", shutil.which("fio"), quiet=True).out, re.M):
        if path:
            shutil.copy(path, folder)
        elif name.startswith("/"):
            shutil.copy(name, os.path.join(folder, "ld.so"))
    lab.run("mke2fs", "-q", "-t", "ext4", "-d", folder, image)
    return image


def until(guest, condition, seconds=60):
    """Waits there, in the guest, until a shell's condition is true."""
    guest.run(f"while [ $SECONDS -lt {int(seconds * PATIENCE)} ]; do {condition} && exit; sleep 0.2; done; "
              "multipath -ll; iscsiadm -m session -P 1; dmesg | tail -n 20; exit 1", seconds=seconds + 60)


MAPPED = " && ".join(f"[ -b {map_} ]" for map_ in MAPS) + " && udevadm settle -t 1"


def active(number):
    return f"[ $(multipathd show paths raw format '%d %t %T' | grep -c ' active ready$') = {number} ]"


def prepare(guest):
    """Target, maps, file systems and fstab, as an administrator would."""
    guest.run(f"""set -e
mkdir /tools
echo '/dev/vdb /srv ext4 defaults 0 2' >>/etc/fstab
echo '/dev/vdc /tools ext4 ro 0 0' >>/etc/fstab
cat >/var/tmp/lio <<'END'
{LIO}END
cat >/etc/systemd/system/lio.service <<'END'
{LIO_UNIT}END
cat >/etc/multipath.conf <<'END'
{OWN}END
systemctl -q unmask multipathd.service multipathd.socket
systemctl daemon-reload
{pages.script("docs/multipath.md", "multipath_boot", "configure")}
mount -a
truncate -s 64M /srv/lun0 /srv/lun1
systemctl -q enable --now lio multipathd
multipath -t >/run/accepted 2>/run/complaints
cat /run/complaints
[ ! -s /run/complaints ]
for line in 'devnode "^(ublkb|nbd)' 'path_checker "directio"' 'find_multipaths "on"' 'features "2 queue_mode bio"'; do
  multipathd show config local | grep -F "$line"
done
{pages.script("docs/multipath.md", "multipath_boot", "log in")}""", seconds=240)
    until(guest, f"{active(4)} && {MAPPED}")
    guest.run(f"""set -e
multipath -ll
{pages.script("docs/multipath.md", "multipath_boot", "file system")}
vgcreate -q -y group {MAPS[1]}
lvcreate -q -y -n volume -l 100%FREE group
mkfs.ext4 -q /dev/group/volume
mkdir {PLACES[1]}
echo '/dev/group/volume /on-lvm ext4 _netdev 0 2' >>/etc/fstab
systemctl daemon-reload
mount -a
for place in {' '.join(PLACES)}; do head -c 8M /dev/urandom >$place/data; sha256sum $place/data >>/var/tmp/sums; done
sync""", seconds=240)


def judge_maps(guest, kind):
    """Each map has both paths, all that looks for a file system or a volume group finds the map, and nobody gets a path."""
    shown = guest.run("multipath -ll")
    for map_ in MAPS:
        block = shown.partition(os.path.basename(map_))[2].partition("\n3600")[0]
        check(len(re.findall(rf"\b{kind}\d+\s+\S+ active ready running", block)) == 2, f"{map_} has not two paths:\n{shown}")
        guest.run(f"dmsetup table {map_} | grep -F ' queue_mode bio '")
    guest.run("udevadm trigger --subsystem-match=block && udevadm settle -t 60", seconds=120)
    guest.run(f"""set -e
[ "$(pvs --noheadings -o pv_name | tr -d ' ')" = {MAPS[1]} ]
[ $(readlink -f /dev/disk/by-uuid/$(blkid -p -s UUID -o value {MAPS[0]})) = $(readlink -f {MAPS[0]}) ]
for map in {' '.join(MAPS)}; do
  for path in /sys/block/$(basename $(readlink -f $map))/slaves/*; do
    udevadm info -q property -n $(basename $path) >/run/properties
    for line in DM_MULTIPATH_DEVICE_PATH=1 ID_FS_TYPE=mpath_member SYSTEMD_READY=0; do grep -Fx $line /run/properties; done
    if mount /dev/$(basename $path) /mnt; then exit 1; fi
  done
done
for place in {' '.join(PLACES)}; do findmnt -n -o SOURCE,OPTIONS $place; done
sha256sum --quiet -c /var/tmp/sums""")


def goes_on(guest):
    """The load gets on with its writes."""
    count = f"set -- $(cat /sys/block/$(basename $(readlink -f {MAPS[0]}))/stat); echo $5"
    before = int(guest.run(count, quiet=True))
    until(guest, f"systemctl -q is-active load && [ $({count}) -gt {before + 50} ]", 90)


def ride_through(guest, group):
    """A portal goes and comes back under load; gives what dm and its users felt of it."""
    guest.run(f"rm -f /run/load.*; cat >/var/tmp/load <<'END'\n{LOAD}\nEND\nsystemd-run -q --unit=load bash /var/tmp/load")
    until(guest, "[ -e /plain/load ]", 90)
    goes_on(guest)
    guest.run(f"echo 0 >/sys/kernel/config/target/iscsi/{TARGET}/tpgt_{group}/enable")
    until(guest, active(2) + " && [ $(multipathd show paths raw format %t | grep -c failed) = 2 ]")
    goes_on(guest)
    guest.run("multipath -ll")
    guest.run(f"echo 1 >/sys/kernel/config/target/iscsi/{TARGET}/tpgt_{group}/enable")
    until(guest, active(4))
    goes_on(guest)
    guest.run("kill -INT $(pgrep -o -x ld.so)")  # of fio the first: it ends its job itself
    until(guest, "[ -s /run/load.status ]")
    status = guest.run("cat /run/load.status; systemctl reset-failed load 2>/dev/null; true").strip()
    said = guest.run("cat /run/load.json", quiet=True)
    job = json.loads(said[said.index("{"):])["jobs"][0]
    check(status == "128" and job["error"] == 0, f"fio ended with {status}, its error is {job['error']}")  # 128: interrupted
    longest = max(job[way]["lat_ns"]["max"] for way in ("read", "write")) / 1e9
    print(f"portal group {group} was away: {job['write']['total_ios']} writes, {job['read']['total_ios']} reads to verify them, "
          f"the longest took {longest:.1f} s", flush=True)
    check(longest >= LIMIT - 0.5, f"no request took more than {longest:.1f} s: none was on the path that went")
    check(longest <= LIMIT + CHECK + 4 * PATIENCE, f"a request took {longest:.1f} s")
    bad = guest.run("journalctl -b -k -q -o cat --grep 'dev dm-|EXT4-fs (error|warning)|lost async page|Aborting journal' || true")
    check(not bad.strip(), f"the kernel lost I/O: {bad}")


def to_nbd(guest):
    guest.run(f"""set -e
umount {PLACES[1]}
vgchange -q -an group
{pages.script("docs/multipath.md", "multipath_boot", "out")}
sed -i '/^iscsid.block/d' /etc/iscsi/iscsid.conf
echo 'iscsid.block = nbd' >>/etc/iscsi/iscsid.conf
systemctl restart iscsid
iscsiadm -m node -T {TARGET} -l""", seconds=240)
    until(guest, f"{active(4)} && {MAPPED}")
    guest.run("vgchange -q -ay group && mount -a")


def two_portals():
    "one map for two portals; it fails over and back; shutdown with the maps mounted; ublk, then nbd"
    with Lab() as lab:
        data = lab.disk("data", 192 * MIB)
        lab.run("mke2fs", "-q", "-t", "ext4", data)
        guest = Booted(lab, drives=[data, tools_drive(lab)])
        guest.up()
        prepare(guest)
        judge_maps(guest, "ublkb")
        ride_through(guest, 2)
        leaves = float(guest.run("cut -d' ' -f1 /proc/uptime"))
        guest.reboot()
        guest.run("systemctl is-system-running --wait", seconds=240)
        judge_maps(guest, "ublkb")
        journal = guest.journal("-b", "-1")
        judge_shutdown([entry for entry in journal if int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6 > leaves], PLACES)
        to_nbd(guest)
        judge_maps(guest, "nbd")
        ride_through(guest, 1)
        guest.power_off()
        lab.run("e2fsck", "-fn", data)
        lab.run("debugfs", "-R", f"dump /lun0 {lab.data}/lun0", data)
        check("needs_recovery" not in lab.run("dumpe2fs", "-h", f"{lab.data}/lun0").out, "the file system was not unmounted")
        lab.run("e2fsck", "-fn", f"{lab.data}/lun0")


if __name__ == "__main__":
    scenarios(globals())
