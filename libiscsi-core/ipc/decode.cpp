#include "base/bytes.hpp"
#include "base/limits.hpp"
#include "base/text.hpp"
#include "ipc/describe.hpp"
#include "ipc/nesting.hpp"
#include "ipc/requests.hpp"

#include <algorithm>
#include <concepts>
#include <nlohmann/json.hpp>
#include <optional>
#include <type_traits>
#include <utility>

namespace iscsi::ipc {
namespace {

using Json = nlohmann::json;

/// Deepest object of ours is line > sessions > session > luns > lun; the parser is not given more than this.
constexpr std::size_t depth_max = 16;

/// The reverse of what the writer makes of a value.
std::optional<std::string> value_of(const Json& json) {
    if (json.is_string()) {
        return json.get<std::string>();
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
    return std::string(base::text_of(*bytes));
}

/// The problem in words, or nothing.
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
        if (auto set = record.set(name, *value); !set) {
            return set.error().detail;
        }
    }
    return {};
}

class Reader {
public:
    explicit Reader(const Json& object) : object_(&object) {}

    template <class T>
    void operator()(std::string_view name, T& value) {
        if (!error_.empty()) {
            return;
        }
        auto member = object_->find(name);
        if (member == object_->end()) {
            error_ = std::string(name) + " is missing";
            return;
        }
        if (std::string problem = read(*member, value); !problem.empty()) {
            error_ = std::string(name) + ": " + problem;
        }
    }

    const std::string& error() const { return error_; }

private:
    // Each gives the problem in words, or nothing.
    static std::string read(const Json& json, std::string& value);
    static std::string read(const Json& json, bool& value);
    static std::string read(const Json& json, records::Record& value) { return read_record(json, value); }
    static std::string read(const Json& json, base::Errc& value);

    template <std::integral T>
    static std::string read(const Json& json, T& value) {
        // A number that fits no 64 bits is a float by now.
        if (json.is_number_unsigned()) {
            auto number = json.get<std::uint64_t>();
            if (std::in_range<T>(number)) {
                value = static_cast<T>(number);
                return {};
            }
        } else if (json.is_number_integer()) {
            auto number = json.get<std::int64_t>();
            if (std::in_range<T>(number)) {
                value = static_cast<T>(number);
                return {};
            }
        }
        return json.is_number() ? "is out of range" : "is no number";
    }

    template <class T>
    requires std::is_enum_v<T>
    static std::string read_state(const Json& json, T& value, T last) {
        std::string name;
        if (std::string problem = read(json, name); !problem.empty()) {
            return problem;
        }
        for (int i = 0; i <= static_cast<int>(last); ++i) {
            if (text(static_cast<T>(i)) == name) {
                value = static_cast<T>(i);
                return {};
            }
        }
        return "is no known state";
    }

    static std::string read(const Json& json, ConnectionState& value) {
        return read_state(json, value, ConnectionState::unknown);
    }
    static std::string read(const Json& json, SessionState& value) {
        return read_state(json, value, SessionState::free);
    }
    static std::string read(const Json& json, InternalState& value) {
        return read_state(json, value, InternalState::unknown);
    }

    template <class T>
    static std::string read(const Json& json, std::vector<T>& values) {
        if (!json.is_array()) {
            return "is no list";
        }
        for (const Json& element : json) {
            T value = blank<T>();
            if (std::string problem = read(element, value); !problem.empty()) {
                return problem;
            }
            values.push_back(std::move(value));
        }
        return {};
    }

    template <class T>
    static T blank() {
        if constexpr (std::is_same_v<T, records::Record>) {
            return T(records::RecordKind::iface);
        } else {
            return T{};
        }
    }

    template <class T>
    requires std::is_class_v<T>
    static std::string read(const Json& json, T& value) {
        if (!json.is_object()) {
            return "is no object";
        }
        Reader reader(json);
        describe(reader, value);
        return reader.error_;
    }

    const Json* object_;
    std::string error_;
};

std::string Reader::read(const Json& json, std::string& value) {
    if (!json.is_string()) {
        return "is no text";
    }
    value = json.get_ref<const std::string&>();
    return {};
}

std::string Reader::read(const Json& json, bool& value) {
    if (!json.is_boolean()) {
        return "is neither true nor false";
    }
    value = json.get<bool>();
    return {};
}

std::string Reader::read(const Json& json, base::Errc& value) {
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

base::Result<Json> parse_line(std::string_view line) {
    if (line.size() > base::limits::ipc_line_bytes_max || !nests_at_most(line, depth_max)) {
        return base::fail(base::Errc::invalid, "the message is too long or too deep");
    }
    Json json = Json::parse(line, nullptr, false);
    if (!json.is_object()) {
        return base::fail(base::Errc::invalid, "the message is no JSON object");
    }
    return json;
}

struct Envelope {
    std::uint64_t id = 0;
    std::string name;
};

base::Result<Envelope> read_envelope(const Json& json, const char* kind) {
    Envelope envelope;
    std::uint64_t version = 0;
    Reader reader(json);
    reader("v", version);
    if (reader.error().empty() && version != protocol_version) {
        return base::fail(base::Errc::unknown_request, "the peer speaks version " + std::to_string(version) +
                                                           " of the protocol, not " +
                                                           std::to_string(protocol_version));
    }
    reader("id", envelope.id);
    reader(kind, envelope.name);
    if (!reader.error().empty()) {
        return base::fail(base::Errc::invalid, reader.error());
    }
    return envelope;
}

template <class Variant, std::size_t I = 0>
base::Result<Variant> read_named(const Json& json, std::string_view name) {
    if constexpr (I == std::variant_size_v<Variant>) {
        return base::fail(base::Errc::unknown_request, "unknown message '" + base::printable(name, 64) + "'");
    } else {
        using Message = std::variant_alternative_t<I, Variant>;
        if (name != name_of<Message>()) {
            return read_named<Variant, I + 1>(json, name);
        }
        Message message;
        Reader reader(json);
        describe(reader, message);
        if (!reader.error().empty()) {
            return base::fail(base::Errc::invalid, reader.error());
        }
        return Variant(std::move(message));
    }
}

template <class Tagged, class Variant>
base::Result<Tagged> decode_as(const char* kind, std::string_view line) {
    auto json = parse_line(line);
    if (!json) {
        return base::fail(json.error());
    }
    auto envelope = read_envelope(*json, kind);
    if (!envelope) {
        return base::fail(envelope.error());
    }
    auto message = read_named<Variant>(*json, envelope->name);
    if (!message) {
        return base::fail(message.error());
    }
    return Tagged{envelope->id, std::move(*message)};
}

/// The daemon reads a record's keys without asking whether they apply to it.
bool has_right_kinds(const Request& request) {
    if (const auto* login = std::get_if<Login>(&request)) {
        return login->node.kind() == records::RecordKind::node;
    }
    const auto* discover = std::get_if<Discover>(&request);
    if (discover == nullptr) {
        return true;
    }
    auto kind = discover->discovery.kind();
    auto is_iface = [](const records::Record& record) { return record.kind() == records::RecordKind::iface; };
    return (kind == records::RecordKind::send_targets || kind == records::RecordKind::isns) &&
           std::ranges::all_of(discover->ifaces, is_iface);
}

} // namespace

base::Result<TaggedRequest> decode_request(std::string_view line) {
    auto decoded = decode_as<TaggedRequest, Request>("request", line);
    if (decoded && !has_right_kinds(decoded->request)) {
        return base::fail(base::Errc::invalid, "a record is of the wrong kind for this request");
    }
    return decoded;
}

base::Result<TaggedReply> decode_reply(std::string_view line) {
    return decode_as<TaggedReply, Reply>("reply", line);
}

std::uint64_t id_of(std::string_view line) {
    auto json = parse_line(line);
    std::uint64_t id = 0;
    if (json) {
        Reader reader(*json);
        reader("id", id);
    }
    return id;
}

} // namespace iscsi::ipc
