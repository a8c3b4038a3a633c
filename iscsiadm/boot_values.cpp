#include "boot_values.hpp"

#include "base/limits.hpp"
#include "base/names.hpp"
#include "base/text.hpp"
#include "boot_records.hpp"
#include "records/secret_reference.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace iscsi::adm {
namespace {

using base::Errc;
using base::fail;
using base::Result;

tl::unexpected<base::Error> wrong(std::string_view name, std::string_view text) {
    return fail(Errc::invalid, fmt::format("{} is '{}'", name, base::printable(text, 64)));
}

bool is_mac(std::string_view text) {
    constexpr std::size_t length = 17;
    if (text.size() != length) {
        return false;
    }
    for (std::size_t i = 0; i < length; ++i) {
        const bool separator = i % 3 == 2;
        const bool is_digit = std::string_view("0123456789abcdefABCDEF").find(text[i]) != text.npos;
        if (separator ? text[i] != ':' : !is_digit) {
            return false;
        }
    }
    return true;
}

Result<void> check_names(const BootTarget& target) {
    if (!target.initiator_name.empty()) {
        if (auto checked = base::check_iscsi_name(target.initiator_name); !checked) {
            return fail(Errc::invalid, "initiator-name: " + checked.error().detail);
        }
    }
    if (auto checked = base::check_target_name(target.name); !checked) {
        return fail(Errc::invalid, "target-name: " + checked.error().detail);
    }
    if (auto checked = base::check_host(target.address); !checked) {
        return fail(Errc::invalid, "the target's ip-addr: " + checked.error().detail);
    }
    return {};
}

Result<void> check_nic(const BootNic& nic) {
    if (!is_mac(nic.mac)) {
        return nic.mac.empty() ? fail(Errc::invalid, "mac is missing") : wrong("mac", nic.mac);
    }
    const std::array<std::pair<std::string_view, const std::string*>, 4> addresses{{
        {"ip-addr", &nic.address},
        {"gateway", &nic.gateway},
        {"primary-dns", &nic.primary_dns},
        {"secondary-dns", &nic.secondary_dns},
    }};
    for (const auto& [name, text] : addresses) {
        if (auto checked = check_boot_address(name, *text); !checked) {
            return checked;
        }
    }
    if (!nic.subnet_mask.empty() && !base::is_ipv4_address(nic.subnet_mask)) {
        return wrong("subnet-mask", nic.subnet_mask);
    }
    constexpr unsigned v4_bits = 32;
    if (nic.prefix_len.value_or(0) > v4_bits && base::is_ipv4_address(nic.address)) {
        return wrong("prefix-len", std::to_string(*nic.prefix_len));
    }
    return check_device_name(nic.net_device);
}

} // namespace

Result<void> check_device_name(std::string_view name) {
    constexpr std::size_t bytes_max = 15;
    const bool is_plain =
        std::ranges::all_of(name, [](char c) { return c > ' ' && c < 0x7f && c != '/' && c != '\''; });
    return is_plain && name.size() <= bytes_max ? Result<void>() : wrong("the interface's name", name);
}

Result<void> check_boot_text(std::string_view name, std::string_view text) {
    if (text.size() > base::limits::record_value_bytes_max) {
        return fail(Errc::invalid,
                    fmt::format("{} has more than {} bytes", name, base::limits::record_value_bytes_max));
    }
    // The text is not shown: it may be a secret.
    if (base::printable(text) != text) {
        return fail(Errc::invalid, fmt::format("{} is no text of one line", name));
    }
    return {};
}

Result<void> check_boot_address(std::string_view name, std::string_view text) {
    if (!text.empty() && !base::is_ipv4_address(text) && !base::is_ipv6_address(text)) {
        return wrong(name, text);
    }
    return {};
}

Result<std::uint16_t> boot_number(std::string_view name, std::string_view text, std::uint16_t most) {
    auto number = base::parse_decimal(text, most);
    return number ? Result<std::uint16_t>(static_cast<std::uint16_t>(*number)) : wrong(name, text);
}

Result<void> check_boot_target(const BootTarget& target) {
    const std::array<std::pair<std::string_view, std::string_view>, 6> texts{{
        {"isid", target.isid},
        {"lun", target.lun},
        {"chap-name", target.username.text()},
        {"chap-secret", target.password.text()},
        {"rev-chap-name", target.username_in.text()},
        {"rev-chap-name-secret", target.password_in.text()},
    }};
    for (const auto& [name, text] : texts) {
        if (auto checked = check_boot_text(name, text); !checked) {
            return checked;
        }
    }
    // Firmware means what it says: no file of this machine's is to be opened for it.
    for (const auto& [name, text] : std::array{texts[3], texts[5]}) {
        if (records::secret_reference(text)) {
            return fail(Errc::invalid, fmt::format("{} would be read as the name of a file", name));
        }
    }
    if (target.port == 0) {
        return wrong("port", "0");
    }
    if (target.username.empty() != target.password.empty()) {
        return fail(Errc::invalid, "there is only half of chap-name and chap-secret");
    }
    if (target.username.empty() && !target.username_in.empty()) {
        return fail(Errc::invalid, "rev-chap-name stands without chap-name");
    }
    if (target.username_in.empty() != target.password_in.empty()) {
        return fail(Errc::invalid, "there is only half of rev-chap-name and rev-chap-name-secret");
    }
    auto checked = check_names(target);
    if (checked) {
        checked = check_nic(target.nic);
    }
    return checked ? records::check_node_id(boot_node_id(target)) : checked;
}

} // namespace iscsi::adm
