#include "isns/requests.hpp"

#include "base/endian.hpp"
#include "base/names.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <optional>
#include <utility>

namespace iscsi::isns {
namespace {

using base::Errc;
using base::Result;

constexpr std::size_t status_bytes = 4;
constexpr std::uint16_t canonical_port = 3260;
constexpr std::size_t told_changes_max = 8;

/// Begins every request: who asks.
AttributeWriter from(std::string_view node) {
    AttributeWriter attributes;
    attributes.string(Tag::node_name, node);
    return attributes;
}

void add_status(AttributeWriter& writer, Status status) {
    const base::Be32 word(static_cast<std::uint32_t>(status));
    writer.bytes(base::bytes_of_object(word));
}

base::Bytes attributes_of(const Message& answer) {
    const base::Bytes payload(answer.payload);
    return payload.subspan(std::min(status_bytes, payload.size()));
}

/// Reads the operating attributes of an answer: those behind the delimiter.
class Operating {
public:
    explicit Operating(const Message& answer) : reader_(attributes_of(answer)) {}

    Result<std::optional<Attribute>> next() {
        for (;;) {
            Result<std::optional<Attribute>> attribute = reader_.next();
            if (!attribute || !*attribute || behind_) {
                return attribute;
            }
            behind_ = (*attribute)->is(Tag::delimiter);
        }
    }

private:
    AttributeReader reader_;
    bool behind_ = false;
};

/// A portal group whose attributes are still coming.
struct OpenGroup {
    std::optional<std::string_view> name;
    std::optional<Address> address;
    std::optional<std::uint32_t> port;
    std::optional<std::uint32_t> tag;
    bool has_tag = true;
};

/// Puts portal groups together: a name begins one, the others follow it.
class Groups {
public:
    Result<void> take(const Attribute& attribute) {
        if (attribute.is(Tag::group_node_name)) {
            Result<void> closed = close();
            open_.emplace();
            open_->name = attribute.string();
            return closed;
        }
        if (!open_) {
            return {};
        }
        if (attribute.is(Tag::group_address)) {
            open_->address = attribute.address();
        } else if (attribute.is(Tag::group_port)) {
            open_->port = attribute.number();
        } else if (attribute.is(Tag::group_tag)) {
            open_->has_tag = !attribute.value.empty();
            open_->tag = attribute.number();
        } else {
            return close();
        }
        return {};
    }

    Result<void> close() {
        if (!open_) {
            return {};
        }
        const OpenGroup group = *std::exchange(open_, std::nullopt);
        if (!group.has_tag) {
            return {}; // the node is not to be reached there (section 3.4)
        }
        if (!group.name || !group.address || !group.port || !group.tag) {
            found_.reject("an iSNS portal group without a name, an address, a port or a tag");
            return {};
        }
        if (Result<void> named = base::check_target_name(*group.name); !named) {
            found_.reject(named.error().message());
            return {};
        }
        if ((*group.port & port_is_udp) != 0) {
            found_.reject(fmt::format("{}: a portal for UDP", *group.name));
            return {};
        }
        if (base::is_link_local_address(text_of(*group.address))) {
            found_.reject(fmt::format("{}: a link-local address, on which link is not known", *group.name));
            return {};
        }
        const auto port = static_cast<std::uint16_t>(*group.port);
        return found_.add({std::string(*group.name), text_of(*group.address),
                           port == 0 ? canonical_port : port, static_cast<std::uint16_t>(*group.tag)});
    }

    base::DiscoveredTargets finish() { return found_.take(); }

private:
    std::optional<OpenGroup> open_;
    base::DiscoveredCollector found_;
};

std::string_view verb_of(std::uint32_t bitmap) {
    return (bitmap & change::removed) != 0 ? "removed" : (bitmap & change::added) != 0 ? "added" : "changed";
}

/// A notification (section 5.6.5.8).
struct Change {
    std::string destination; ///< the node that is told; may be empty
    std::string words;       ///< the sources behind their bitmaps
};

Result<Change> read_change(const Message& request) {
    AttributeReader reader{base::Bytes(request.payload)};
    Change change;
    std::string& words = change.words;
    std::uint32_t bitmap = 0;
    std::size_t count = 0;
    bool has_bitmap = false;
    for (;;) {
        Result<std::optional<Attribute>> attribute = reader.next();
        if (!attribute) {
            return base::fail(std::move(attribute.error()));
        }
        if (!*attribute) {
            break;
        }
        if ((*attribute)->is(Tag::change_bitmap)) {
            bitmap = (*attribute)->number().value_or(0);
            has_bitmap = true;
        } else if (!has_bitmap && (*attribute)->is(Tag::node_name)) {
            change.destination = (*attribute)->string().value_or("");
        } else if (has_bitmap && (*attribute)->is(Tag::node_name) && ++count <= told_changes_max) {
            words += fmt::format("{}{} {}", words.empty() ? "" : ", ",
                                 base::printable((*attribute)->string().value_or("?"), 64), verb_of(bitmap));
        }
    }
    if (!has_bitmap) {
        return base::fail(Errc::protocol, "an iSNS notification that does not say what has changed");
    }
    if (count > told_changes_max) {
        words += fmt::format(" and {} more", count - told_changes_max);
    }
    return change;
}

/// Whether all attributes can be read.
Result<void> check_attributes(base::Bytes bytes) {
    AttributeReader reader(bytes);
    for (;;) {
        Result<std::optional<Attribute>> attribute = reader.next();
        if (!attribute || !*attribute) {
            return attribute ? Result<void>() : base::fail(std::move(attribute.error()));
        }
    }
}

} // namespace

Message register_initiator(const Registration& registration) {
    AttributeWriter attributes = from(registration.nodes.front());
    const std::uint32_t port = port_is_udp | registration.udp_port;
    attributes.string(Tag::entity_identifier, registration.entity)
        .empty(Tag::delimiter)
        .string(Tag::entity_identifier, registration.entity)
        .number(Tag::entity_protocol, protocol_iscsi)
        .address(Tag::portal_address, registration.address)
        .number(Tag::portal_port, port);
    if (registration.inquiry_interval_s != 0) {
        attributes.number(Tag::inquiry_interval, registration.inquiry_interval_s)
            .number(Tag::inquiry_port, port);
    }
    attributes.number(Tag::change_port, port);
    for (const std::string& node : registration.nodes) {
        attributes.string(Tag::node_name, node).number(Tag::node_type, node_is_initiator);
        if (!registration.alias.empty()) {
            attributes.string(Tag::node_alias, registration.alias);
        }
    }
    Message message = make_message(Function::register_device, attributes.take());
    message.flags |= flag::replace;
    return message;
}

Message register_node(std::string_view node) {
    AttributeWriter attributes = from(node);
    attributes.empty(Tag::delimiter).string(Tag::node_name, node).number(Tag::node_type, node_is_initiator);
    return make_message(Function::register_device, attributes.take());
}

Message register_for_changes(std::string_view node) {
    AttributeWriter attributes = from(node);
    attributes.string(Tag::node_name, node)
        .empty(Tag::delimiter)
        .number(Tag::change_bitmap,
                change::of_targets_and_self | change::removed | change::added | change::updated);
    return make_message(Function::register_for_changes, attributes.take());
}

Message query_targets(std::string_view node) {
    AttributeWriter attributes = from(node);
    attributes.number(Tag::node_type, node_is_target).empty(Tag::delimiter);
    for (Tag wanted : {Tag::node_name, Tag::node_type, Tag::portal_address, Tag::portal_port,
                       Tag::group_node_name, Tag::group_address, Tag::group_port, Tag::group_tag}) {
        attributes.empty(wanted);
    }
    return make_message(Function::query_device, attributes.take());
}

Message query_entity(std::string_view node, std::string_view entity) {
    AttributeWriter attributes = from(node);
    attributes.string(Tag::entity_identifier, entity).empty(Tag::delimiter).empty(Tag::entity_identifier);
    return make_message(Function::query_device, attributes.take());
}

Message deregister_entity(std::string_view node, std::string_view entity) {
    AttributeWriter attributes = from(node);
    attributes.empty(Tag::delimiter).string(Tag::entity_identifier, entity);
    return make_message(Function::deregister_device, attributes.take());
}

Message deregister_node(std::string_view node) {
    AttributeWriter attributes = from(node);
    attributes.empty(Tag::delimiter).string(Tag::node_name, node);
    return make_message(Function::deregister_device, attributes.take());
}

Result<Status> status_of(const Message& answer) {
    if (answer.payload.size() < status_bytes) {
        return base::fail(Errc::protocol, "an iSNS answer without a status");
    }
    return static_cast<Status>(base::load<base::Be32>(answer.payload).get());
}

Result<base::DiscoveredTargets> read_targets(const Message& answer) {
    Operating operating(answer);
    Groups groups;
    for (;;) {
        Result<std::optional<Attribute>> attribute = operating.next();
        if (!attribute) {
            return base::fail(std::move(attribute.error()));
        }
        Result<void> taken = *attribute ? groups.take(**attribute) : groups.close();
        if (!taken) {
            return base::fail(std::move(taken.error()));
        }
        if (!*attribute) {
            return groups.finish();
        }
    }
}

Result<Registered> read_registered(const Message& answer) {
    Operating operating(answer);
    Registered registered;
    for (;;) {
        Result<std::optional<Attribute>> attribute = operating.next();
        if (!attribute) {
            return base::fail(std::move(attribute.error()));
        }
        if (!*attribute) {
            return registered;
        }
        if ((*attribute)->is(Tag::registration_period)) {
            registered.period_s = (*attribute)->number().value_or(0);
        } else if ((*attribute)->is(Tag::inquiry_interval)) {
            registered.inquiry_interval_s = (*attribute)->number().value_or(0);
        }
    }
}

Result<bool> knows_entity(const Message& answer) {
    Result<Status> status = status_of(answer);
    if (!status || *status != Status::successful) {
        return status ? Result<bool>(false) : base::fail(std::move(status.error()));
    }
    Operating operating(answer);
    bool found = false;
    for (;;) {
        Result<std::optional<Attribute>> attribute = operating.next();
        if (!attribute) {
            return base::fail(std::move(attribute.error()));
        }
        if (!*attribute) {
            return found;
        }
        found = found || (*attribute)->is(Tag::entity_identifier);
    }
}

Result<Reaction> react(const Message& request, std::string_view node) {
    Reaction reaction;
    AttributeWriter answer;
    if (request.function == static_cast<std::uint16_t>(Function::state_change)) {
        Result<Change> change = read_change(request);
        if (!change) {
            return base::fail(std::move(change.error()));
        }
        reaction.unasked.changed = true;
        reaction.unasked.what = std::move(change->words);
        add_status(answer, Status::successful);
        answer.string(Tag::node_name, change->destination.empty() ? node : change->destination);
    } else if (request.function == static_cast<std::uint16_t>(Function::status_inquiry)) {
        if (Result<void> checked = check_attributes(request.payload); !checked) {
            return base::fail(std::move(checked.error()));
        }
        reaction.unasked.inquired = true;
        add_status(answer, Status::successful);
        answer.bytes(request.payload);
    } else if ((request.function & response_bit) != 0) {
        return base::fail(Errc::protocol,
                          fmt::format("an iSNS answer that nobody waits for ({:#06x})", request.function));
    } else {
        add_status(answer, Status::not_supported);
    }
    reaction.answer = make_answer(request, answer.take());
    return reaction;
}

} // namespace iscsi::isns
