#!/bin/sh
# Logs in to the targets that the kernel's command line, a root path of DHCP, /etc/iscsi/iscsi.initramfs and the boot firmware
# name, and prepares what keeps a root file system there served. Dracut's netroot and its queue call it.
#   iscsiroot WHY...   WHY: wanted (whether there is something to log in to), settled (at every idle moment: each target is
#                      tried once, as soon as there is a way to it), timeout, or the name of an interface that is up
PATH=/usr/sbin:/usr/bin:/sbin:/bin
. /lib/dracut-lib.sh
. /lib/net-lib.sh
# shellcheck source=tools/root_on_a_lun.sh
. /usr/lib/iscsiroot/root_on_a_lun.sh

why=${1:-}
marks=/tmp/iscsiroot # what was tried, and what there is a session with

netroots() {
  getargs netroot= | grep '^iscsi:.'
  [ ! -e /tmp/iscsiroot.dhcp ] || cat /tmp/iscsiroot.dhcp
}

# A way to it, or for a name to anywhere.
is_reachable() { # address
  if [ "$1" = firmware ] || ! getargbool 1 rd.iscsi.testroute; then
    return 0
  elif [ "$1" != "${1#*:}" ] || is_ip "$1"; then
    ip route get "$1" >/dev/null 2>&1
  else
    [ -n "$(ip route show; ip -6 route show default)" ]
  fi
}

# Without the secrets that may be in it.
without_secrets() { # netroot
  case $1 in
    *@*) echo "iscsi:...@${1##*@}" ;;
    *) echo "$1" ;;
  esac
}

# Each of these has the rest of a shell for itself, where it sets ISCSI_*.
use_netroot() { # netroot
  # A shell may end over words that are missing.
  # shellcheck disable=SC2154  # iscsi_* are parse_iscsi_root's
  (parse_iscsi_root "$1" && [ -n "$iscsi_target_ip" ] && [ -n "$iscsi_target_name" ]) || return
  parse_iscsi_root "$1"
  ISCSI_TARGET_NAME=$iscsi_target_name ISCSI_TARGET_IP=$iscsi_target_ip
  ISCSI_TARGET_PORT=${iscsi_target_port:-${ISCSI_TARGET_PORT:-}}
  ISCSI_USERNAME=${iscsi_username:-${ISCSI_USERNAME:-}} ISCSI_PASSWORD=${iscsi_password:-${ISCSI_PASSWORD:-}}
  ISCSI_IN_USERNAME=${iscsi_in_username:-${ISCSI_IN_USERNAME:-}}
  ISCSI_IN_PASSWORD=${iscsi_in_password:-${ISCSI_IN_PASSWORD:-}}
  if [ -n "${iscsi_netdev_name:-}" ]; then
    ISCSI_PARAMETERS="${ISCSI_PARAMETERS:-} iface.net_ifacename=$iscsi_netdev_name"
  elif [ -n "${iscsi_iface_name:-}" ]; then
    warn "netroot=$(without_secrets "$1"): there is no interface record '$iscsi_iface_name' here; name the network interface"
  fi
}

use_settings() { # address
  ISCSI_TARGET_IP=$1
}

# Where its targets are is the firmware's business.
use_firmware() {
  ISCSI_TARGET_IP=firmware ISCSI_TARGET_NAME=
}

# Neither ifupdown nor a lease that nobody renews takes the address away.
keep_network() { # address
  prepare_network "$1" || return
  ip -4 -o address show dev "$interface" dynamic | while read -r _ _ _ own _; do
    ip address change "$own" dev "$interface" valid_lft forever preferred_lft forever
  done
}

log_in_and_keep() {
  if [ -n "$ISCSI_TARGET_NAME" ]; then
    log_in "$ISCSI_TARGET_IP" || return
    keep_network "$ISCSI_TARGET_IP" || true # there is a session
  else
    log_in_to_firmware
  fi
}

# Whether all targets have been tried is in $all_tried.
try() { # command that sets ISCSI_*, its word
  number=$((number + 1))
  if [ -e "$marks/in.$number" ] || { [ "$why" = settled ] && [ -e "$marks/tried.$number" ]; }; then
    return
  fi
  ("$@" >/dev/null 2>&1 || exit 1; is_reachable "$ISCSI_TARGET_IP" || exit 2)
  case $? in
    0) : >"$marks/tried.$number" ;;
    1)
      : >"$marks/tried.$number"
      warn "netroot=$(without_secrets "$2") is not understood: iscsi:[USER:SECRET[:USER:SECRET]@]ADDRESS::[PORT]:[LUN]:TARGET"
      return
      ;;
    *)
      all_tried=
      return
      ;;
  esac
  is_running || start_daemon || fail "iscsid did not start: $(tail -n 5 "$log")"
  if ("$@" && log_in_and_keep); then
    : >"$marks/in.$number"
  else
    warn "iscsiroot: a login failed; iscsid says: $(tail -n 5 "$log")"
  fi
}

is_running() {
  [ -n "${daemon:-}" ] || is_logged_in
}

is_logged_in() {
  for mark in "$marks"/in.*; do
    [ ! -e "$mark" ] || return 0
  done
  return 1
}

fail() {
  stop_daemon
  warn "$1"
  exit 1
}

try_all() {
  number=0 all_tried=yes
  if [ -n "${ISCSI_AUTO:-}" ] && [ ! -e "$marks/no.firmware" ]; then
    if read_firmware; then # which has also set up the network
      try use_firmware
    else
      : >"$marks/no.firmware"
      warn "iscsiroot: $firmware"
    fi
  fi
  if [ -n "${ISCSI_TARGET_NAME:-}" ]; then
    for address in ${ISCSI_TARGET_IP:-}; do
      try use_settings "$address"
    done
  fi
  set -f
  # shellcheck disable=SC2046  # a word each
  set -- $(netroots)
  set +f
  for netroot in "$@"; do
    try use_netroot "$netroot"
  done
}

# dracut's number of tries, less than iscsistart's: its queue goes on.
ISCSI_PARAMETERS="node.session.initial_login_retry_max=3"
read_settings "$(getcmdline)"
if [ "$why" = wanted ]; then
  [ -n "${ISCSI_AUTO:-}" ] || { [ -n "${ISCSI_TARGET_NAME:-}" ] && [ -n "${ISCSI_TARGET_IP:-}" ]; } || [ -n "$(netroots)" ]
  exit
fi
if [ "$why" = settled ] && getargbool 0 rd.iscsi.waitnet && ! all_ifaces_setup; then
  exit 0
fi
mkdir -p "$marks"
if [ -z "${ISCSI_INITIATOR:-}" ] && [ -z "${ISCSI_AUTO:-}" ]; then
  [ -e "$marks/nameless" ] || warn "iscsiroot: this machine has no initiator name: give rd.iscsi.initiator="
  : >"$marks/nameless"
  exit 1
fi
try_all
if is_logged_in; then
  prepare_service
  [ -z "$all_tried" ] || : >/tmp/iscsiroot.over
elif [ -n "${daemon:-}" ]; then
  stop_daemon
fi
