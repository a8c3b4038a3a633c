#include "records/text.hpp"

#include "base/limits.hpp"
#include "base/text.hpp"

#include <array>
#include <fmt/format.h>

namespace iscsi::records {
namespace {

constexpr std::string_view mask = "********";
constexpr std::string_view no_value = "<empty>";

void warn(Warnings& warnings, std::string_view source, std::size_t line, std::string_view what) {
    if (warnings.size() < warnings_max) {
        warnings.push_back(fmt::format("{}:{}: {}", base::printable(source), line, what));
    }
}

std::string begin_line() {
    return fmt::format("# BEGIN RECORD {}\n", compat_version);
}

constexpr std::string_view end_line = "# END RECORD\n";

void add_line(std::string& out, std::string_view key, std::string_view value) {
    out += key;
    out += " = ";
    out += value;
    out += '\n';
}

} // namespace

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
        std::size_t key_end = line.find_first_of(" \t=");
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
        base::Result<void> done = record.set(line.key, line.value);
        if (!done) {
            warn(warnings, source, line.number, done.error().message());
        }
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
            base::Result<void> done = part->set(row->key, line.value);
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
    for (const Field& row : fields()) {
        if (record.prints(row) && !record.text(row.key).empty()) {
            add_line(out, row.name, record.text(row.key));
        }
    }
    for (const auto& [name, value] : record.unknown()) {
        add_line(out, name, value);
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
            add_line(out, row.name, row.has(secret) && !show_secrets ? mask : value);
        }
    }
    out += end_line;
    return out;
}

} // namespace iscsi::records
