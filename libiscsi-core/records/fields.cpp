#include "records/fields.hpp"

#include "base/check.hpp"
#include "base/limits.hpp"
#include "base/text.hpp"
#include "records/field_table.hpp"

#include <algorithm>
#include <array>
#include <bit>
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

/// A name and its row.
struct Alias {
    std::string_view name;
    Key key;
};
// Names that older tools wrote.
constexpr Alias aliases[] = {{"node.transport_name", Key::iface_transport_name}};

/// Every name that a file may have, in order: a request has a hundred of them.
constexpr auto rows_by_name = [] {
    std::array<Alias, key_count + std::size(aliases)> names{};
    std::size_t count = 0;
    for (const Field& row : table::rows) {
        names[count++] = {row.name, row.key};
    }
    for (const Alias& alias : aliases) {
        names[count++] = alias;
    }
    std::ranges::sort(names, {}, &Alias::name);
    return names;
}();

bool breaks_line(unsigned char c) {
    return c < 0x20 || c == 0x7f;
}

/// The value as an error text may show it.
std::string shown(const Field& row, std::string_view value) {
    return row.has(secret) ? "(not shown)" : base::printable(value, 64);
}

tl::unexpected<base::Error> unknown_format(const Field& row, std::string_view value) {
    return base::fail(base::Errc::invalid,
                      fmt::format("unknown value format '{}' for parameter name '{}'; allowed is {}",
                                  shown(row, value), row.name, allowed_text(row)));
}

std::size_t longest_text(const Field& row) {
    return row.high != 0 ? static_cast<std::size_t>(row.high) : base::limits::record_value_bytes_max;
}

base::Result<base::WipedText> checked_text(const Field& row, std::string_view value) {
    std::string why;
    if (value.size() > longest_text(row)) {
        why = fmt::format("it has {} bytes", value.size());
    } else if (std::ranges::any_of(value, breaks_line)) {
        why = "it contains a control character";
    } else if (base::trim(value) != value) {
        why = "it begins or ends with a blank";
    }
    if (!why.empty()) {
        return base::fail(base::Errc::invalid,
                          fmt::format("bad value '{}' for {}: {}; allowed is {}", shown(row, value), row.name,
                                      why, allowed_text(row)));
    }
    return base::WipedText(value == "<empty>" ? "" : value);
}

base::Result<base::WipedText> checked_number(const Field& row, std::string_view value) {
    std::optional<std::int64_t> number = parse_number(value);
    if (!number) {
        return unknown_format(row, value);
    }
    if (row.has(or_zero) && *number == 0) {
        return base::WipedText("0");
    }
    bool in_range = *number >= row.low && *number <= row.high;
    if (!in_range || (row.has(power_of_two) && (*number & (*number - 1)) != 0)) {
        return base::fail(base::Errc::invalid, fmt::format("bad value '{}' for {}; allowed is {}", *number,
                                                           row.name, allowed_text(row)));
    }
    return base::WipedText(std::to_string(*number));
}

bool is_allowed(const Field& row, std::string_view item) {
    std::string_view rest = row.allowed;
    for (;;) {
        const std::size_t end = rest.find('|');
        if (rest.substr(0, end) == item) {
            return true;
        }
        if (end == std::string_view::npos) {
            return false;
        }
        rest.remove_prefix(end + 1);
    }
}

std::string nearest_number(const Field& row, std::int64_t number) {
    number = std::clamp(number, row.low, row.high);
    if (row.has(power_of_two)) {
        number = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(number)));
    }
    return std::to_string(number);
}

/// The items of a list that are known, each once.
std::string known_items(const Field& row, std::string_view value) {
    std::vector<std::string_view> seen;
    std::string joined;
    for (std::string_view part : base::split(value, ',')) {
        std::string_view item = base::trim(part);
        if (is_allowed(row, item) && std::ranges::count(seen, item) == 0) {
            seen.push_back(item);
            joined += (joined.empty() ? "" : ",");
            joined += item;
        }
    }
    return joined;
}

base::Result<base::WipedText> checked_list(const Field& row, std::string_view value) {
    std::string known = known_items(row, value);
    bool all = std::ranges::count(known, ',') == std::ranges::count(value, ',') && !known.empty();
    return all ? base::Result<base::WipedText>(known) : unknown_format(row, value);
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
    const auto* known = std::ranges::lower_bound(rows_by_name, name, {}, &Alias::name);
    for (; known != rows_by_name.end() && known->name == name; ++known) {
        if (field(known->key).applies_to(kind)) {
            return &field(known->key);
        }
    }
    return nullptr;
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

std::string allowed_text(const Field& row) {
    switch (row.type) {
    case Type::text:
        if (!row.allowed.empty()) {
            break;
        }
        return fmt::format("text of at most {} bytes, without blanks at its ends", longest_text(row));
    case Type::number:
        return fmt::format("{}a {} from {} to {}", row.has(or_zero) ? "0 or " : "",
                           row.has(power_of_two) ? "power of two" : "number", row.low, row.high);
    case Type::boolean:
        return "Yes or No";
    case Type::choice:
    case Type::list:
        break;
    }
    std::vector<std::string_view> words = base::split(row.allowed, '|');
    std::string text = row.type == Type::list ? "a list without repetition of " : "";
    for (std::size_t i = 0; i < words.size(); ++i) {
        std::string_view between = i == 0 ? "" : i + 1 == words.size() ? " or " : ", ";
        text += fmt::format("{}{}", between, words[i]);
    }
    return text;
}

base::Result<base::WipedText> checked_value(const Field& row, std::string_view value) {
    switch (row.type) {
    case Type::text:
        return checked_text(row, value);
    case Type::number:
        return checked_number(row, value);
    case Type::boolean:
        if (value != "Yes" && value != "No") {
            return unknown_format(row, value);
        }
        return base::WipedText(value);
    case Type::choice:
        if (!is_allowed(row, value)) {
            return unknown_format(row, value);
        }
        return base::WipedText(value);
    case Type::list:
        return checked_list(row, value);
    }
    base::check(false, "a row has a type");
    return {};
}

base::Result<void> check_request(const Field& row, std::string_view value) {
    if (row.type == Type::text && !row.allowed.empty() && !is_allowed(row, value)) {
        return unknown_format(row, value);
    }
    return {};
}

std::optional<std::string> nearest_value(const Field& row, std::string_view value) {
    if (row.has(read_only)) {
        return std::nullopt;
    }
    if (row.type == Type::number) {
        std::optional<std::int64_t> number = parse_number(value);
        return number ? std::optional(nearest_number(row, *number)) : std::nullopt;
    }
    std::string known = row.type == Type::list ? known_items(row, value) : std::string();
    return known.empty() ? std::nullopt : std::optional(std::move(known));
}

} // namespace iscsi::records
