#include "records/record.hpp"

#include "base/check.hpp"
#include "base/limits.hpp"
#include "base/names.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace iscsi::records {
namespace {

using base::Errc;
using base::fail;
using base::Result;

/// Keys of other versions that one record may carry along; open-iscsi reads at most 256 keys of a file.
constexpr std::size_t unknown_keys_max = 256;

bool is_key_byte(unsigned char c) {
    return c > 0x20 && c < 0x7f && c != '=';
}

Result<void> check_key_name(std::string_view name) {
    if (name.empty() || name.size() > base::limits::record_key_bytes_max || name[0] == '#' ||
        !std::ranges::all_of(name, is_key_byte)) {
        return fail(Errc::invalid, fmt::format("'{}' is not a key", base::printable(name, 64)));
    }
    return {};
}

// A text row of no meaning: unknown values obey the same limits as known texts.
constexpr Field unknown_row{Key::node_name, "a key of another version", Type::text, 0, "", ""};

bool is_interface_key(const Field& row) {
    return row.applies_to(RecordKind::iface);
}

Result<void> set_all(Record& record, std::initializer_list<std::pair<Key, std::string_view>> values) {
    for (const auto& [key, value] : values) {
        Result<void> done = record.set(key, value);
        if (!done) {
            return done;
        }
    }
    return {};
}

} // namespace

Record::Record(RecordKind kind) : kind_(kind) {
    if (kind == RecordKind::isns) {
        store(Key::discovery_type, "isns");
    }
}

const std::string& Record::text(Key key) const {
    auto at = std::ranges::lower_bound(values_, key, {}, &std::pair<Key, std::string>::first);
    return at != values_.end() && at->first == key ? at->second : default_text(key);
}

std::int64_t Record::number(Key key) const {
    base::check(field(key).type == Type::number, "number() is asked of a number row");
    std::optional<std::int64_t> value = parse_number(text(key));
    base::check(value.has_value(), "a number row holds a number");
    return *value;
}

bool Record::boolean(Key key) const {
    base::check(field(key).type == Type::boolean, "boolean() is asked of a boolean row");
    return text(key) == "Yes";
}

std::vector<std::string> Record::list(Key key) const {
    base::check(field(key).type == Type::list, "list() is asked of a list row");
    std::vector<std::string> items;
    for (std::string_view item : base::split(text(key), ',')) {
        items.emplace_back(item);
    }
    return items;
}

void Record::store(Key key, std::string value) {
    auto at = std::ranges::lower_bound(values_, key, {}, &std::pair<Key, std::string>::first);
    bool present = at != values_.end() && at->first == key;
    if (value == default_text(key)) {
        if (present) {
            values_.erase(at);
        }
    } else if (present) {
        at->second = std::move(value);
    } else {
        values_.emplace(at, key, std::move(value));
    }
}

Result<void> Record::set(Key key, std::string_view value) {
    const Field& row = field(key);
    base::check(row.applies_to(kind_), "a key is set in a record of its kind");
    if (row.has(hidden)) {
        return {};
    }
    Result<std::string> checked = checked_value(row, value);
    if (!checked) {
        return fail(checked.error());
    }
    store(key, std::move(*checked));
    return {};
}

Result<void> Record::set(std::string_view name, std::string_view value) {
    const Field* row = find_field(kind_, name);
    return row == nullptr ? set_unknown(name, value) : set(row->key, value);
}

Result<void> Record::set_unknown(std::string_view name, std::string_view value) {
    Result<void> named = check_key_name(name);
    if (!named) {
        return named;
    }
    Result<std::string> checked = checked_value(unknown_row, value);
    if (!checked) {
        return fail(checked.error());
    }
    auto at = std::ranges::find(unknown_, name, &std::pair<std::string, std::string>::first);
    if (checked->empty()) {
        if (at != unknown_.end()) {
            unknown_.erase(at);
        }
        return {};
    }
    if (at != unknown_.end()) {
        at->second = std::move(*checked);
        return {};
    }
    if (unknown_.size() >= unknown_keys_max) {
        return fail(Errc::invalid, fmt::format("more than {} unknown keys", unknown_keys_max));
    }
    unknown_.emplace_back(name, std::move(*checked));
    return {};
}

Result<void> Record::check_modifiable(std::string_view name) const {
    const Field* row = find_field(kind_, name);
    std::string shown = base::printable(name, base::limits::record_key_bytes_max);
    if (row == nullptr) {
        return fail(Errc::invalid, fmt::format("Cannot modify {}. Invalid param name.", shown));
    }
    if (row->has(read_only)) {
        return fail(
            Errc::invalid,
            fmt::format("Cannot modify {}. It is used to look up the record and cannot be changed.", shown));
    }
    if (kind_ == RecordKind::node && is_interface_key(*row) && row->key != Key::iface_transport_name) {
        return fail(Errc::invalid,
                    fmt::format("Cannot modify {}. Use iface mode to update this value.", shown));
    }
    return {};
}

Result<void> Record::modify(std::string_view name, std::string_view value) {
    Result<void> allowed = check_modifiable(name);
    return allowed ? set(name, value) : allowed;
}

bool Record::prints(const Field& row) const {
    if (!row.applies_to(kind_) || row.has(hidden)) {
        return false;
    }
    if (row.has(when_set)) {
        return text(row.key) != row.compiled_default;
    }
    if (row.has(v4_only) || row.has(v6_only)) {
        bool is_v6 = text(Key::iface_name).find("ipv6") != std::string::npos;
        // A value of the other family is not lost when the record is written again.
        return is_v6 == row.has(v6_only) || text(row.key) != row.compiled_default;
    }
    return true;
}

NodeId node_id(const Record& node) {
    Portal portal{node.text(Key::conn_address), static_cast<std::uint16_t>(node.number(Key::conn_port)),
                  static_cast<std::int32_t>(node.number(Key::node_tpgt))};
    return {node.text(Key::node_name), std::move(portal), node.text(Key::iface_name)};
}

Result<void> check_node_id(const NodeId& id) {
    for (const Result<void>& checked : {base::check_iscsi_name(id.target),
                                        base::check_host(id.portal.address), check_iface_name(id.iface)}) {
        if (!checked) {
            return checked;
        }
    }
    if (id.portal.port == 0 || id.portal.tpgt < tpgt_unknown || id.portal.tpgt > 65535) {
        return fail(Errc::invalid, fmt::format("port {} or portal group tag {} is out of range",
                                               id.portal.port, id.portal.tpgt));
    }
    return {};
}

Portal discovery_portal(const Record& discovery) {
    return {discovery.text(Key::discovery_address),
            static_cast<std::uint16_t>(discovery.number(Key::discovery_port)), tpgt_unknown};
}

Result<Record> make_node(const Record& node_template, std::string_view target, const Portal& portal,
                         const Record& iface, const Origin& origin) {
    base::check(node_template.kind() == RecordKind::node, "a node is made from a node template");
    Result<void> named = check_node_id({std::string(target), portal, iface.text(Key::iface_name)});
    if (!named) {
        return fail(named.error());
    }
    Record node = node_template;
    for (const Field& row : fields()) {
        // What the interface leaves open stays as the template has it.
        if (is_interface_key(row) && iface.text(row.key) != row.compiled_default) {
            base::check(node.set(row.key, iface.text(row.key)).has_value(), "a value of a record is valid");
        }
    }
    Result<void> done = set_all(node, {{Key::node_name, target},
                                       {Key::iface_name, iface.text(Key::iface_name)},
                                       {Key::node_tpgt, std::to_string(portal.tpgt)},
                                       {Key::conn_address, portal.address},
                                       {Key::conn_port, std::to_string(portal.port)},
                                       {Key::node_discovery_type, origin.type},
                                       {Key::node_discovery_address, origin.address},
                                       {Key::node_discovery_port, std::to_string(origin.port)}});
    if (!done) {
        return fail(done.error());
    }
    return node;
}

Result<Record> make_discovery(const Record& discovery_template, const Portal& portal) {
    Result<void> named = base::check_host(portal.address);
    if (!named) {
        return fail(named.error());
    }
    Record discovery = discovery_template;
    Result<void> done = set_all(discovery, {{Key::discovery_address, portal.address},
                                            {Key::discovery_port, std::to_string(portal.port)}});
    if (!done) {
        return fail(done.error());
    }
    return discovery;
}

Result<Record> make_iface(std::string_view name) {
    Result<void> named = check_iface_name(name);
    if (!named) {
        return fail(named.error());
    }
    Record iface(RecordKind::iface);
    Result<void> done = set_all(
        iface, {{Key::iface_name, name}, {Key::iface_transport_name, name == "iser" ? "iser" : "tcp"}});
    if (!done) {
        return fail(done.error());
    }
    return iface;
}

void copy_iface(const Record& iface, Record& node) {
    for (const Field& row : fields()) {
        if (is_interface_key(row)) {
            base::check(node.set(row.key, iface.text(row.key)).has_value(), "a value of a record is valid");
        }
    }
}

} // namespace iscsi::records
