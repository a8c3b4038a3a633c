#include "scsi/lun_facts.hpp"

#include "base/check.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <string_view>
#include <utility>

namespace iscsi::scsi {
namespace {

const Designator* first_of(const LunFacts& facts, DesignatorType type) {
    const auto& unit = facts.identification.unit;
    auto found = std::ranges::find(unit, type, &Designator::type);
    return found == unit.end() ? nullptr : &*found;
}

bool allowed_in_links(char c) {
    constexpr std::string_view signs = "#+-.:=@_";
    auto byte = static_cast<unsigned char>(c);
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || byte >= 0x80 ||
           signs.find(c) != std::string_view::npos;
}

/// What udev makes of a serial number: each run of blanks one underscore, none at the ends, and an underscore
/// for every character that a device link must not have.
std::string link_text(std::string_view text) {
    std::string out;
    bool blank = false;
    for (char c : text) {
        if (c == ' ' || c == '\t') {
            blank = !out.empty();
            continue;
        }
        if (blank) {
            out += '_';
            blank = false;
        }
        out += allowed_in_links(c) ? c : '_';
    }
    return out;
}

} // namespace

TargetProgram target_program(const LunFacts& facts) {
    using enum TargetProgram;
    constexpr std::array<std::pair<std::string_view, TargetProgram>, 3> vendors{
        {{"IET", tgtd}, {"LIO-ORG", lio}, {"FreeBSD", istgt}}};
    const auto* found =
        std::ranges::find(vendors, facts.vendor, &std::pair<std::string_view, TargetProgram>::first);
    return found == vendors.end() ? not_known : found->second;
}

bool has_volatile_cache(const LunFacts& facts) {
    return facts.write_cache && !facts.cache_survives;
}

bool is_disk(const LunFacts& facts) {
    bool type =
        facts.peripheral_type == peripheral::disk || facts.peripheral_type == peripheral::simplified_disk;
    return type && facts.peripheral_qualifier == 0 && facts.block_bytes != 0 && facts.blocks.value() != 0;
}

std::string identity(const LunFacts& facts) {
    if (!facts.identification.unit.empty()) {
        const Designator& best = facts.identification.unit.front();
        switch (best.type) {
        case DesignatorType::naa:
            return "naa." + best.value;
        case DesignatorType::eui64:
            return "eui." + best.value;
        case DesignatorType::uuid:
            return "uuid." + best.value;
        case DesignatorType::t10_vendor:
            return "t10." + best.value;
        default: // a SCSI name string, which says itself what it is
            return best.value;
        }
    }
    if (!facts.serial.empty()) {
        return fmt::format("serial.{}.{}.{}", facts.vendor, facts.product, facts.serial);
    }
    return {};
}

std::string udev_serial(const LunFacts& facts) {
    struct Kind {
        DesignatorType type;
        char digit;
    };
    constexpr std::array kinds{Kind{DesignatorType::naa, '3'}, Kind{DesignatorType::eui64, '2'},
                               Kind{DesignatorType::scsi_name, '8'}, Kind{DesignatorType::t10_vendor, '1'}};
    for (const Kind& kind : kinds) {
        if (const Designator* designator = first_of(facts, kind.type)) {
            return link_text(kind.digit + designator->value);
        }
    }
    if (facts.serial.empty()) {
        return {};
    }
    // The fields with the width they have in INQUIRY data, whose padding becomes the separator.
    return link_text(fmt::format("S{:<8}{:<16}{}", facts.vendor, facts.product, facts.serial));
}

std::string world_wide_name(const LunFacts& facts) {
    for (DesignatorType type : {DesignatorType::naa, DesignatorType::eui64}) {
        if (const Designator* designator = first_of(facts, type)) {
            return designator->value;
        }
    }
    return {};
}

bool same_unit(const LunFacts& before, const LunFacts& now) {
    if (before.block_bytes != now.block_bytes || before.serial != now.serial) {
        return false;
    }
    std::string name = identity(before);
    if (name != identity(now)) {
        return false;
    }
    if (!name.empty()) {
        return true;
    }
    return before.vendor == now.vendor && before.product == now.product && before.blocks == now.blocks;
}

LunFacts with_known_size(LunFacts now, const LunFacts& before) {
    if (now.block_bytes != 0 || !only_answers_inquiries(now.access.state)) {
        return now;
    }
    now.blocks = before.blocks;
    now.block_bytes = before.block_bytes;
    now.physical_block_bytes = before.physical_block_bytes;
    now.lowest_aligned_lba = before.lowest_aligned_lba;
    now.protection_type = before.protection_type;
    now.provisioned = before.provisioned;
    now.lbprz = before.lbprz;
    now.read_only = before.read_only;
    now.write_cache = before.write_cache;
    now.dpofua = before.dpofua;
    now.descriptor_sense = before.descriptor_sense;
    now.software_write_protect = before.software_write_protect;
    return now;
}

DiscardMethod discard_method(const LunFacts& facts) {
    if (!facts.provisioned) {
        return DiscardMethod::none;
    }
    bool unmap_limits = facts.limits.max_unmap_blocks != 0 && facts.limits.max_unmap_descriptors != 0;
    // Targets older than page B2h say LBPME alone; UNMAP then shows in its limits.
    bool told = facts.provisioning_page;
    if (unmap_limits && (facts.lbpu || !told)) {
        return DiscardMethod::unmap;
    }
    if (facts.lbpws || !told) {
        return DiscardMethod::write_same16;
    }
    return facts.lbpws10 ? DiscardMethod::write_same10 : DiscardMethod::none;
}

std::uint64_t max_discard_blocks(const LunFacts& facts) {
    // A target that tells no limit still works through the whole range before it answers.
    constexpr std::uint64_t untold_max = 0x7fffff;
    std::uint64_t write_same =
        facts.limits.max_write_same_blocks != 0 ? facts.limits.max_write_same_blocks : untold_max;
    switch (discard_method(facts)) {
    case DiscardMethod::unmap:
        return facts.limits.max_unmap_blocks;
    case DiscardMethod::write_same16:
        return std::min<std::uint64_t>(write_same, UINT32_MAX);
    case DiscardMethod::write_same10:
        return std::min<std::uint64_t>(write_same, UINT16_MAX);
    case DiscardMethod::none:
        break;
    }
    return 0;
}

std::uint32_t max_transfer_bytes(const LunFacts& facts, std::uint32_t wanted_bytes) {
    base::check(facts.block_bytes != 0, "the capacity was read");
    std::uint32_t blocks = std::max(wanted_bytes / facts.block_bytes, 1U);
    if (facts.limits.max_transfer_blocks != 0) {
        blocks = std::min(blocks, facts.limits.max_transfer_blocks);
    }
    return blocks * facts.block_bytes;
}

} // namespace iscsi::scsi
