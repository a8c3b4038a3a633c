// iscsistart -N: the interfaces that boot firmware names get the addresses that it names. rtnetlink through
// libnl, which the daemon has already: unlike the older ioctls it knows IPv6 and VLANs, and says what went
// wrong. Blocks; one thread.
#pragma once

#include "boot_table.hpp"

#include <string>
#include <vector>

namespace iscsi::tools {

/// Brings up the interface of each target (found by the device that the kernel names, else by its MAC
/// address; with a VLAN, one of ours above it), gives it its address, a route to the target where that is
/// behind the gateway, and the default route where there is none. Values that the firmware has of DHCP are
/// used as they are. Writes `root`/run/net-DEVICE.conf, which tells the scripts of an initramfs, and what
/// comes behind them, of address and name servers (the form is klibc's ipconfig). What is there already is
/// left. Says on stdout what it does, as open-iscsi, and on stderr what went wrong; gives whether all went
/// well.
bool set_up_network(const std::string& root, const std::vector<adm::BootTarget>& targets);

} // namespace iscsi::tools
