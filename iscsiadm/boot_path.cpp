// Open Firmware's boot path. Its words are IBM's: iname is the target, itname the initiator.
#include "boot_table.hpp"

#include "base/text.hpp"
#include "boot_values.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace iscsi::adm {
namespace {

using base::Errc;
using base::fail;
using base::Result;

/// What stands behind the device: "iscsi,ciaddr=...,...". Empty when the path is not iSCSI's.
std::string_view arguments_of(std::string_view path) {
    const std::size_t colon = path.find(':');
    std::string_view arguments = colon == std::string_view::npos ? "" : path.substr(colon + 1);
    auto words = base::split(arguments, ',');
    return std::ranges::find(words, "iscsi") == words.end() ? std::string_view() : arguments;
}

/// A key that says where something goes that is text.
std::string* place_of(BootTarget& target, std::string_view key) {
    const std::array<std::pair<std::string_view, std::string*>, 8> places{{
        {"itname", &target.initiator_name},
        {"iname", &target.name},
        {"siaddr", &target.address},
        {"ilun", &target.lun},
        {"isid", &target.isid},
        {"ciaddr", &target.nic.address},
        {"subnet-mask", &target.nic.subnet_mask},
        {"giaddr", &target.nic.gateway},
    }};
    auto found = std::ranges::find(places, key, &std::pair<std::string_view, std::string*>::first);
    return found == places.end() ? nullptr : found->second;
}

base::WipedText* secret_place_of(BootTarget& target, std::string_view key) {
    return key == "ichapid"   ? &target.username
           : key == "ichappw" ? &target.password
           : key == "chapid"  ? &target.username_in
           : key == "chappw"  ? &target.password_in
                              : nullptr;
}

/// Words that are none of these, and blocks behind the last one, are other parts of the boot's business.
Result<void> take(BootTarget& target, std::string_view word) {
    const std::size_t sign = word.find('=');
    const std::string_view key = word.substr(0, sign);
    if (sign == std::string_view::npos) {
        target.nic.dhcp = target.nic.dhcp || key == "bootp" || key == "dhcpv6";
        return {};
    }
    std::string_view value = word.substr(sign + 1);
    if (key == "iport" || key == "ilun") {
        value = value.substr(0, value.find(':')); // a partition may stand behind the last one
    }
    if (key == "iport") {
        return boot_number(key, value, UINT16_MAX).map([&](std::uint16_t port) { target.port = port; });
    }
    if (key == "dhcp") {
        target.nic.dhcp = true;
        return check_boot_address(key, value);
    }
    if (base::WipedText* secret = secret_place_of(target, key); secret != nullptr) {
        *secret = base::WipedText(value);
    } else if (std::string* place = place_of(target, key); place != nullptr) {
        *place = value;
    }
    return {};
}

} // namespace

std::string_view boot_path_device(std::string_view path) {
    const std::string_view device = path.substr(0, path.find(':'));
    const bool is_inside = device.starts_with('/') && device.find("..") == std::string_view::npos &&
                           base::printable(device) == device;
    return is_inside && !arguments_of(path).empty() ? device : std::string_view();
}

Result<std::optional<BootTarget>> parse_boot_path(std::string_view path, std::string_view mac) {
    const std::string_view arguments = arguments_of(path);
    if (arguments.empty()) {
        return std::nullopt;
    }
    BootTarget target;
    target.nic.mac = mac;
    for (std::string_view word : base::split(arguments, ',')) {
        if (auto taken = take(target, word); !taken) {
            return fail(std::move(taken.error()));
        }
    }
    if (target.name.empty() || target.address.empty()) {
        return fail(Errc::invalid, fmt::format("{} is missing", target.name.empty() ? "iname" : "siaddr"));
    }
    if (auto checked = check_boot_target(target); !checked) {
        return fail(std::move(checked.error()));
    }
    return std::optional<BootTarget>(std::move(target));
}

} // namespace iscsi::adm
