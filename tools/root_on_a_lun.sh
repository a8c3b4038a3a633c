# What a script of an initramfs does to have its root file system on a LUN: of initramfs-tools and of dracut, which read
# this file (busybox's ash, dash, bash). It logs in and prepares what keeps the root served: the daemon runs from memory,
# here and in the system, and the system leaves its network interface alone.
# shellcheck shell=sh

memory=/run/iscsiroot # the program iscsid-in-memory has this path in it
image=/usr/lib/iscsiroot # where the initramfs has what iscsi_memory_copy has laid down
units=/run/systemd/system
log=/run/initramfs/iscsid.log
# A target that is away for long is waited for: errors would be the end of a root file system.
replacement_timeout=86400

# Sets ISCSI_*: of /etc/iscsi.initramfs, of the words that the kernel's command line has (open-iscsi's, and dracut's for the
# same), and the initiator's name.
# shellcheck disable=SC2034  # some are for the script alone
read_settings() { # command line
  if [ -r /etc/iscsi.initramfs ]; then
    . /etc/iscsi.initramfs
  fi
  set -f
  for word in $1; do
    value=${word#*=}
    case $word in
      iscsi_auto | iscsi_firmware | rd.iscsi.firmware | rd.iscsi.firmware=[1yY]* | rd.iscsi.firmware=on) ISCSI_AUTO=yes ;;
      iscsi_initiator=* | rd.iscsi.initiator=*) ISCSI_INITIATOR=$value ;;
      iscsi_target_name=* | rd.iscsi.target.name=*) ISCSI_TARGET_NAME=$value ;;
      iscsi_target_ip=* | rd.iscsi.target.ip=*) ISCSI_TARGET_IP=$value ;;
      iscsi_target_port=* | rd.iscsi.target.port=*) ISCSI_TARGET_PORT=$value ;;
      iscsi_target_group=* | rd.iscsi.target.group=*) ISCSI_TARGET_GROUP=$value ;;
      iscsi_username=* | rd.iscsi.username=*) ISCSI_USERNAME=$value ;;
      iscsi_password=* | rd.iscsi.password=*) ISCSI_PASSWORD=$value ;;
      iscsi_in_username=* | rd.iscsi.in.username=*) ISCSI_IN_USERNAME=$value ;;
      iscsi_in_password=* | rd.iscsi.in.password=*) ISCSI_IN_PASSWORD=$value ;;
      iscsi_param=* | rd.iscsi.param=*) ISCSI_PARAMETERS="${ISCSI_PARAMETERS:-} $value" ;;
      rd.iscsi.login_retry_max=*) ISCSI_PARAMETERS="${ISCSI_PARAMETERS:-} node.session.initial_login_retry_max=$value" ;;
    esac
  done
  set +f
  name_file=$image/initiatorname.iscsi
  if [ -n "${ISCSI_INITIATOR:-}" ]; then
    [ -e "$name_file" ] || echo "InitiatorName=$ISCSI_INITIATOR" >"$name_file"
  elif [ -e "$name_file" ]; then
    ISCSI_INITIATOR=$(sed -n 's/^InitiatorName=//p' "$name_file")
  fi
}

# Its messages are in $log.
start_daemon() {
  mkdir -p "$memory" /run/iscsid && chmod 0711 /run/iscsid
  if [ ! -e "$memory/iscsid-in-memory" ]; then
    mount -t tmpfs -o mode=0700,nosuid,nodev iscsiroot "$memory" && cp -a "$image/." "$memory/" || return
  fi
  # The number is for the system's iscsid, which takes over.
  # shellcheck disable=SC2016  # the inner shell's words
  OPENSSL_CONF=/dev/null sh -c 'echo $$ >/run/iscsid/initramfs.pid
    PATH=$1:$PATH exec setsid @iscsid -f -c "$1/iscsid.conf" -i "$1/initiatorname.iscsi"' \
    sh "$memory" </dev/null >"$log" 2>&1 &
  daemon=$!
  tries=0
  until [ -S /run/iscsid/control.sock ]; do
    tries=$((tries + 1))
    [ "$tries" -le 60 ] && kill -0 "$daemon" 2>/dev/null || return
    sleep 1
  done
}

# The one that was started, when it is of no use: neither the system's own nor the next one here is to meet it.
stop_daemon() {
  if [ -n "${daemon:-}" ]; then
    kill "$daemon" 2>/dev/null
    wait "$daemon"
  fi
  rm -f /run/iscsid/initramfs.pid /run/iscsid/control.sock
}

# Not from memory: the tables of the firmware are read before there is a copy.
iscsistart() {
  "$image/ld.so" --library-path "$image/lib" "$image/iscsistart" "$@"
}

# What boot firmware says: its addresses stand in for ip=, its initiator name for one that nobody has given. Fails with the
# reason in $firmware.
read_firmware() {
  firmware=$(iscsistart -f) || return
  iscsistart -N
  firmware_ip=$(printf '%s\n' "$firmware" | sed -n 's/^node\.conn\[0\]\.address = //p')
  firmware_name=$(printf '%s\n' "$firmware" | sed -n 's/^iface\.initiatorname = //p' | head -n 1)
  if [ -z "${ISCSI_INITIATOR:-}" ] && [ -n "$firmware_name" ]; then
    ISCSI_INITIATOR=$firmware_name
    echo "InitiatorName=$firmware_name" >"$name_file"
  fi
}

# To all its targets; one session is enough.
log_in_to_firmware() {
  iscsistart -c "$memory/iscsid.conf" -P node.session.timeo.replacement_timeout="$replacement_timeout" -b || return
  for address in $firmware_ip; do
    prepare_network "$address" || true # no way to this one: it has no session either
  done
}

# As ISCSI_* say; ISCSI_PARAMETERS are keys of the record (key=value), the last of a key counts.
log_in() { # address
  address=$1
  set -f --
  for parameter in node.session.timeo.replacement_timeout="$replacement_timeout" ${ISCSI_PARAMETERS:-}; do
    set -- "$@" -P "$parameter"
  done
  set +f
  iscsistart -c "$memory/iscsid.conf" -i "${ISCSI_INITIATOR:-}" -t "$ISCSI_TARGET_NAME" -a "$address" \
    -p "${ISCSI_TARGET_PORT:-3260}" -g "${ISCSI_TARGET_GROUP:-1}" \
    ${ISCSI_USERNAME:+-u "$ISCSI_USERNAME"} ${ISCSI_PASSWORD:+-w "$ISCSI_PASSWORD"} \
    ${ISCSI_IN_USERNAME:+-U "$ISCSI_IN_USERNAME"} ${ISCSI_IN_PASSWORD:+-W "$ISCSI_IN_PASSWORD"} "$@"
}

# What the system's init finds in /run: the daemon is the copy in memory, which needs nothing of the root to start, with
# settings from there too. It starts early and takes over from the one here.
prepare_service() {
  mkdir -p "$units/iscsid.service.d" "$units/run-iscsiroot.mount.d" "$units/sysinit.target.wants"
  # Who would start the next one needs the root for that, and nobody serves it then: no stop, no restart, no watchdog.
  cat >"$units/iscsid.service.d/iscsiroot.conf" <<END
[Unit]
RefuseManualStop=yes
[Service]
WatchdogSec=0
Environment=OPENSSL_CONF=/dev/null
ExecStart=
ExecStart=@$memory/iscsid-in-memory @iscsid -f -c $memory/iscsid.conf -i $memory/initiatorname.iscsi
END
  ln -sfn /lib/systemd/system/iscsid.service "$units/sysinit.target.wants/iscsid.service"
  printf '[Unit]\nDefaultDependencies=no\n' >"$units/run-iscsiroot.mount.d/iscsiroot.conf"
}

# ifupdown does nothing at boot with what its state says is up; at shutdown it is told to leave it out. One call for each
# address that was logged in to; DEVICE is the interface where no route tells.
prepare_network() { # address
  interface=$(ip route get "$1" 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)
  interface=${interface:-${DEVICE:-}}
  [ -n "$interface" ] || return
  echo "$interface" >/run/initramfs/open-iscsi.interface
  mkdir -p /run/network "$units/networking.service.d"
  # Of a VLAN also what it is on.
  for device in "$interface" $(sed -n 's/^Device: *//p' "/proc/net/vlan/$interface" 2>/dev/null); do
    echo "$device" >"/run/network/ifstate.$device"
    ln -sfn /dev/null "$units/ifup@$device.service"
  done
  excluded=
  for state in /run/network/ifstate.*; do
    excluded="$excluded --exclude=${state#/run/network/ifstate.}"
  done
  cat >"$units/networking.service.d/iscsiroot.conf" <<END
[Service]
ExecStop=
ExecStop=/sbin/ifdown -a --read-environment --exclude=lo$excluded
END
}
