#include "ipc/json.hpp"

#include "base/bytes.hpp"
#include "base/limits.hpp"
#include "base/text.hpp"
#include "base/wiped.hpp"
#include "ipc/nesting.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>

namespace iscsi::ipc {
namespace {

/// Deepest of ours is a state file's session > units > unit > facts > designators > designator; the parser is
/// not given more than this.
constexpr std::size_t depth_max = 16;

constexpr std::array<std::pair<records::RecordKind, std::string_view>, 5> record_kinds{{
    {records::RecordKind::node, "node"},
    {records::RecordKind::send_targets, "send_targets"},
    {records::RecordKind::isns, "isns"},
    {records::RecordKind::iface, "iface"},
    {records::RecordKind::daemon, "daemon"},
}};

/// The value may be a secret, of which nothing is to stay on the stack.
Json value_json(const std::string& value) {
    std::string shown = base::printable(value);
    bool is_text = shown == value;
    base::wipe(shown);
    if (is_text) {
        return value;
    }
    return Json{{"hex", base::hex_binary(base::bytes_of(value))}};
}

/// The reverse of what value_json() makes of a value.
std::optional<base::WipedText> value_of(const Json& json) {
    if (json.is_string()) {
        return base::WipedText(json.get_ref<const std::string&>());
    }
    auto hex = json.is_object() ? json.find("hex") : json.end();
    if (hex == json.end() || !hex->is_string()) {
        return std::nullopt;
    }
    auto bytes =
        base::parse_rfc_binary(hex->get_ref<const std::string&>(), base::limits::record_value_bytes_max);
    if (!bytes) {
        return std::nullopt;
    }
    return base::WipedText(base::text_of(*bytes));
}

} // namespace

/// Every value, defaults too: the reader may be of a version with other defaults.
Json record_json(const records::Record& record) {
    Json values = Json::object();
    for (const records::Field& row : records::fields()) {
        bool empty_anyway = record.text(row.key).empty() && records::default_text(row.key).empty();
        if (row.applies_to(record.kind()) && !row.has(records::hidden) && !empty_anyway) {
            values[std::string(row.name)] = value_json(record.text(row.key));
        }
    }
    for (const auto& [name, value] : record.unknown()) {
        values[name] = value_json(value.text());
    }
    const auto* kind =
        std::ranges::find(record_kinds, record.kind(), &decltype(record_kinds)::value_type::first);
    return Json{{"kind", kind->second}, {"values", std::move(values)}};
}

std::string read_record(const Json& json, records::Record& record) {
    auto kind = json.is_object() ? json.find("kind") : json.end();
    auto values = json.is_object() ? json.find("values") : json.end();
    if (kind == json.end() || values == json.end() || !kind->is_string() || !values->is_object()) {
        return "is no record";
    }
    const auto* known = std::ranges::find(record_kinds, kind->get_ref<const std::string&>(),
                                          &decltype(record_kinds)::value_type::second);
    if (known == record_kinds.end()) {
        return "is a record of an unknown kind";
    }
    record = records::Record(known->first);
    for (const auto& [name, json_value] : values->items()) {
        auto value = value_of(json_value);
        if (!value) {
            return base::printable(name, 64) + " has no text";
        }
        if (auto set = record.set(name, value->text()); !set) {
            return set.error().detail;
        }
    }
    return {};
}

std::string hex_text(std::uint64_t number, unsigned digits) {
    return fmt::format("{:0{}x}", number, digits);
}

std::optional<std::uint64_t> parse_hex(std::string_view text, unsigned digits) {
    std::uint64_t number = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
    bool whole = error == std::errc() && end == text.data() + text.size() && text.size() == digits;
    if (!whole) {
        return std::nullopt;
    }
    return number;
}

std::string text_of(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

base::Result<Json> parse_object(std::string_view text, std::size_t bytes_max) {
    if (text.size() > bytes_max || !nests_at_most(text, depth_max)) {
        return base::fail(base::Errc::invalid, "it is too long or too deep");
    }
    Json json = Json::parse(text, nullptr, false);
    if (!json.is_object()) {
        return base::fail(base::Errc::invalid, "it is no JSON object");
    }
    return json;
}

const Json* JsonReader::find(std::string_view name) {
    if (!error_.empty()) {
        return nullptr;
    }
    auto member = object_->find(name);
    if (member == object_->end()) {
        error_ = std::string(name) + " is missing";
        return nullptr;
    }
    return &*member;
}

void JsonReader::note(std::string_view name, const std::string& problem) {
    if (!problem.empty()) {
        error_ = std::string(name) + ": " + problem;
    }
}

std::string JsonReader::read(const Json& json, std::string& value) {
    if (!json.is_string()) {
        return "is no text";
    }
    value = json.get_ref<const std::string&>();
    return {};
}

std::string JsonReader::read(const Json& json, bool& value) {
    if (!json.is_boolean()) {
        return "is neither true nor false";
    }
    value = json.get<bool>();
    return {};
}

std::string JsonReader::read(const Json& json, base::Errc& value) {
    int number = 0;
    if (std::string problem = read(json, number); !problem.empty()) {
        return problem;
    }
    // A kind that this version does not know keeps at least its being an error.
    auto code = static_cast<base::Errc>(number);
    bool known = number == 1 || base::exit_code(code) != 1;
    value = known ? code : base::Errc::unknown;
    return {};
}

} // namespace iscsi::ipc
