#include "records/text.hpp"

#include "base/limits.hpp"
#include "base/text.hpp"
#include "records/secret_reference.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <iterator>

namespace iscsi::records {
namespace {

constexpr std::string_view mask = "********";
constexpr std::string_view no_value = "<empty>";

void warn(Warnings& warnings, std::string_view source, std::size_t line, std::string_view what) {
    add_warning(warnings, fmt::format("{}:{}: {}", base::printable(source), line, what));
}

std::string begin_line() {
    return fmt::format("# BEGIN RECORD {}\n", compat_version);
}

/// In the files of nodes, though not in what is shown of them, these stand before the other interface keys.
constexpr Key node_file_first[] = {Key::iface_hwaddress,     Key::iface_ipaddress, Key::iface_name,
                                   Key::iface_net_ifacename, Key::iface_gateway,   Key::iface_subnet_mask};

constexpr std::string_view end_line = "# END RECORD\n";

void add_line(std::string& out, std::string_view key, std::string_view value) {
    out += key;
    out += " = ";
    out += value;
    out += '\n';
}

} // namespace

void add_warning(Warnings& warnings, std::string what) {
    if (warnings.size() < warnings_max) {
        warnings.push_back(std::move(what));
    }
}

bool is_masked(const Field& row, std::string_view value) {
    return row.has(secret) && !value.empty() && !secret_reference(value);
}

void for_each_line(std::string_view text, std::string_view source, Warnings& warnings,
                   const std::function<void(const Line&)>& on_line) {
    std::size_t number = 0;
    while (!text.empty()) {
        std::size_t end = text.find('\n');
        std::string_view raw = text.substr(0, end);
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        ++number;
        std::string_view line = base::trim(raw);
        if (line.empty() || line[0] == '#') {
            continue;
        }
        if (raw.size() > base::limits::record_line_bytes_max) {
            warn(warnings, source, number, "the line is too long and was left out");
            continue;
        }
        // Not find_first_of(): that took a fifth of the time of listing many records.
        const auto* key_stop =
            std::ranges::find_if(line, [](char c) { return c == ' ' || c == '\t' || c == '='; });
        std::size_t key_end = static_cast<std::size_t>(key_stop - line.begin());
        std::size_t equals = line.find('=');
        if (equals == std::string_view::npos || !base::trim(line.substr(key_end, equals - key_end)).empty() ||
            key_end == 0) {
            warn(warnings, source, number, "the line is not 'key = value' and was left out");
            continue;
        }
        on_line({number, line.substr(0, key_end), base::trim(line.substr(equals + 1))});
    }
}

Record parse_record(RecordKind kind, std::string_view text, std::string_view source, Warnings& warnings) {
    Record record(kind);
    for_each_line(text, source, warnings, [&](const Line& line) {
        // What cannot be used is kept and no reason to complain of each time that the record is read.
        static_cast<void>(record.take(line.key, line.value));
    });
    return record;
}

Config parse_config(std::string_view text, std::string_view source, Warnings& warnings) {
    Config config;
    std::array<Record*, 4> parts{&config.node, &config.send_targets, &config.isns, &config.daemon};
    for_each_line(text, source, warnings, [&](const Line& line) {
        bool known = false;
        for (Record* part : parts) {
            const Field* row = find_field(part->kind(), line.key);
            if (row == nullptr) {
                continue;
            }
            base::Result<void> done = part->take(line.key, line.value);
            if (!done && !known) {
                warn(warnings, source, line.number, done.error().message());
            }
            known = true;
        }
        if (!known && line.key.starts_with("iscsid.")) {
            base::Result<void> kept = config.daemon.set(line.key, line.value);
            if (!kept) {
                warn(warnings, source, line.number, kept.error().message());
            }
        }
    });
    return config;
}

std::string file_text(const Record& record) {
    std::string out = begin_line();
    auto add = [&](const Field& row) {
        if (const std::string* refused = record.refused(row.key)) {
            add_line(out, row.name, *refused);
        } else if (record.prints(row) && !record.text(row.key).empty()) {
            add_line(out, row.name, record.text(row.key));
        }
    };
    bool is_node = record.kind() == RecordKind::node;
    for (const Field& row : fields()) {
        if (is_node && row.key == Key::iface_name) {
            std::ranges::for_each(node_file_first, add, [](Key key) -> const Field& { return field(key); });
        } else if (!is_node || std::ranges::find(node_file_first, row.key) == std::end(node_file_first)) {
            add(row);
        }
    }
    for (const auto& [name, value] : record.unknown()) {
        add_line(out, name, value.text());
    }
    for (const auto& [name, value] : record.kept()) {
        add_line(out, name, value.text());
    }
    out += end_line;
    return out;
}

std::string display_text(const Record& record, bool show_secrets) {
    std::string out = begin_line();
    for (const Field& row : fields()) {
        if (!record.prints(row)) {
            continue;
        }
        const std::string& value = record.text(row.key);
        if (value.empty()) {
            add_line(out, row.name, no_value);
        } else {
            add_line(out, row.name, !show_secrets && is_masked(row, value) ? mask : value);
        }
    }
    out += end_line;
    return out;
}

} // namespace iscsi::records
