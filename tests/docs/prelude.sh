# shellcheck shell=bash
# What the pages' "instead:" lines call, in the shell of tests/docs/run.py: what a reader has and a guest has not.

iqn=iqn.2026-01.org.example:disk

a_target() { # size: tgtd with a target, which shows a disk of that size, or none without one
  tgtd && tgtadm --lld iscsi --op new --mode target --tid 1 --targetname "$iqn" || return
  if [[ $# -gt 0 ]]; then
    truncate -s "$1" /run/disk
    tgtadm --lld iscsi --op new --mode logicalunit --tid 1 --lun 1 --backing-store /run/disk || return
  fi
  tgtadm --lld iscsi --op bind --mode target --tid 1 --initiator-address 127.0.0.1
}

discovered() { iscsiadm -m discovery -t st -p 127.0.0.1; }

forgotten() { iscsiadm -m node -o delete && iscsiadm -m discoverydb -t st -p 127.0.0.1 -o delete; }

# A device helper of it may live a little longer.
wait_for_the_end() { while pgrep -x iscsid >/dev/null; do read -r -t 0.1 <>/run/never; done; }

end_daemon() {
  iscsiadm -k 0
  wait_for_the_end
}

restart_daemon() {
  pkill -o -x iscsid
  wait_for_the_end
  iscsid
}

# Debian's open-iscsi in the place of ours, and ours again.
to_open_iscsi() { PATH=$OPEN_ISCSI:$PATH && hash -r && iscsid; }

to_ours() { end_daemon && PATH=${PATH#*:} && hash -r && iscsid; }

[[ -e /run/never ]] || [[ ! -d /run/guest ]] || mkfifo /run/never
