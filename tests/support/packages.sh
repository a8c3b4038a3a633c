# shellcheck shell=bash disable=SC2034
# Sourced by ./demo, ./bench and ./check: which Debian packages each needs, and installing the missing ones.
# Services that come with a package (tgt, istgt, isnsd, multipath-tools, apparmor, prometheus) are not left running or
# enabled on the machine.

build_packages=(g++ cmake ninja-build pkg-config liburing-dev libisal-dev libssl-dev libfmt-dev
  nlohmann-json3-dev libexpected-dev libnl-3-dev libnl-genl-3-dev libmount-dev libsystemd-dev libmicrohttpd-dev prometheus-cpp-dev)
demo_packages=("${build_packages[@]}" tgt libnbd-bin qemu-utils procps)
bench_packages=("${build_packages[@]}" python3 libiscsi-dev tgt fio valgrind qemu-system-x86 apparmor busybox-static kmod cpio
  xz-utils udev util-linux)
check_packages=("${demo_packages[@]}" git clang clang-format clang-tidy binutils python3 catch2 libclang-rt-14-dev libiscsi-dev
  libiscsi-bin libnbd-dev nftables istgt open-isns-server open-isns-utils fio e2fsprogs util-linux mount
  qemu-system-x86 mmdebstrap dpkg-dev debhelper dh-apparmor apparmor busybox-static kmod cpio xz-utils udev
  xfsprogs sg3-utils fdisk iproute2 dmsetup lvm2 multipath-tools strace groff-base valgrind prometheus systemd curl)

missing_packages() { # package...
  local package
  for package in "$@"; do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || printf '%s\n' "$package"
  done
}

install_packages() { # log-file package...
  local log=$1 policy=/usr/sbin/policy-rc.d missing status=0
  shift
  mapfile -t missing < <(missing_packages "$@")
  [[ ${#missing[@]} -gt 0 ]] || return 0
  if [[ $(id -u) -ne 0 ]]; then
    echo "missing Debian packages: ${missing[*]}; run this as root, or install them first" >&2
    return 1
  fi
  echo "installing ${missing[*]}"
  # A target daemon that a package would start could take the port of one that is wanted here.
  local ours=no
  if [[ ! -e $policy ]]; then
    ours=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  { DEBIAN_FRONTEND=noninteractive apt-get update &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || status=$?
  [[ $ours == no ]] || rm -f "$policy"
  local package
  local -A services=([tgt]=tgt [istgt]=istgt [open-isns-server]=isnsd [multipath-tools]='multipathd.service multipathd.socket'
    [apparmor]=apparmor.service [prometheus]=prometheus.service)
  for package in "${!services[@]}"; do
    if [[ " ${missing[*]} " == *" $package "* ]] && command -v systemctl >/dev/null; then
      # shellcheck disable=SC2086  # a list of words
      systemctl disable ${services[$package]} >>"$log" 2>&1 || true
    fi
  done
  if [[ $status -ne 0 ]]; then
    echo "installing packages failed:" >&2
    tail -n 20 "$log" >&2
    return 1
  fi
}
