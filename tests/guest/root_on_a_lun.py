#!/usr/bin/env python3
"""A machine without a disk, whose root file system is on a LUN of tgtd: the initramfs that Debian's initramfs-tools or
dracut makes with our package logs in, the system runs, its target comes and goes, and it shuts down clean. What to log in
to is on the kernel's command line, or in the table of its firmware."""

import os
import re
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), folder) for folder in ("interop", "docs")]

import ibft  # noqa: E402  pylint: disable=C0413
import pages  # noqa: E402  pylint: disable=C0413
from booted import HOST, Booted, load  # noqa: E402  pylint: disable=C0413
from boots import daemon_pid, goes_on  # noqa: E402  pylint: disable=C0413
from lab import INITIATOR, Lab, check  # noqa: E402  pylint: disable=C0413
from guest import scenarios  # noqa: E402  pylint: disable=C0413
from targets import Chap, Lun  # noqa: E402  pylint: disable=C0413

TARGET = "iqn.2026-01.org.example:root"
DATA = "iqn.2026-01.org.example:data"
AWAY_SECONDS = 5
ROOT_ADDRESS = "10.0.2.15"
MAC, MAC_PLACE = "52:54:00:12:34:56", 1 << 3  # qemu's first interface: device 1 of bus 0


def root_of(path, lab):
    """Of the kernel's command line: the file system."""
    return f"root=UUID={lab.run('blkid', '-p', '-s', 'UUID', '-o', 'value', path).out.strip()} ro"


def words(path, lab):
    """Of the kernel's command line, but for the target."""
    return f"{root_of(path, lab)} ip={ROOT_ADDRESS}::{HOST}:255.255.255.0:guest:eth0:off"


def judge_boot(guest):
    """The root is a device of ours, one daemon serves it, from memory, and nothing has failed."""
    state = guest.run("systemctl is-system-running --wait", ok=None, seconds=240).strip()
    failed = guest.run("systemctl --failed --plain --no-legend").strip()
    check(state == "running", f"the system is {state}: {failed}")
    source, *sessions, pid = guest.run(pages.script("docs/root-disk.md", "root_on_a_lun", "check")).splitlines()
    check(re.fullmatch(r"/dev/ublkb\d+", source), f"the root is {source}")
    check(any(f" {TARGET} (" in line for line in sessions), f"its session is not in {sessions}")
    check(pid == f"MainPID={daemon_pid(guest)}", f"the daemon is {pid}")
    guest.run("! ls /dev/vd* /dev/sd* 2>/dev/null && ls -l /dev/disk/by-path /dev/disk/by-uuid")
    _one_daemon(guest)
    guest.run("journalctl -b -q -u iscsid -o cat | grep 'the iscsid of the initramfs has ended'")
    guest.run("ip -4 -o address show dev eth0 | grep 10.0.2.15 && systemctl is-active networking")
    _no_errors(guest)


def _one_daemon(guest):
    found = guest.run("for p in /proc/[0-9]*; do { tr '\\0' ' ' <$p/cmdline | grep -q '^@iscsid '; } 2>/dev/null && "
                      "echo ${p#/proc/} $(readlink $p/exe); done; true").split("\n")
    daemons = [line.split()[:2] for line in found if line.strip()]  # after an upgrade its file is another one
    check(daemons == [[daemon_pid(guest), "/run/iscsiroot/iscsid-in-memory"]], f"these daemons run: {daemons}")


def _no_errors(guest):
    said = guest.run("journalctl -b -k -q --grep 'I/O error|EXT4-fs error|EXT4-fs warning|recovery complete|blocked for more' "
                     "|| true").strip()
    check(not said, f"the kernel said: {said}")


def _forget_caches(guest):
    """What the root had been read for has to be read again."""
    guest.run("sync && echo 3 >/proc/sys/vm/drop_caches")


def judge_disk(lab, path):
    """As it is after a power-off: nothing to recover, nothing to mend."""
    said = lab.run("dumpe2fs", "-h", path).out
    check("needs_recovery" not in said and re.search(r"Filesystem state: +clean\n", said), f"{path} is not clean")
    lab.run("e2fsck", "-fn", path)


def _target_is_away(guest, target, luns, chap=None):
    target.process.expected_end = True
    target.process.kill()
    target.process.wait()
    time.sleep(AWAY_SECONDS)
    target.start()
    target.add(TARGET, luns, chap)
    goes_on(guest)


def _load(guest):
    guest.run("mkdir -p /data && echo 0 >/run/round")
    guest.run(f"cat >/var/tmp/load <<'END'\n{load('/data')}\nEND\nsystemd-run -q --unit=load bash /var/tmp/load")
    goes_on(guest)


def _copy_of_the_disk(lab):
    path = os.path.join(lab.data, "root")
    lab.run("cp", "--sparse=always", os.environ["ISCSI_GUEST_DISK"], path)
    return path


def initramfs():
    "boots, loses its target and has its package upgraded under load, powers off clean, and boots again"
    with Lab() as lab:
        path = _copy_of_the_disk(lab)
        target, luns = lab.tgtd(), [Lun(path, volatile_cache=False)]
        target.add(TARGET, luns)
        said = (f"{words(path, lab)} iscsi_initiator={INITIATOR} "
                f"iscsi_target_name={TARGET} iscsi_target_ip={HOST} iscsi_target_port={target.port}")
        guest = Booted(lab, root=said)
        guest.up()
        judge_boot(guest)
        guest.run("mkdir /data && head -c 8M /dev/urandom >/data/kept && sha256sum /data/kept >/data/sums")
        _load(guest)
        _target_is_away(guest, target, luns)
        pid = daemon_pid(guest)
        guest.run("! systemctl restart iscsid && ! systemctl stop iscsid")
        _forget_caches(guest)
        guest.run("dpkg -i /var/tmp/iscsi-suite.deb", seconds=240)
        goes_on(guest)
        check(daemon_pid(guest) == pid, "the daemon that serves the root was replaced")
        _one_daemon(guest)
        guest.run("iscsiadm -m session -u", ok=28)
        _no_errors(guest)
        guest.power_off()
        judge_disk(lab, path)
        guest = Booted(lab, root=said)
        guest.up()
        judge_boot(guest)
        guest.run("sha256sum -c /data/sums")
        said = guest.run("journalctl -b -1 -q -o cat --grep 'Failed unmounting|I/O error|timed out' || true").strip()
        check(not said, f"at the shutdown it was said: {said}")
        guest.power_off()
        judge_disk(lab, path)


def firmware_table(lab, target):
    """qemu's words for an iBFT in the guest's firmware."""
    path = os.path.join(lab.root, "ibft")
    nic = {"mac": MAC, "place": MAC_PLACE, "address": ROOT_ADDRESS, "prefix": 24, "gateway": HOST, "dns": "10.0.2.3"}
    with open(path, "wb") as file:
        file.write(ibft.table(INITIATOR, nic, {"name": TARGET, "address": HOST, "port": target.port}))
    return ["-acpitable", f"file={path}"]


def judge_firmware(guest, target):
    """The kernel shows the table, and our programs say what is in it."""
    said = guest.run("iscsiadm -m fw")
    wanted = f"""# BEGIN RECORD 2.1.8
iface.initiatorname = {INITIATOR}
iface.transport_name = tcp
iface.hwaddress = {MAC}
iface.bootproto = STATIC
iface.ipaddress = {ROOT_ADDRESS}
iface.prefix_len = 24
iface.subnet_mask = 255.255.255.0
iface.gateway = {HOST}
iface.primary_dns = 10.0.2.3
iface.vlan_id = 0
iface.net_ifacename = eth0
node.name = {TARGET}
node.conn[0].address = {HOST}
node.conn[0].port = {target.port}
node.boot_lun = 00000000
# END RECORD
"""
    check(said == wanted, f"iscsiadm -m fw says\n{said}")
    guest.run(f"grep -x InitiatorName={INITIATOR} /etc/iscsi/initiatorname.iscsi")
    guest.run("iscsiadm -m fw -l && iscsiadm -m session | grep -c . | grep -x 1")
    guest.run(f"iscsiadm -m discovery -t fw | grep -x '{HOST}:{target.port},1 {TARGET}'")
    guest.run("iscsiadm -m node -o show -S | grep -x 'node.startup = onboot' && iscsiadm -m node -L onboot", ok=15)
    guest.run("iscsiadm -m node -U all", ok=21)


def vlan_of_the_firmware(guest):
    """Our host's kernel may have no VLANs; the guest's has."""
    guest.run("""set -e
        root=$(mktemp -d) && mkdir -p $root/sys/firmware $root/run && cp -r /sys/firmware/ibft $root/sys/firmware/ibft
        cd $root/sys/firmware/ibft && rm -rf ethernet0/device && echo 7 >ethernet0/vlan && echo 02:00:00:00:00:07 >ethernet0/mac
        ISCSI_ROOT=$root unshare -n sh -ec 'ip link add way address 02:00:00:00:00:07 type veth peer name other
            iscsistart -N && ip -d link show way.7 | grep "vlan protocol 802.1Q id 7" && ip -4 address show way.7 | grep %s/24
            grep -x "DEVICE=.way.7." $ISCSI_ROOT/run/net-way.7.conf'""" % ROOT_ADDRESS)


def firmware():
    "is told nothing but iscsi_auto: address, initiator name and target are those of an iBFT in its firmware"
    with Lab() as lab:
        path = _copy_of_the_disk(lab)
        target = lab.tgtd()
        target.add(TARGET, [Lun(path, volatile_cache=False)])
        guest = Booted(lab, root=f"{root_of(path, lab)} iscsi_auto", firmware=firmware_table(lab, target))
        guest.up()
        judge_boot(guest)
        judge_firmware(guest, target)
        vlan_of_the_firmware(guest)
        guest.power_off()
        judge_disk(lab, path)


def dracut():
    "with dracut, its words, CHAP and a second target: boots, loses its target under load, and powers off clean"
    with Lab() as lab:
        path = _copy_of_the_disk(lab)
        target, luns = lab.tgtd(), [Lun(path, volatile_cache=False)]
        chap = Chap("guest", "secret-of-guest", "target", "secret-of-target")
        target.add(TARGET, luns, chap)
        data = lab.tgtd()
        data.add(DATA, [Lun(lab.disk("data", 1 << 20))])
        guest = Booted(lab, root=f"{words(path, lab)} rd.iscsi.initiator={INITIATOR} "
                       f"netroot=iscsi:guest:{chap.secret}:target:{chap.secret_in}@{HOST}::{target.port}::{TARGET} "
                       f"netroot=iscsi:{HOST}::{data.port}::eth0:1:{DATA} "
                       "rd.iscsi.param=node.session.iscsi.FirstBurstLength=32768")
        guest.up()
        judge_boot(guest)
        sessions = guest.run("iscsiadm -m session -P 2")
        check(all(f"Target: {name} " in sessions for name in (TARGET, DATA)), "one of the two targets has no session")
        check(sessions.count("FirstBurstLength: 32768") == 2, "rd.iscsi.param was not heeded")
        guest.run("! lsmod | grep -e iscsi_tcp -e scsi_transport_iscsi")
        _load(guest)
        _target_is_away(guest, target, luns, chap)
        _one_daemon(guest)
        _no_errors(guest)
        guest.power_off()
        judge_disk(lab, path)


if __name__ == "__main__":
    scenarios(globals())
