// What udev is told of a logical unit: the properties that its own scsi_id and path_id would find on a disk
// of the kernel's initiator, so that rules, fstab and tools know the unit by the same names. Pure; any
// thread. Form: systemd 252, src/udev/scsi_id and udev-builtin-path_id.c.
#pragma once

#include "block/device_names.hpp"
#include "block/kernel_device.hpp"
#include "scsi/lun_facts.hpp"

namespace iscsi::shard {

/// The texts in `facts` are the target's: blanks and what no link may hold are '_', as udev writes them.
/// Without a valid `identity` ID_PATH is left out.
block::UdevProperties udev_properties(const scsi::LunFacts& facts, const block::DeviceIdentity& identity);

} // namespace iscsi::shard
