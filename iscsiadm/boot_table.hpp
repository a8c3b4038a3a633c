// What boot firmware says of targets: an iBFT, or an adapter's own table, as the kernel shows it
// (Documentation/ABI/testing/sysfs-ibft, sysfs-fs-iscsi_boot), and the boot path of Open Firmware. This is
// the part without files: text in, checked values out. Each value is bounded and of its kind, so that it
// fits into a record, a line and a path. Pure functions; any thread.
#pragma once

#include "base/result.hpp"
#include "base/wiped.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::adm {

/// A table as the kernel shows it: "target0/ip-addr" and the text of that file, without its newline. What
/// has no such file is missing.
using BootAttributes = std::map<std::string, base::WipedText, std::less<>>;

/// The interface that a target is reached through. Addresses are as the firmware has them, or empty.
struct BootNic {
    std::string net_device;                 ///< its name in this system; empty where the kernel does not tell
    std::string mac;                        ///< six octets in hexadecimal, with colons
    bool dhcp = false;                      ///< the firmware's values came from DHCP
    std::string address;                    ///< IPv4 or IPv6
    std::optional<std::uint8_t> prefix_len; ///< bits: 0..32, IPv6 0..128
    std::string subnet_mask;                ///< IPv4
    std::string gateway;
    std::string primary_dns;
    std::string secondary_dns;
    std::optional<std::uint16_t> vlan; ///< 0: none
};

struct BootTarget {
    std::string initiator_name; ///< may be empty: the machine's own then
    std::string isid;           ///< may be empty
    BootNic nic;
    std::string name;
    std::string address; ///< a host as records have it
    std::uint16_t port = 3260;
    std::string lun; ///< as the firmware writes it; may be empty
    base::WipedText username;
    base::WipedText password;
    base::WipedText username_in;
    base::WipedText password_in;
};

struct BootTargets {
    std::vector<BootTarget> usable;
    std::vector<std::string> unusable; ///< one line each, safe to print: which and why
};

/// Of one table, the most that there may be of targets, and of interfaces (as open-iscsi).
inline constexpr std::size_t boot_blocks_max = 255;

/// The attributes that are asked for, by the folder's kind.
inline constexpr std::array initiator_attributes{"initiator-name", "isid"};
inline constexpr std::array nic_attributes{
    "flags",   "index",       "mac",           "ip-addr", "prefix-len", "subnet-mask",
    "gateway", "primary-dns", "secondary-dns", "dhcp",    "origin",     "vlan",
};
inline constexpr std::array target_attributes{
    "flags",
    "index",
    "target-name",
    "ip-addr",
    "port",
    "lun",
    "nic-assoc",
    "chap-name",
    "chap-secret",
    "rev-chap-name",
    "rev-chap-name-secret",
};
/// Where the name of an interface's device stands in BootAttributes, behind the folder's name.
inline constexpr std::string_view net_device_attribute = "net-device";

/// The targets of a table in the order of their numbers. `table` is its name for complaints. Blocks that the
/// firmware marks as not valid (flags 0) are left out without a word.
BootTargets parse_boot_table(std::string_view table, const BootAttributes& attributes);

/// Open Firmware's /chosen/bootpath: DEVICE:iscsi,KEY=VALUE,... (the keys are IBM's, as open-iscsi reads
/// them). Nothing when it is no iSCSI path. `mac` is the text of its device's address; what it is checked
/// for. Errc::invalid says what is wrong.
base::Result<std::optional<BootTarget>> parse_boot_path(std::string_view path, std::string_view mac);

/// The device of a boot path, which names a folder below the device tree: "/pci@.../ethernet@1". Empty when
/// it is no iSCSI path or could lead elsewhere.
std::string_view boot_path_device(std::string_view path);

} // namespace iscsi::adm
