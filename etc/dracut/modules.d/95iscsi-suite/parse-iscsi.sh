#!/bin/sh
# Hook "cmdline" of dracut, which reads it into its own shell: whether there is something to log in to. The network comes up
# where $netroot is set, and when it is up dracut's netroot calls /sbin/iscsiroot. After a root path of DHCP this is read
# once more, with that in $netroot. man dracut.cmdline.
# shellcheck disable=SC2034,SC2154  # variables are dracut's

if [ "${root%%:*}" = iscsi ] || [ -n "$(getarg iscsiroot=)" ]; then
  die "root=iscsi: and iscsiroot= are not supported; give netroot=iscsi:..., and root= the file system (UUID=...)"
fi

case ${netroot:-} in
  iscsi:?*)
    if ! getargs netroot= | grep -qxF -e "$netroot"; then
      [ "${root%6}" != dhcp ] || die "root=dhcp does not say which file system it is; give netroot=dhcp, and root=UUID=..."
      (umask 077 && echo "$netroot" >/tmp/iscsiroot.dhcp)
    fi
    ;;
esac

case ${netroot:-iscsi} in
  iscsi | iscsi:*)
    if /sbin/iscsiroot wanted; then
      netroot=iscsi:
      rootok=1
      modprobe -b -q -a iscsi_boot_sysfs iscsi_ibft
      # Not every handler of the network says when it is up. And once more when time runs out.
      /sbin/initqueue --settled --unique --name iscsiroot /sbin/iscsiroot settled
      /sbin/initqueue --timeout --unique --name iscsiroot /sbin/iscsiroot timeout
      echo "${DRACUT_SYSTEMD:+systemctl -q is-active initrd-root-device.target ||} [ -e /tmp/iscsiroot.over ]" \
        >"$hookdir/initqueue/finished/iscsiroot.sh"
    fi
    ;;
esac
