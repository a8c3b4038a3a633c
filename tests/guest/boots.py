#!/usr/bin/env python3
"""What a machine does with our units when it boots and when it shuts down: a real Debian with systemd, its disks on tgtd.
By hand, with more boots: boots.py [NAME]; see tests/guest/CMakeLists.txt for what it wants in the environment."""

import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(os.path.dirname(HERE), folder) for folder in ("interop", "docs")]

import pages  # noqa: E402  pylint: disable=C0413
from booted import HOST, Booted, load  # noqa: E402  pylint: disable=C0413
from lab import MIB, Lab, check, need, wait_until  # noqa: E402  pylint: disable=C0413
from guest import TREE, scenarios  # noqa: E402  pylint: disable=C0413
from targets import Lun  # noqa: E402  pylint: disable=C0413

TARGET = "iqn.2026-01.org.example:boot"
ABSENT = "iqn.2026-01.org.example:absent"
BOOTS = int(os.environ.get("ISCSI_BOOTS", "1"))
PATIENCE_WITH_THE_ABSENT = 20  # seconds: the record's login_timeout times its tries
LOGINS = {"iscsi.service", "iscsid.service"}
PLACES = ("/by-uuid", "/by-path", "/on-lvm")


def prepare(guest, portal, nobody):
    """Records, file systems, fstab, as an administrator would."""
    node = f"iscsiadm -m node -T {TARGET} -p {portal}"
    absent = f"iscsiadm -m node -T {ABSENT} -p {nobody}"
    disk = f"/dev/disk/by-path/ip-{portal}-iscsi-{TARGET}-lun"
    guest.run(f"""set -e
{node} -o new
{node} -o update -n node.startup -v automatic
{node} -l
mkfs.ext4 -q {disk}-1; mkfs.ext4 -q {disk}-2
vgcreate -q -y group {disk}-3; lvcreate -q -y -n volume -l 100%FREE group; mkfs.ext4 -q /dev/group/volume
mkdir -p {' '.join(PLACES)}
cat >>/etc/fstab <<END
UUID=$(blkid -s UUID -o value {disk}-1) /by-uuid ext4 _netdev 0 2
{disk}-2 /by-path ext4 _netdev 0 2
/dev/group/volume /on-lvm ext4 _netdev 0 2
END
mkfs.ext4 -q {disk}-4; mkfs.ext4 -q {disk}-5; mkdir /by-hand /unminded
{absent} -o new
{absent} -o update -n node.startup -v automatic
{absent} -o update -n node.conn[0].timeo.login_timeout -v 5
{absent} -o update -n node.session.initial_login_retry_max -v {PATIENCE_WITH_THE_ABSENT // 5}
systemctl daemon-reload
mount -a
cat /etc/iscsi/initiatorname.iscsi
ls -la /etc/iscsi""", seconds=240)


def hold_by_hand(guest, portal, number):
    """File systems that systemd does not know to be a network's; one that nobody can unmount, because somebody sits in it to
    the very end, and one that nobody minds."""
    disk = f"/dev/disk/by-path/ip-{portal}-iscsi-{TARGET}-lun"
    guest.run(f"mount {disk}-4 /by-hand && mount {disk}-5 /unminded && date >/by-hand/{number} && "
              f"head -c 8M /dev/urandom >/unminded/{number} && sha256sum /unminded/{number} >>/var/tmp/by-hand && "
              "systemd-run -q --unit=holder -p DefaultDependencies=no -p KillMode=none -p IgnoreOnIsolate=yes "
              "-p WorkingDirectory=/by-hand sleep infinity")
    guest.run("sha256sum --quiet -c /var/tmp/by-hand")


def write(guest, number):
    """What has to be there later, and somebody who writes until the machine shuts down."""
    guest.run(" && ".join(f"head -c 4M /dev/urandom >{place}/{number} && sha256sum {place}/{number} >>/var/tmp/sums"
                          for place in PLACES))
    guest.run("systemd-run -q --unit=busy -p RequiresMountsFor=/by-uuid "
              "bash -c 'while dd if=/dev/zero of=/by-uuid/busy bs=64k count=200 conv=notrunc status=none; do :; done'")


def moment(journal, **wanted):
    """When it was said last, in seconds; None: never."""
    found = [entry for entry in journal if all(re.search(text, str(entry.get(field, ""))) for field, text in wanted.items())]
    return int(found[-1]["__MONOTONIC_TIMESTAMP"]) / 1e6 if found else None


def judge_shutdown(journal, places=PLACES):
    """Disks are unmounted before sessions end, sessions before the network, and the daemon is not stopped at all."""
    unmounted = {place: moment(journal, MESSAGE=f"^Unmounted .*{place}[.]$") for place in places}
    logouts = moment(journal, MESSAGE="^Stopping .*Logouts from iSCSI")
    logged_out = moment(journal, MESSAGE="^Stopped .*Logouts from iSCSI")
    network = moment(journal, MESSAGE="^Stopping .*Raise network interfaces")
    print(f"unmounted: {unmounted}; logouts from {logouts} to {logged_out}; network down: {network}", flush=True)
    for place, when in unmounted.items():
        check(when is not None and logouts is not None and when <= logouts,
              f"{place} was unmounted at {when}, the logouts began at {logouts}")
    check(logged_out is not None and network is not None and logged_out <= network,
          f"the logouts ended at {logged_out}, the network at {network}")
    check(moment(journal, MESSAGE="^Stopp(ing|ed) .*iSCSI initiator daemon[.]*$") is None, "the daemon was stopped")
    # Of the absent target the logins may say that it was.
    others = [entry for entry in journal if not {entry.get("UNIT"), entry.get("_SYSTEMD_UNIT")} & LOGINS]
    for bad in ("Failed unmounting", "I/O error", "timed out", "dependency failed"):
        found = [entry["MESSAGE"] for entry in others if bad.lower() in str(entry.get("MESSAGE", "")).lower()
                 and "/by-hand" not in entry["MESSAGE"]]
        check(not found, f"the journal has: {found[:3]}")


def judge_boot(guest):
    """Everything is mounted, with what was written; only the absent target is missed, and for no longer than configured."""
    state = guest.run("systemctl is-system-running --wait", ok=None, seconds=240).strip()
    failed = guest.run("systemctl --failed --plain --no-legend").split()
    check(failed[:1] in ([], ["iscsi.service"]) and len([word for word in failed if word.endswith(".service")]) <= 1,
          f"the system is {state}: {failed}")
    for place in PLACES:
        guest.run(f"findmnt -n -o SOURCE,OPTIONS {place}")
    guest.run("sha256sum --quiet -c /var/tmp/sums")
    guest.confined()
    said = guest.run("journalctl -b -k -q --grep 'recovery|recovering|orphan|I/O error|EXT4-fs error' || true")
    check(not said.strip(), f"a file system was not clean: {said}")
    times = guest.run("systemctl show iscsi.service -p ExecMainStartTimestampMonotonic -p ExecMainExitTimestampMonotonic "
                      "-p ExecMainStatus")
    values = dict(line.split("=") for line in times.split())
    took = (int(values["ExecMainExitTimestampMonotonic"]) - int(values["ExecMainStartTimestampMonotonic"])) / 1e6
    print(f"the logins took {took:.1f} s and ended with {values['ExecMainStatus']}", flush=True)
    check(took < PATIENCE_WITH_THE_ABSENT + 15, f"the logins took {took:.0f} s")


def _without_the_mark(guest):
    """systemd 255 and later are told by the unit alone to spare the daemon. Gives the name that it has then."""
    if int(guest.run("systemctl --version | sed -n '1s/^systemd \\([0-9]*\\).*/\\1/p'")) < 255:
        return "@iscsid"
    guest.run("mkdir -p /run/systemd/system/iscsid.service.d && printf '[Service]\\nExecStart=\\nExecStart=/usr/sbin/iscsid -f\\n' "
              ">/run/systemd/system/iscsid.service.d/unmarked.conf && systemctl daemon-reload && systemctl restart iscsid && "
              "systemctl show -p SurviveFinalKillSignal iscsid | grep =yes && "
              f"dd of=/dev/null bs=1M count=1 iflag=direct </dev/disk/by-path/*{TARGET}-lun-4")
    return "/usr/sbin/iscsid"


def judge_the_end(guest, names):
    """At the end of each shutdown, when all others were killed and all was unmounted, the daemon was still there."""
    with open(guest.serial, encoding="utf-8", errors="replace") as file:
        ends = re.findall(r"at the end: (.*)", file.read())
    wanted = [rf"\d+ {name} -f, 0 by hand\s*" for name in names]
    check(len(ends) == len(wanted) and all(map(re.fullmatch, wanted, ends)), f"the shutdowns ended with {ends}")


def boots_and_shuts_down():
    "disks by uuid, by path and under LVM, one target absent: again and again, in order and clean"
    with Lab() as lab:
        target = lab.tgtd()
        luns = [Lun(lab.disk(f"lun{number}", (96 + 16 * BOOTS) * MIB), number=number) for number in (1, 2, 3, 4, 5)]
        target.add(TARGET, luns)
        guest = Booted(lab)
        guest.up()
        portal = f"{HOST}:{target.port}"
        prepare(guest, portal, f"{HOST}:{lab.port()}")
        for boot in range(BOOTS):
            write(guest, boot)
            hold_by_hand(guest, portal, boot)
            guest.reboot()
            judge_boot(guest)
            judge_shutdown(guest.journal("-b", "-1"))
        names = ["@iscsid"] * BOOTS + [_without_the_mark(guest)]
        hold_by_hand(guest, portal, BOOTS)
        guest.power_off()
        judge_the_end(guest, names)
        wait_until(lambda: "Initiator:" not in target.admin("--op", "show", "--mode", "target").out, 5,
                   "the target to have no session")
        for lun in (luns[0], luns[1], luns[3], luns[4]):
            said = lab.run("dumpe2fs", "-h", lun.path).out
            check("needs_recovery" not in said and re.search(r"Filesystem state: +clean\n", said), f"{lun.path} is not clean")
            lab.run("e2fsck", "-fn", lun.path)


def _rounds(guest):
    return int(guest.run("cat /run/round"))


def goes_on(guest):
    """The load has done some more, and nothing has failed."""
    before = _rounds(guest)
    guest.run(f"for try in $(seq 240); do [ $(cat /run/round) -gt {before + 2} ] && break; systemctl -q is-active load || break; "
              f"sleep 0.5; done; systemctl is-active load && [ $(cat /run/round) -gt {before + 2} ]", seconds=150)


def daemon_pid(guest):
    return guest.run("systemctl show -p MainPID --value iscsid").strip()


def _replaced(guest, pid):
    guest.run(f"for try in $(seq 240); do now=$(systemctl show -p MainPID --value iscsid); [ $now != 0 -a $now != {pid} ] && "
              "systemctl -q is-active iscsid && exit; sleep 0.5; done; exit 1", seconds=150)
    goes_on(guest)


def _is_no_more_exposed(guest):
    """Than the README says."""
    with open(os.path.join(TREE, "README.md"), encoding="utf-8") as file:
        figure = re.search(r"`systemd-analyze security`\s+gives\s+it\s+([0-9]+[.][0-9])", file.read())
    check(figure, "the README has no figure of `systemd-analyze security`")
    guest.run(f"systemd-analyze security --no-pager --threshold={float(figure[1]) * 10:.0f} iscsid.service | grep -E '^✗|^→'; "
              "exit ${PIPESTATUS[0]}", quiet=True)


def _opener_is_named(guest):
    """Another user's process: it takes rights to look into it."""
    guest.run("systemd-run -q --unit=opener -p User=nobody -p SupplementaryGroups=disk perl -e "
              "'use Fcntl; sysopen(my $disk, shift, O_RDONLY | O_EXCL) or die; sleep 600' /dev/disk/by-path/*-lun-1 && "
              "for try in $(seq 120); do ls -l /proc/$(systemctl show -p MainPID --value opener)/fd | grep /dev/ublkb && break; "
              "sleep 0.5; done")
    said = guest.run("iscsiadm -m session -u 2>&1", ok=28)
    check(" is opened by perl (pid " in said, "the logout does not name who has the disk open")
    guest.run("systemctl stop opener")


def _journal_has_fields(guest, portal):
    """What the daemon logs is found by its fields, and is there once."""

    def entries(*matches):
        return [json.loads(line) for line in guest.run("journalctl -b -q -o json " + " ".join(matches)).splitlines()]

    logins = entries("ISCSI_EVENT=login", f"ISCSI_TARGET={TARGET}")
    check(len(logins) == 1, f"logins by their fields: {logins}")
    fields = {"_TRANSPORT": "journal", "_SYSTEMD_UNIT": "iscsid.service", "SYSLOG_IDENTIFIER": "iscsid", "PRIORITY": "5",
              "ISCSI_PORTAL": portal, "ISCSI_INTERFACE": "bound"}
    check(fields.items() <= logins[0].items(), f"not its fields: {logins[0]}")
    check("logged in to [iface: bound" in logins[0]["MESSAGE"], f"not its text: {logins[0]['MESSAGE']}")
    added = entries("ISCSI_EVENT=lun_added", "ISCSI_LUN=1", f"ISCSI_SESSION={logins[0]['ISCSI_SESSION']}")
    check(len(added) == 1 and added[0]["ISCSI_DEVICE"].startswith("/dev/"), f"units by their fields: {added}")
    said = guest.run("journalctl -b -q -o cat -u iscsid --grep 'logged in to'").splitlines()
    check(len(said) == 1, f"a line is there more than once: {said}")


def _metrics(guest, lab):
    """iscsi-exporter as the README has it: started by a scrape, as a user of systemd's making, in its sandbox; its metrics are
    those of the load, and promtool has nothing to say about them. Also at a port, though it has no network."""
    need("promtool")
    guest.run("mkdir -p /var/tmp/tree && cd /var/tmp/tree && set -e\n" +
              pages.script("README.md", "service_and_package", "exporter"), seconds=240)
    text = guest.run("curl -sS --fail --unix-socket /run/iscsid/metrics.sock http://localhost/metrics", quiet=True)
    path = os.path.join(lab.root, "metrics")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    with open(path, "rb") as file:
        said = lab.run("promtool", "check", "metrics", stdin=file)
    check(not said.out + said.err, f"promtool says: {said}")
    written, = re.findall(r'^iscsi_lun_request_bytes_total{.*kind="write"} ([0-9.e+]+)$', text, re.M)
    check("\niscsi_up 1\n" in text and float(written) >= MIB, f"it is not up, or the load wrote only {written}")
    status = guest.run("cat /proc/$(systemctl show -p MainPID --value iscsi-exporter)/status")
    user = int(re.search(r"^Uid:\t(\d+)", status, re.M)[1])
    check(61184 <= user <= 65519, f"its user is {user}, none of those that systemd makes")
    for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        check(line in status, f"it has not: {line}")
    text = guest.run("set -e\n" + pages.script("README.md", "service_and_package", "port"), seconds=60, quiet=True)
    check("\niscsi_up 1\n" in text, "not at its port")
    said = guest.run("journalctl -b -q -u iscsi-exporter -o cat")
    check("iscsi-exporter:" not in said and "Failed" not in said, f"its journal has: {said}")
    guest.run("systemctl disable --now iscsi-exporter.socket && dpkg --purge iscsi-suite-exporter && "
              "! pgrep -x iscsi-exporter && ! ls /run/iscsid/metrics.sock", seconds=120)


def service_and_package():
    """under load: its metrics are scraped;
    the service is restarted, its daemon killed, or stuck until the watchdog ends it; the package is installed
    anew, and refuses to go; then everything is let go of, and nothing is left"""
    with Lab() as lab:
        target = lab.tgtd()
        target.add(TARGET, [Lun(lab.disk("lun", 96 * MIB))])
        guest = Booted(lab)
        guest.up()
        guest.run("! dpkg-query -W -f='${Status}' open-iscsi | grep -w installed && "
                  "iscsiadm -m node | grep -E '^192.0.2.1:3260,[^ ]+ iqn.2026-01.org.example:before$'")
        guest.run("! find /etc/iscsi -type d ! -perm 700 -o -type f ! -perm 600 | grep .")
        node = f"iscsiadm -m node -T {TARGET} -p {HOST}:{target.port} -I bound"
        guest.run("set -e; until [ -e /sys/class/net/eth0 ]; do sleep 0.5; done; "
                  "iscsiadm -m iface -I bound -o new; iscsiadm -m iface -I bound -o update -n iface.ipaddress -v "
                  "10.0.2.15; iscsiadm -m iface -I bound -o update -n iface.hwaddress -v $(cat /sys/class/net/eth0/address)")
        guest.run("systemctl is-enabled iscsid.socket iscsi.service iscsi-logout.service && systemctl is-active iscsid.socket && "
                  "! systemctl is-active iscsid")  # nobody has asked for it yet
        guest.run(f"{node} -o new && {node} -l && mkfs.ext4 -q /dev/disk/by-path/*-lun-1 && mkdir /data && "
                  "mount /dev/disk/by-path/*-lun-1 /data && echo 0 >/run/round")
        guest.confined()
        _journal_has_fields(guest, f"{HOST}:{target.port}")
        _is_no_more_exposed(guest)
        guest.run(f"cat >/var/tmp/load <<'END'\n{load('/data')}\nEND\nsystemd-run -q --unit=load bash /var/tmp/load")
        goes_on(guest)
        _metrics(guest, lab)
        pid = daemon_pid(guest)
        guest.run("systemctl restart iscsid")
        _replaced(guest, pid)
        pid = daemon_pid(guest)
        guest.run(f"kill -9 {pid}")
        _replaced(guest, pid)
        guest.run("mkdir -p /run/systemd/system/iscsid.service.d && printf '[Service]\nWatchdogSec=10\n' "
                  ">/run/systemd/system/iscsid.service.d/soon.conf && systemctl daemon-reload && systemctl restart iscsid")
        goes_on(guest)
        pid = daemon_pid(guest)
        guest.run(f"kill -STOP {pid}")
        _replaced(guest, pid)
        check("watchdog" in guest.run("journalctl -b -q -u iscsid -o cat").lower(), "the watchdog did not bite")
        pid = daemon_pid(guest)
        guest.run("dpkg -i /var/tmp/iscsi-suite.deb", seconds=240)
        _replaced(guest, pid)
        guest.run("! dpkg --remove iscsi-suite", seconds=240)  # devices in use
        goes_on(guest)
        guest.confined()
        guest.run("systemctl stop load && umount /data")
        _opener_is_named(guest)
        guest.run("dpkg --remove iscsi-suite", seconds=240)
        guest.run("! pgrep iscsid && ! ls /dev/ublkb* /dev/nbd0p* 2>/dev/null && ! systemctl list-units --all --plain "
                  "--no-legend 'iscsi*' | grep -w active")
        check("Initiator:" not in target.admin("--op", "show", "--mode", "target").out, "a session is left at the target")
        said = guest.run("journalctl -b -k -q --grep 'I/O error|EXT4-fs error' || true").strip()
        check(not said, f"the kernel said: {said}")
        guest.power_off()


if __name__ == "__main__":
    scenarios(globals())
