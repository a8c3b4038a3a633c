#include "ipc/json.hpp"

#include "base/bytes.hpp"
#include "base/limits.hpp"
#include "base/text.hpp"
#include "base/wiped.hpp"

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

/// Those that a record shows, in the order in which its members are written.
const std::vector<const records::Field*>& fields_by_name() {
    static const std::vector<const records::Field*> by_name = [] {
        std::vector<const records::Field*> all;
        for (const records::Field& row : records::fields()) {
            if (!row.has(records::hidden)) {
                all.push_back(&row);
            }
        }
        std::ranges::sort(all, {}, &records::Field::name);
        return all;
    }();
    return by_name;
}

/// As it is between quotes, and when it is shown.
bool is_plain(std::string_view text) {
    return std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; });
}

/// The reverse of what JsonWriter makes of a record's value that JSON cannot hold.
std::optional<base::WipedText> value_in_hex(const JsonValue& json) {
    const JsonValue hex = json.is_object() ? json.find("hex") : JsonValue();
    if (!hex || !hex.is_text()) {
        return std::nullopt;
    }
    auto bytes = base::parse_rfc_binary(hex.text(), base::limits::record_value_bytes_max);
    if (!bytes) {
        return std::nullopt;
    }
    return base::WipedText(base::text_of(*bytes));
}

} // namespace

void JsonWriter::begin(std::string_view name) {
    members_.push_back({name, members_text_.size(), 0});
    put(name);
    members_text_ += ':';
}

void JsonWriter::put(std::string_view value) {
    if (is_plain(value)) {
        members_text_ += '"';
        members_text_ += value;
        members_text_ += '"';
    } else {
        members_text_ += text_of(Json(value));
    }
}

/// Every value, defaults too: the reader may be of a version with other defaults.
void JsonWriter::put(const records::Record& record) {
    JsonWriter values;
    auto add = [&values](std::string_view name, const std::string& value) {
        values.begin(name);
        values.put_value(value);
        values.end();
    };
    for (const records::Field* row : fields_by_name()) {
        if (!row->applies_to(record.kind())) {
            continue;
        }
        const std::string& value = record.text(row->key);
        if (!value.empty() || !records::default_text(row->key).empty()) {
            add(row->name, value);
        }
    }
    for (const auto& [name, value] : record.unknown()) {
        add(name, value.text());
    }
    const auto* kind =
        std::ranges::find(record_kinds, record.kind(), &decltype(record_kinds)::value_type::first);
    members_text_ += R"({"kind":)";
    put(kind->second);
    members_text_ += R"(,"values":)";
    members_text_ += values.text();
    members_text_ += '}';
}

void JsonWriter::put_value(const std::string& value) {
    if (is_plain(value)) {
        return put(value);
    }
    // Of a secret nothing is to stay on the stack.
    std::string shown = base::printable(value);
    bool is_text = shown == value;
    base::wipe(shown);
    if (is_text) {
        return put(value);
    }
    members_text_ += R"({"hex":)";
    put(base::hex_binary(base::bytes_of(value)));
    members_text_ += '}';
}

std::string JsonWriter::text() {
    if (!std::ranges::is_sorted(members_, {}, &Member::name)) { // a record's hundred are
        std::ranges::sort(members_, {}, &Member::name);
    }
    std::string out;
    out.reserve(members_text_.size() + members_.size() + 2);
    out += '{';
    for (const Member& member : members_) {
        out += out.size() == 1 ? "" : ",";
        out.append(members_text_, member.begin, member.end - member.begin);
    }
    out += '}';
    return out;
}

std::string read_record(const JsonValue& json, records::Record& record) {
    const JsonValue kind = json.is_object() ? json.find("kind") : JsonValue();
    const JsonValue values = json.is_object() ? json.find("values") : JsonValue();
    if (!kind || !values || !kind.is_text() || !values.is_object()) {
        return "is no record";
    }
    const auto* known =
        std::ranges::find(record_kinds, kind.text(), &decltype(record_kinds)::value_type::second);
    if (known == record_kinds.end()) {
        return "is a record of an unknown kind";
    }
    record = records::Record(known->first);
    std::string problem;
    values.each([&](std::string_view name, const JsonValue& value) {
        const auto in_hex = value.is_text() ? std::nullopt : value_in_hex(value);
        if (!value.is_text() && !in_hex) {
            problem = base::printable(name, 64) + " has no text";
            return false;
        }
        auto set = record.set(name, in_hex ? std::string_view(in_hex->text()) : value.text());
        problem = set ? std::string() : std::move(set.error().detail);
        return set.has_value();
    });
    return problem;
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

base::Result<JsonTree> parse_object(std::string_view text, std::size_t bytes_max) {
    if (text.size() > bytes_max) {
        return base::fail(base::Errc::invalid, "it is too long");
    }
    auto tree = JsonTree::parse(text, depth_max);
    if (!tree || !tree->root().is_object()) {
        return base::fail(base::Errc::invalid, "it is no JSON object, or too deep");
    }
    return std::move(*tree);
}

JsonValue JsonReader::find(std::string_view name) {
    if (!error_.empty()) {
        return {};
    }
    const JsonValue member = object_.find(name);
    if (!member) {
        error_ = std::string(name) + " is missing";
    }
    return member;
}

void JsonReader::note(std::string_view name, const std::string& problem) {
    if (!problem.empty()) {
        error_ = std::string(name) + ": " + problem;
    }
}

std::string JsonReader::read(const JsonValue& json, std::string& value) {
    if (!json.is_text()) {
        return "is no text";
    }
    value = json.text();
    return {};
}

std::string JsonReader::read(const JsonValue& json, bool& value) {
    const std::optional<bool> read = json.boolean();
    value = read.value_or(value);
    return read ? "" : "is neither true nor false";
}

std::string JsonReader::read(const JsonValue& json, base::Errc& value) {
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

std::string JsonReader::read(const JsonValue& json, base::Cause& value) {
    std::string word;
    std::string problem = read(json, word);
    value = base::cause_of(word);
    return problem;
}

} // namespace iscsi::ipc
