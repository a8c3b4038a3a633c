#!/bin/bash
# names.sh ublk|nbd, in a guest with udev: a device of ours has its names when it is said to be there, keeps them while no
# daemon serves it, and they are gone when it is said to be gone. Others' devices are left alone.
. "$(dirname "$0")/lib.sh" || exit 1

kind=$1
scratch=$(mktemp -d) && mount -t tmpfs scratch "$scratch" || exit 1
modprobe "$([[ $kind == ublk ]] && echo ublk_drv || echo nbd)" && partitioned_image "$scratch/image" mine || exit 1
mkfifo "$scratch/in" "$scratch/out"
path=ip-192.0.2.1:3260-iscsi-iqn.2003-01.org.example:disk-lun-0
id=36001405f18ad7a5a8cd4c1e9d1f2a3b4 wwn=0x6001405f18ad7a5a8cd4c1e9d1f2a3b4
properties=(ID_SCSI=1 ID_BUS=scsi ID_TYPE=disk ID_SERIAL="$id" ID_WWN="${wwn::18}" ID_WWN_WITH_EXTENSION="$wwn" ID_PATH="$path"
  ID_MODEL=$'disk\nSYSTEMD_WANTS=evil.service' ID_REVISION='"' ID_VENDOR_ENC='LIO-ORG\x20'
  ISCSI_ROTATIONAL=0 ISCSI_IO_TIMEOUT_MS=45000 ISCSI_MAX_SECTORS_KB=1000)

start() { # verb: sets name and server; the first two words of what it says are checked
  guest-udev "$1" "$kind" c0ffee "$scratch/image" "$path" "${properties[@]}" <"$scratch/in" >"$scratch/out" &
  server=$!
  exec 3>"$scratch/in" 4<"$scratch/out"
  read -r -t 100 word name links <&4
  [[ $word == serving ]] || { bad "not serving: $word $name" && finish; }
}

# A device like ours, but somebody else's; the file is of one of ours that had that name.
if [[ $kind == nbd ]]; then
  guest-udev write nbd7 c0ffed ID_PATH="$path" ID_SERIAL="$id" || bad "not written"
  qemu-nbd -f raw -c /dev/nbd7 "$scratch/image" &
  until_true test -e /sys/block/nbd7/pid
  udevadm settle
  scheduler=$(cat /sys/block/nbd7/queue/scheduler)
fi

start serve
disk=/dev/$name
says "/dev/disk/by-path/$path" echo "${links%% *}"
for link in "by-path/$path" "by-id/scsi-$id" "by-id/wwn-$wwn"; do
  links_to "/dev/disk/$link" "$disk"
  links_to "/dev/disk/$link-part1" "${disk}p1"
  links_to "/dev/disk/$link-part2" "${disk}p2"
done
links_to /dev/disk/by-label/mine "${disk}p1"
links_to "/dev/disk/by-uuid/$(blkid -o value -s UUID "${disk}p1")" "${disk}p1"
links_to /dev/disk/by-partlabel/mine-two "${disk}p2"
links_to "/dev/disk/by-partuuid/$(blkid -o value -s PARTUUID "${disk}p2")" "${disk}p2"

says 0000000000c0ffee udev_knows ISCSI_COOKIE "$disk"
says disk_SYSTEMD_WANTS=evil.service udev_knows ID_MODEL "$disk"
says "" udev_knows SYSTEMD_WANTS "$disk"
says _ udev_knows ID_REVISION "$disk"
says 'LIO-ORG\x20' udev_knows ID_VENDOR_ENC "$disk"
says "$id" udev_knows ID_SERIAL "${disk}p1"
says "$path" udev_knows ID_PATH "${disk}p2"
says gpt udev_knows ID_PART_TABLE_TYPE "$disk"
says ext4 udev_knows ID_FS_TYPE "${disk}p1"
says "" udev_knows ID_FS_TYPE "${disk}p2"

queue=/sys/block/$name/queue
holds grep -q '\[none\]' "$queue/scheduler"
file_says 0 "$queue/rotational"
file_says "$(udev_knows ISCSI_IO_TIMEOUT_MS "$disk")" "$queue/io_timeout"
file_says "$(udev_knows ISCSI_MAX_SECTORS_KB "$disk")" "$queue/max_sectors_kb"
file_says "$(udev_knows ISCSI_NR_REQUESTS "$disk")" "$queue/nr_requests"

# A new file system is named when its maker closes the device; what the administrator has set stays.
echo mq-deadline >"$queue/scheduler"
mkfs.ext4 -q -F -L new "${disk}p2"
udevadm trigger "$disk"
udevadm settle
links_to /dev/disk/by-label/new "${disk}p2"
holds grep -q '\[mq-deadline\]' "$queue/scheduler"

# Nothing changes while nobody serves it, nor when it is served again.
before=$(ls -i "/dev/disk/by-path/$path" "/dev/disk/by-path/$path-part1")
kill -9 "$server"
wait "$server" 2>/dev/null
exec 3>&- 4<&-
says "$before" ls -i "/dev/disk/by-path/$path" "/dev/disk/by-path/$path-part1"
old_name=$name
start take-back
says "$old_name" echo "$name"
udevadm settle
says "$before" ls -i "/dev/disk/by-path/$path" "/dev/disk/by-path/$path-part1"
holds grep -q '\[mq-deadline\]' "$queue/scheduler"

# All is gone when it says so, and soon. A ublk device's names go even while somebody has it open.
[[ $kind == nbd ]] || exec 5<"$disk"
removal=$SECONDS
echo >&3
read -r -t 100 answer <&4
says removed echo "$answer"
((SECONDS - removal < 10)) || bad "the removal waited for something that did not come"
no_links_to "$name"
[[ ! -e ${disk}p1 && ! -e /sys/class/block/${name}p1 ]] || bad "the partition is left"
[[ ! -e /run/iscsid/udev/$name ]] || bad "the properties are left"
[[ ! -e $disk && ! -e /sys/class/block/$name ]] || bad "the device is left"
exec 5<&-
wait "$server" || bad "the server failed"

if [[ $kind == nbd ]]; then
  says "$scheduler" cat /sys/block/nbd7/queue/scheduler
  says "" udev_knows ISCSI_COOKIE /dev/nbd7
  says "" find /dev/disk/ -path '*/by-path/*' -lname '*/nbd7*'
  links_to /dev/disk/by-label/mine /dev/nbd7p1
  qemu-nbd -d /dev/nbd7 >/dev/null
  udevadm settle
  no_links_to nbd7
fi
finish
