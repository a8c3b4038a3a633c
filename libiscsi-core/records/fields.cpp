#include "records/fields.hpp"

#include "base/check.hpp"
#include "base/limits.hpp"
#include "base/text.hpp"
#include "records/field_table.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <iterator>
#include <vector>

namespace iscsi::records {
namespace {

constexpr bool rows_follow_keys() {
    for (std::size_t i = 0; i < std::size(table::rows); ++i) {
        if (static_cast<std::size_t>(table::rows[i].key) != i) {
            return false;
        }
    }
    return true;
}
static_assert(std::size(table::rows) == key_count, "a key without a row");
static_assert(rows_follow_keys(), "the rows stand in the order of enum class Key");

// Names that older tools wrote.
struct Alias {
    std::string_view name;
    Key key;
};
constexpr Alias aliases[] = {{"node.transport_name", Key::iface_transport_name}};

bool breaks_line(unsigned char c) {
    return c < 0x20 || c == 0x7f;
}

/// The value as an error text may show it.
std::string shown(const Field& row, std::string_view value) {
    return row.has(secret) ? "(not shown)" : base::printable(value, 64);
}

tl::unexpected<base::Error> unknown_format(const Field& row, std::string_view value) {
    return base::fail(base::Errc::invalid, fmt::format("unknown value format '{}' for parameter name '{}'",
                                                       shown(row, value), row.name));
}

base::Result<std::string> checked_text(const Field& row, std::string_view value) {
    std::size_t longest =
        row.high != 0 ? static_cast<std::size_t>(row.high) : base::limits::record_value_bytes_max;
    if (value.size() > longest) {
        return base::fail(base::Errc::invalid, fmt::format("{} is {} bytes long; at most {} are allowed",
                                                           row.name, value.size(), longest));
    }
    if (std::ranges::any_of(value, breaks_line)) {
        return base::fail(base::Errc::invalid, fmt::format("{} contains a control character", row.name));
    }
    if (base::trim(value) != value) {
        return base::fail(
            base::Errc::invalid,
            fmt::format("{} begins or ends with a blank, which a record cannot hold", row.name));
    }
    return std::string(value == "<empty>" ? "" : value);
}

base::Result<std::string> checked_number(const Field& row, std::string_view value) {
    std::optional<std::int64_t> number = parse_number(value);
    if (!number) {
        return unknown_format(row, value);
    }
    if (row.has(or_zero) && *number == 0) {
        return std::string("0");
    }
    if (*number < row.low || *number > row.high) {
        return base::fail(base::Errc::invalid,
                          fmt::format("{} = {} is out of range; {}{} to {} is allowed", row.name, *number,
                                      row.has(or_zero) ? "0 or " : "", row.low, row.high));
    }
    if (row.has(power_of_two) && (*number & (*number - 1)) != 0) {
        return base::fail(base::Errc::invalid,
                          fmt::format("{} = {} is not a power of two", row.name, *number));
    }
    return std::to_string(*number);
}

bool is_allowed(const Field& row, std::string_view item) {
    return std::ranges::count(base::split(row.allowed, '|'), item) != 0;
}

base::Result<std::string> checked_list(const Field& row, std::string_view value) {
    std::vector<std::string_view> seen;
    std::string joined;
    for (std::string_view part : base::split(value, ',')) {
        std::string_view item = base::trim(part);
        if (!is_allowed(row, item) || std::ranges::count(seen, item) != 0) {
            return unknown_format(row, value);
        }
        seen.push_back(item);
        joined += (joined.empty() ? "" : ",");
        joined += item;
    }
    return joined;
}

} // namespace

bool Field::applies_to(RecordKind kind) const {
    return (kinds & kind_bit(kind)) != 0;
}

std::span<const Field> fields() {
    return table::rows;
}

const Field& field(Key key) {
    return table::rows[static_cast<std::size_t>(key)];
}

const Field* find_field(RecordKind kind, std::string_view name) {
    const auto* alias = std::ranges::find(aliases, name, &Alias::name);
    if (alias != std::end(aliases)) {
        name = field(alias->key).name;
    }
    const auto* row = std::ranges::find_if(
        table::rows, [&](const Field& f) { return f.name == name && f.applies_to(kind); });
    return row == std::end(table::rows) ? nullptr : row;
}

const std::string& default_text(Key key) {
    static const std::vector<std::string> texts = [] {
        std::vector<std::string> all;
        all.reserve(key_count);
        for (const Field& f : table::rows) {
            all.emplace_back(f.compiled_default);
        }
        return all;
    }();
    return texts[static_cast<std::size_t>(key)];
}

std::optional<std::int64_t> parse_number(std::string_view text) {
    if (text.size() > 1 && text[0] == '+' && text[1] != '-') {
        text.remove_prefix(1);
    }
    std::int64_t value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) {
        return std::nullopt;
    }
    return value;
}

base::Result<std::string> checked_value(const Field& row, std::string_view value) {
    switch (row.type) {
    case Type::text:
        return checked_text(row, value);
    case Type::number:
        return checked_number(row, value);
    case Type::boolean:
        if (value != "Yes" && value != "No") {
            return unknown_format(row, value);
        }
        return std::string(value);
    case Type::choice:
        if (!is_allowed(row, value)) {
            return unknown_format(row, value);
        }
        return std::string(value);
    case Type::list:
        return checked_list(row, value);
    }
    base::check(false, "a row has a type");
    return {};
}

} // namespace iscsi::records
