#!/usr/bin/env python3
"""What a machine without systemd does with our init scripts: a real Debian with sysvinit, its disks on tgtd.
By hand: as boots.py, with a disk of `tests/guest/disk -s sysv`."""

import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "interop"))

from booted import HOST, Booted, load  # noqa: E402  pylint: disable=C0413
from lab import MIB, Lab, check, wait_until  # noqa: E402  pylint: disable=C0413
from guest import scenarios  # noqa: E402  pylint: disable=C0413
from targets import Lun  # noqa: E402  pylint: disable=C0413

TARGET = "iqn.2026-01.org.example:sysv"
PLACES = ("/by-uuid", "/by-path", "/on-lvm", "/on-named")


def prepare(guest, portal):
    """As an administrator would. One volume group is not activated unless Debian's file names it."""
    node = f"iscsiadm -m node -T {TARGET} -p {portal}"
    disk = f"/dev/disk/by-path/ip-{portal}-iscsi-{TARGET}-lun"
    guest.run(f"""set -e
service open-iscsi status && exit 1
{node} -o new
{node} -o update -n node.startup -v automatic
service open-iscsi start
service open-iscsi status
mkfs.ext4 -q {disk}-1; mkfs.ext4 -q {disk}-2; mkfs.ext4 -q {disk}-5; mkswap -q {disk}-6
vgcreate -q -y group {disk}-3; lvcreate -q -y -n volume -l 100%FREE group; mkfs.ext4 -q /dev/group/volume
vgcreate -q -y --setautoactivation n named {disk}-4; lvcreate -q -y -n volume -l 100%FREE named
mkfs.ext4 -q /dev/named/volume
sed -i 's/^LVMGROUPS=.*/LVMGROUPS=named/' /etc/default/open-iscsi
mkdir -p {' '.join(PLACES)} /by-hand
cat >>/etc/fstab <<END
UUID=$(blkid -s UUID -o value {disk}-1) /by-uuid ext4 _netdev,nofail 0 2
{disk}-2 /by-path ext4 _netdev 0 0
/dev/group/volume /on-lvm ext4 _netdev,nofail 0 2
/dev/named/volume /on-named ext4 noatime,_netdev 0 0
{disk}-6 none swap sw,_netdev,nofail 0 0
END
service open-iscsi start
swapon --show""", seconds=240)
    is_mounted(guest)


def is_mounted(guest):
    for place in PLACES:
        guest.run(f"findmnt -n -o SOURCE,OPTIONS {place}")
    check(re.search(r"/dev/(ublkb|nbd)", guest.run("cat /proc/swaps")), "there is no swap on a LUN")


def write(guest, number):
    guest.run(" && ".join(f"head -c 4M /dev/urandom >{place}/{number} && sha256sum {place}/{number} >>/var/tmp/sums"
                          for place in PLACES))


def goes_on(guest):
    """The load has done some more, and nothing has failed."""
    guest.run("before=$(cat /run/round); for try in $(seq 240); do [ $(cat /run/round) -gt $((before + 2)) ] && exit; "
              "pgrep -f /var/tmp/load >/dev/null || break; sleep 0.5; done; cat /run/load.log; exit 1", seconds=150)


def replaced(guest, how):
    """Another daemon serves the disks, and it is the one that sendsigs spares."""
    before = guest.run("cat /run/iscsid.pid").strip()
    guest.run(how, seconds=240)
    now = guest.run("cat /run/sendsigs.omit.d/iscsid").strip()
    check(now != before and guest.run("pgrep -x iscsid").split() == [now], f"the daemon was {before} and is {now}")
    goes_on(guest)


def daemons_come_and_go(guest):
    """Under load: a restart, a stop and a start, a death that leaves its socket and its pid file behind, a new package."""
    guest.run(f"cat >/var/tmp/load <<'END'\n{load('/by-uuid')}\nEND\necho 0 >/run/round; setsid bash /var/tmp/load >/run/load.log 2>&1 &")
    goes_on(guest)
    replaced(guest, "service iscsid restart")
    replaced(guest, "service iscsid stop && ! pgrep -x iscsid && ! service iscsid status && service iscsid start && "
                    "service iscsid start")
    replaced(guest, "kill -9 $(cat /run/iscsid.pid); while pgrep -x iscsid; do sleep 0.1; done; "
                    "[ -S /run/iscsid/control.sock ] && service iscsid start && service iscsid status")
    replaced(guest, "dpkg -i /var/tmp/iscsi-suite.deb")
    guest.run("ls /etc/rc?.d/*iscsi*; ! ls /etc/rc?.d/K??iscsid")


def package_comes_and_goes(guest):
    """Nothing of it runs without it; the daemon is back with it."""
    guest.run("dpkg --remove iscsi-suite && ! pgrep -x iscsid && ! ls /run/iscsid.pid && dpkg -i /var/tmp/iscsi-suite.deb && "
              "service iscsid status && ls -l /etc/init.d/iscsid /etc/init.d/open-iscsi && "
              "[ -x /etc/init.d/iscsid ] && [ -x /etc/init.d/open-iscsi ]", seconds=240)


def in_order(text, *patterns):
    """Each was printed, and behind the one before it."""
    at = 0
    for pattern in patterns:
        found = re.compile(pattern).search(text, at)
        check(found, f"'{pattern}' was not printed{', or too early' if re.search(pattern, text) else ''}:\n{text[-6000:]}")
        at = found.end()


def judge_shutdown(said, *logouts):
    in_order(said, "Asking all remaining processes to terminate", "Logging out of iSCSI targets", *logouts,
             "Deconfiguring network interfaces", "Will now (restart|halt)")
    check("Stopping iSCSI initiator daemon" not in said, "the daemon was stopped")
    check("I/O error" not in said, f"the kernel lost I/O:\n{said[-6000:]}")


def boots_and_shuts_down():
    "disks by uuid, by path, under LVM and as swap: daemons come and go, then down and up, in order and clean"
    with Lab() as lab:
        target = lab.tgtd()
        luns = [Lun(lab.disk(f"lun{number}", 64 * MIB), number=number) for number in (1, 2, 3, 4, 5, 6)]
        target.add(TARGET, luns)
        guest = Booted(lab)
        guest.up()
        portal = f"{HOST}:{target.port}"
        package_comes_and_goes(guest)
        prepare(guest, portal)
        daemons_come_and_go(guest)
        write(guest, 1)
        # Mounted by hand, and somebody sits in it to the very end.
        guest.run(f"mount /dev/disk/by-path/*-lun-5 /by-hand && head -c 8M /dev/urandom >/by-hand/1 && "
                  "sha256sum /by-hand/1 >/var/tmp/by-hand; cd /by-hand && (setsid sleep 1000 >/dev/null 2>&1 & "
                  "echo $! >/run/sendsigs.omit.d/holder)")
        before = guest.said()
        guest.reboot()
        down, _, up = guest.said()[len(before):].partition("reboot: Restarting system")
        judge_shutdown(down, "iscsi_logout_all: somebody still uses /by-hand: it is read-only now")
        is_mounted(guest)
        guest.confined()
        in_order(up, "Starting iSCSI initiator daemon", "Login to .* successful", "Mounting network devices",
                 r"clean, \d+/\d+ files", r"clean, \d+/\d+ files", "Entering runlevel: 2")
        guest.run("sha256sum --quiet -c /var/tmp/sums && mount /dev/disk/by-path/*-lun-5 /by-hand && "
                  "sha256sum --quiet -c /var/tmp/by-hand")
        guest.run("! dmesg | grep -E 'recovery|recovering|orphan|I/O error|EXT4-fs error'")
        guest.run("setsid sh -c 'while dd if=/dev/zero of=/on-lvm/busy bs=64k count=200 conv=notrunc; do :; done' "
                  ">/dev/null 2>&1 &")
        before = guest.said()
        guest.power_off()
        judge_shutdown(guest.said()[len(before):], "Logout of .* successful")
        wait_until(lambda: "Initiator:" not in target.admin("--op", "show", "--mode", "target").out, 5,
                   "the target to have no session")
        for lun in (luns[0], luns[1], luns[4]):
            said = lab.run("dumpe2fs", "-h", lun.path).out
            check("needs_recovery" not in said and re.search(r"Filesystem state: +clean\n", said), f"{lun.path} is not clean")
            lab.run("e2fsck", "-fn", lun.path)


if __name__ == "__main__":
    scenarios(globals())
