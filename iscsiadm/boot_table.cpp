#include "boot_table.hpp"

#include "base/text.hpp"
#include "boot_values.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <set>

namespace iscsi::adm {
namespace {

using base::Errc;
using base::fail;
using base::Result;

/// One folder of a table.
class Block {
public:
    Block(const BootAttributes& attributes, std::string folder)
        : attributes_(attributes), folder_(std::move(folder)) {}

    const std::string& folder() const { return folder_; }

    /// Empty when there is none.
    std::string_view text(std::string_view name) const {
        auto found = attributes_.find(fmt::format("{}/{}", folder_, name));
        return found == attributes_.end() ? std::string_view() : found->second.text();
    }

    Result<std::string> needed(std::string_view name) const {
        std::string_view value = text(name);
        return value.empty() ? fail(Errc::invalid, fmt::format("{} is missing", name))
                             : Result<std::string>(std::string(value));
    }

    /// Per the specification bit 0 says that the block is valid, but some firmware sets bit 1 alone.
    bool is_valid() const { return base::parse_decimal(text("flags")).value_or(0) != 0; }

private:
    const BootAttributes& attributes_;
    std::string folder_;
};

/// Those of a kind ("target") in the order of their numbers.
std::vector<Block> blocks_of(const BootAttributes& attributes, std::string_view kind) {
    std::set<std::pair<std::uint64_t, std::string>> found;
    for (const auto& [name, value] : attributes) {
        const std::string folder = name.substr(0, name.find('/'));
        if (folder.starts_with(kind)) {
            if (auto number = base::parse_decimal(std::string_view(folder).substr(kind.size()), UINT16_MAX)) {
                found.emplace(*number, folder);
            }
        }
    }
    std::vector<Block> blocks;
    blocks.reserve(found.size());
    for (const auto& [number, folder] : found) {
        blocks.emplace_back(attributes, folder);
    }
    return blocks;
}

/// `value` of an attribute into a field that need not be there.
template <class Number>
Result<void> take_number(const Block& block, std::string_view name, std::uint16_t most,
                         std::optional<Number>& into) {
    std::string_view text = block.text(name);
    if (text.empty()) {
        return {};
    }
    return boot_number(name, text, most).map([&](std::uint16_t number) {
        into = static_cast<Number>(number);
    });
}

Result<BootNic> parse_nic(const Block& block) {
    constexpr std::uint16_t v6_bits = 128;
    constexpr std::uint16_t vlans = 4095;
    constexpr std::string_view from_dhcp = "3";
    BootNic nic;
    if (!block.is_valid()) {
        return fail(Errc::invalid, "is marked as not valid");
    }
    nic.mac = block.text("mac");
    nic.net_device = block.text(net_device_attribute);
    nic.dhcp = !block.text("dhcp").empty() || block.text("origin") == from_dhcp;
    nic.address = block.text("ip-addr");
    nic.subnet_mask = block.text("subnet-mask");
    nic.gateway = block.text("gateway");
    nic.primary_dns = block.text("primary-dns");
    nic.secondary_dns = block.text("secondary-dns");
    auto taken = take_number(block, "prefix-len", v6_bits, nic.prefix_len);
    if (taken) {
        taken = take_number(block, "vlan", vlans, nic.vlan);
    }
    return taken ? Result<BootNic>(std::move(nic)) : fail(std::move(taken.error()));
}

/// The interface whose index a target names.
Result<BootNic> nic_of(const Block& target, const std::vector<Block>& nics) {
    auto wanted = target.needed("nic-assoc");
    if (!wanted) {
        return fail(std::move(wanted.error()));
    }
    auto nic = std::ranges::find_if(nics, [&](const Block& block) { return block.text("index") == *wanted; });
    if (nic == nics.end()) {
        return fail(Errc::invalid, fmt::format("there is no interface {}", base::printable(*wanted, 64)));
    }
    auto parsed = parse_nic(*nic);
    return parsed ? parsed : fail(Errc::invalid, fmt::format("{} {}", nic->folder(), parsed.error().detail));
}

Result<BootTarget> parse_target(const Block& block, const std::vector<Block>& nics, const Block& initiator) {
    auto name = block.needed("target-name");
    auto address = name ? block.needed("ip-addr") : name;
    if (!address) {
        return fail(std::move(address.error()));
    }
    BootTarget target;
    target.name = std::move(*name);
    target.address = std::move(*address);
    if (std::string_view port = block.text("port"); !port.empty()) {
        auto number = boot_number("port", port, UINT16_MAX);
        if (!number) {
            return fail(std::move(number.error()));
        }
        target.port = *number;
    }
    target.lun = block.text("lun");
    target.username = base::WipedText(block.text("chap-name"));
    target.password = base::WipedText(block.text("chap-secret"));
    target.username_in = base::WipedText(block.text("rev-chap-name"));
    target.password_in = base::WipedText(block.text("rev-chap-name-secret"));
    target.initiator_name = initiator.text("initiator-name");
    target.isid = initiator.text("isid");
    auto nic = nic_of(block, nics);
    if (!nic) {
        return fail(std::move(nic.error()));
    }
    target.nic = std::move(*nic);
    auto checked = check_boot_target(target);
    return checked ? Result<BootTarget>(std::move(target)) : fail(std::move(checked.error()));
}

} // namespace

BootTargets parse_boot_table(std::string_view table, const BootAttributes& attributes) {
    const std::vector<Block> nics = blocks_of(attributes, "ethernet");
    const Block initiator(attributes, "initiator");
    BootTargets targets;
    for (const Block& block : blocks_of(attributes, "target")) {
        if (!block.text("flags").empty() && !block.is_valid()) {
            continue;
        }
        auto target = parse_target(block, nics, initiator);
        if (target) {
            targets.usable.push_back(std::move(*target));
        } else {
            targets.unusable.push_back(
                fmt::format("{}: {}: {}", table, block.folder(), target.error().detail));
        }
    }
    return targets;
}

} // namespace iscsi::adm
