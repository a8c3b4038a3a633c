#!/bin/bash
# In a guest: who uses a device is found, on loop devices, which have everything that ours have.
. "$(dirname "$0")/lib.sh" || exit 1

scratch=$(mktemp -d) && mount -t tmpfs scratch "$scratch" || exit 1
modprobe loop && modprobe dm_mod && partitioned_image "$scratch/image" use || exit 1
loop=$(losetup -fP --show "$scratch/image") || exit 1
disk=${loop#/dev/}
mkdir "$scratch/mnt" "$scratch/two  words"

busy=28 not_found=21
says "" guest-udev users "$disk"
says claimed guest-udev claim "$loop" exclusive
says "" guest-udev users loop99
fails $not_found guest-udev claim /dev/loop99 exclusive

# A mounted partition, seen from the disk; also in two places, and with a name that needs care.
mount "${loop}p1" "$scratch/mnt"
says "${loop}p1 is mounted on $scratch/mnt" guest-udev users "$disk"
says "${loop}p1 is mounted on $scratch/mnt" guest-udev users "${disk}p1"
says "" guest-udev users "${disk}p2"
fails $busy guest-udev claim "$loop" exclusive
says claimed guest-udev claim "$loop" shared
mount --bind "$scratch/mnt" "$scratch/two  words"
says "${loop}p1 is mounted on $scratch/mnt
${loop}p1 is mounted on $scratch/two  words" guest-udev users "$disk"
umount "$scratch/two  words" "$scratch/mnt"
says "" guest-udev users "$disk"

# A mount under a name of its own.
ln -s "${loop}p1" /dev/other-name
mount /dev/other-name "$scratch/mnt"
says "${loop}p1 is mounted on $scratch/mnt" guest-udev users "$disk"
umount "$scratch/mnt"

# A mount that only another namespace has: process 1's is named, others are at least in the way.
unshare --mount --propagation private bash -c "mount ${loop}p1 $scratch/mnt; touch $scratch/ready; exec sleep 1000" &
hidden=$!
until_true test -e "$scratch/ready"
says "" guest-udev users "$disk"
fails $busy guest-udev claim "$loop" exclusive
kill "$hidden"
wait "$hidden" 2>/dev/null
# Waits for its file system to be gone, which the kernel does behind the process's end.
until_true guest-udev claim "$loop" exclusive
mount "${loop}p1" "$scratch/mnt"
says "${loop}p1 is mounted on $scratch/mnt" unshare --mount --propagation private bash -c "umount $scratch/mnt; guest-udev users $disk"
umount "$scratch/mnt"

# Swap.
mkswap -q "${loop}p2" && swapon "${loop}p2"
says "${loop}p2 is swapped on" guest-udev users "$disk"
fails $busy guest-udev claim "$loop" exclusive
swapoff "${loop}p2"
says "" guest-udev users "$disk"

# Device mapper on a partition, another on that, and a file system on top.
echo "0 8192 linear ${loop}p2 0" | dmsetup create --noudevsync vg-lower
udevadm settle # makes the link
echo "0 4096 linear /dev/mapper/vg-lower 0" | dmsetup create --noudevsync vg-upper
udevadm settle
lower=$(basename "$(readlink -f /dev/mapper/vg-lower)") upper=$(basename "$(readlink -f /dev/mapper/vg-upper)")
mkfs.ext4 -q -F /dev/mapper/vg-upper && mount /dev/mapper/vg-upper "$scratch/mnt"
says "${loop}p2 is held by $lower (vg-lower)
/dev/$lower (vg-lower) is held by $upper (vg-upper)
/dev/$upper (vg-upper) is mounted on $scratch/mnt" guest-udev users "$disk"
fails $busy guest-udev claim "$loop" exclusive
umount "$scratch/mnt"
dmsetup remove vg-upper && dmsetup remove vg-lower
says "" guest-udev users "$disk"

# A loop device on a partition, another on that, and a file system on top.
inner=$(losetup -f --show "${loop}p2") && outer=$(losetup -f --show "$inner") || bad "no loop devices"
says "${loop}p2 is held by ${inner#/dev/}
$inner is held by ${outer#/dev/}" guest-udev users "$disk"
says "" guest-udev users "${disk}p1"
mkfs.ext4 -q -F "$outer" && mount "$outer" "$scratch/mnt"
says "${loop}p2 is held by ${inner#/dev/}
$inner is held by ${outer#/dev/}
$outer is mounted on $scratch/mnt" guest-udev users "$disk"
umount "$scratch/mnt"
losetup -d "$outer" && losetup -d "$inner"
until_true guest-udev claim "$loop" exclusive
says "" guest-udev users "$disk"

# Somebody who just has it open is nobody's user, but can be named.
sleep 1000 3<"${loop}p2" &
opener=$!
until_true grep -qx sleep "/proc/$opener/comm"
says "" guest-udev users "$disk"
says "${loop}p2 is opened by sleep (pid $opener)" guest-udev openers "$disk"
says "" guest-udev openers "${disk}p1"
kill "$opener"
wait "$opener" 2>/dev/null

# While a claim lives, nobody begins to use the device; its flush writes what the kernel holds of it.
mkfifo "$scratch/in" "$scratch/out"
guest-udev claim "$loop" exclusive <"$scratch/in" >"$scratch/out" &
claimer=$!
exec 3>"$scratch/in" 4<"$scratch/out"
read -r answer <&4
[[ $answer == claimed ]] || bad "not claimed"
mount "${loop}p1" "$scratch/mnt" 2>/dev/null && bad "a claimed device was mounted"
echo "dirty, and not written yet" | dd of="$loop" bs=1M seek=50 conv=notrunc status=none
grep -q "dirty, and not written yet" "$scratch/image" && bad "written without a flush"
echo >&3
read -r answer <&4
[[ $answer == flushed ]] || bad "not flushed"
holds grep -q "dirty, and not written yet" "$scratch/image"
exec 3>&- 4<&-
wait "$claimer" || bad "the claimer failed"
holds mount "${loop}p1" "$scratch/mnt"
umount "$scratch/mnt"
finish
