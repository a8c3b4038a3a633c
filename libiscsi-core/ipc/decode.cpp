#include "base/limits.hpp"
#include "base/text.hpp"
#include "ipc/describe.hpp"
#include "ipc/json.hpp"
#include "ipc/requests.hpp"

#include <algorithm>
#include <utility>

namespace iscsi::ipc {
namespace {

base::Result<JsonTree> parse_line(std::string_view line) {
    auto json = parse_object(line, base::limits::ipc_line_bytes_max);
    if (!json) {
        json.error().detail = "the message cannot be read: " + json.error().detail;
    }
    return json;
}

struct Envelope {
    std::uint64_t id = 0;
    std::string name;
};

base::Result<Envelope> read_envelope(JsonValue json, const char* kind) {
    Envelope envelope;
    std::uint64_t version = 0;
    JsonReader reader(json);
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
base::Result<Variant> read_named(JsonValue json, std::string_view name) {
    if constexpr (I == std::variant_size_v<Variant>) {
        return base::fail(base::Errc::unknown_request, "unknown message '" + base::printable(name, 64) + "'");
    } else {
        using Message = std::variant_alternative_t<I, Variant>;
        if (name != name_of<Message>()) {
            return read_named<Variant, I + 1>(json, name);
        }
        Message message;
        JsonReader reader(json);
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
    auto envelope = read_envelope(json->root(), kind);
    if (!envelope) {
        return base::fail(envelope.error());
    }
    auto message = read_named<Variant>(json->root(), envelope->name);
    if (!message) {
        return base::fail(message.error());
    }
    // Named: GCC 12 takes the moves out of a temporary variant for uses of what is not initialized.
    Tagged tagged{envelope->id, std::move(*message)};
    return tagged;
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
        JsonReader reader(json->root());
        reader("id", id);
    }
    return id;
}

} // namespace iscsi::ipc
