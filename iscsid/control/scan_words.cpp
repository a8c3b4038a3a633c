#include "control/scan_words.hpp"

#include "scsi/capacity.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace iscsi::control {

std::string why_not_shown(const scsi::LunFacts& facts) {
    const std::string lun = scsi::describe_lun(facts.lun);
    if (scsi::is_disk(facts)) {
        return {};
    }
    if (facts.peripheral_qualifier != 0) {
        return fmt::format("LUN {} (nothing connected)", lun);
    }
    if (scsi::only_answers_inquiries(facts.access.state)) {
        return fmt::format("LUN {} (a disk whose port is in state {})", lun, scsi::text(facts.access.state));
    }
    const bool empty = facts.peripheral_type == scsi::peripheral::disk;
    return fmt::format("LUN {} ({}{})", lun, scsi::peripheral::text(facts.peripheral_type),
                       empty ? " without a size" : "");
}

// Arrays show a unit for their own management to hosts that nothing is mapped to.
std::string why_nothing(const std::string& initiator, std::size_t units,
                        const std::vector<std::string>& others) {
    const std::string hint = fmt::format("; is a volume mapped to {}?", initiator);
    if (units == 0) {
        return "the target shows no logical unit to this initiator" + hint;
    }
    if (others.empty()) {
        return fmt::format("none of the {} logical unit(s) that the target shows could be used", units);
    }
    constexpr std::size_t named_max = 4;
    const std::size_t named = std::min(others.size(), named_max);
    return fmt::format("none of the {} logical unit(s) that the target shows is a disk: {}{}{}", units,
                       fmt::join(others.begin(), others.begin() + static_cast<std::ptrdiff_t>(named), ", "),
                       others.size() > named ? ", ..." : "", hint);
}

} // namespace iscsi::control
