// What boot firmware says: the first byte tells whether the rest is a table, an attribute a line as
// "target0/ip-addr=10.0.0.1" (\n within a value is a tab here), or Open Firmware's boot path. Whatever it is,
// what is understood fits into lines, into a place of the database and into a node record, and of the rest
// there is one line each.
#include "fuzz.hpp"

#include "base/text.hpp"
#include "boot_records.hpp"
#include "boot_table.hpp"

#include <algorithm>
#include <string>

using namespace iscsi;
using iscsi::test::is_one_line;
using iscsi::test::require;
using iscsi::test::Script;

namespace {

adm::BootAttributes attributes_of(std::string_view text) {
    adm::BootAttributes attributes;
    for (std::string_view line : base::split(text, '\n')) {
        const std::size_t sign = std::min(line.find('='), line.size());
        std::string value(line.substr(std::min(sign + 1, line.size())));
        std::replace(value.begin(), value.end(), '\t', '\n');
        attributes.emplace(line.substr(0, sign), base::WipedText(value));
    }
    return attributes;
}

adm::BootTargets targets_of(bool is_path, std::string_view text) {
    if (!is_path) {
        return adm::parse_boot_table("ibft", attributes_of(text));
    }
    const std::string_view device = adm::boot_path_device(text);
    require(device.empty() || (is_one_line(device) && device.find("..") == std::string_view::npos));
    auto target = adm::parse_boot_path(text, "02:00:00:00:00:01");
    adm::BootTargets targets;
    if (!target) {
        targets.unusable.push_back(target.error().detail);
    } else if (*target) {
        targets.usable.push_back(std::move(**target));
    }
    return targets;
}

void check_target(const adm::BootTarget& target) {
    constexpr std::ptrdiff_t most = 23; // of lines
    const std::string text = adm::boot_record_text(target).text();
    require(std::count(text.begin(), text.end(), '\n') <= most);
    for (std::string_view line : base::split(text, '\n')) {
        require(is_one_line(line) && (line.empty() || line[0] == '#' || line.find(" = ") != line.npos));
    }
    require(!adm::boot_record_json(target).dump().empty());
    require(records::check_node_id(adm::boot_node_id(target)).has_value());
    auto node = adm::make_boot_node(target, records::Record(records::RecordKind::node));
    require(node.has_value() && node_id(*node) == adm::boot_node_id(target));
    require(adm::prepare_for_boot(*node).has_value());
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Script script(data, size);
    const bool is_path = (script.u8() & 1) != 0;
    const adm::BootTargets targets = targets_of(is_path, script.rest());
    for (const adm::BootTarget& target : targets.usable) {
        check_target(target);
    }
    for (const std::string& line : targets.unusable) {
        require(is_one_line(line) && line.size() <= 2048);
    }
    return 0;
}
