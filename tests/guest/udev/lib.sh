#!/bin/bash
# For the scripts beside this file: what they check with. Sourced, in a guest.
set -uo pipefail
PATH=${ISCSI_BUILD:-}/tests/guest/udev:$PATH
failures=0

bad() {
  printf 'FAILED: %s\n' "$@"
  failures=$((failures + 1))
}

# What a command says, every line of it and nothing else.
says() { # expected command...
  local expected=$1 got
  shift
  got=$("$@" 2>&1)
  [[ $got == "$expected" ]] || bad "$*" "  expected: $expected" "  got:      $got"
}

# Waits, half a minute at most, for what another process is about to do.
until_true() { # command...
  local i
  for ((i = 0; i < 300; i++)); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.1
  done
  bad "never: $*"
}

holds() { "$@" || bad "$*"; }

fails() { # status command...
  local expected=$1 got=0
  shift
  "$@" >/dev/null 2>&1 || got=$?
  [[ $got -eq $expected ]] || bad "$*: status $got, not $expected"
}

# The file, its line ends as blanks.
file_says() { # expected file
  local got
  got=$(cat "$2" 2>&1)
  [[ $got == "$1" ]] || bad "$2 has '$got', not '$1'"
}

links_to() { # link device
  [[ $(readlink -f "$1") == "$2" ]] || bad "$1 is no link to $2"
}

no_links_to() { # kernel name, with its partitions
  local left
  mkdir -p /dev/disk
  left=$(find /dev/disk -lname "*/$1" -o -lname "*/$1p[0-9]*" | grep -v /by-diskseq/)
  [[ -z $left ]] || bad "links are left:" "$left"
}

udev_knows() { # key device: its value in udev's database
  udevadm info --query=property --property="$1" --value "$2"
}

# A disk image with two partitions, a file system with a label on the first.
partitioned_image() { # file label
  truncate -s 64M "$1"
  printf 'label: gpt\nsize=20M,name=%s-one\nsize=20M,name=%s-two\n' "$2" "$2" | sfdisk -q "$1" &&
    mkfs.ext4 -q -F -E offset=1048576 -L "$2" "$1" 16M
}

finish() {
  [[ $failures -eq 0 ]] || exit 1
  echo "passed"
  exit 0
}
