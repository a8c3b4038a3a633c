#include "records/record.hpp"

#include "base/check.hpp"
#include "base/limits.hpp"
#include "base/names.hpp"
#include "base/text.hpp"
#include "records/secret_reference.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace iscsi::records {
namespace {

using base::Errc;
using base::fail;
using base::Result;
using base::WipedText;

/// Keys of other versions that one record may carry along; open-iscsi reads at most 256 keys of a file.
constexpr std::size_t unknown_keys_max = 256;
/// What is kept of a file beside them.
constexpr std::size_t kept_max = 1024;

using Pair = std::pair<std::string, WipedText>;
using Value = std::pair<Key, WipedText>;

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

bool fits_line(std::string_view name, std::string_view value) {
    constexpr std::string_view between = " = ";
    return name.size() + between.size() + value.size() <= base::limits::record_line_bytes_max;
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

const std::string& Record::initial(Key key) const {
    static const std::string isns = "isns";
    return kind_ == RecordKind::isns && key == Key::discovery_type ? isns : default_text(key);
}

const std::string& Record::text(Key key) const {
    auto at = std::ranges::lower_bound(values_, key, {}, &Value::first);
    return at != values_.end() && at->first == key ? at->second.text() : initial(key);
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

void Record::store(Key key, WipedText value) {
    auto at = std::ranges::lower_bound(values_, key, {}, &Value::first);
    bool present = at != values_.end() && at->first == key;
    if (value == initial(key)) {
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
    // As most of a request's hundred are: nothing to check, and nothing to hold.
    const bool is_initial = !value.empty() && value == initial(key);
    if (is_initial) {
        std::erase_if(values_, [&](const Value& held) { return held.first == key; });
    } else {
        Result<WipedText> checked = checked_value(row, value);
        if (!checked) {
            return fail(checked.error());
        }
        store(key, std::move(*checked));
    }
    std::erase_if(refused_, [&](const Value& refused) { return refused.first == key; });
    return {};
}

Result<void> Record::set(std::string_view name, std::string_view value) {
    const Field* row = find_field(kind_, name);
    return row == nullptr ? set_unknown(name, value) : set(row->key, value);
}

Result<void> Record::take(std::string_view name, std::string_view value) {
    const Field* row = find_field(kind_, name);
    if (row == nullptr) {
        take_unknown(name, value);
        return {};
    }
    Result<void> done = set(row->key, value);
    if (done) {
        return done;
    }
    std::optional<std::string> nearest = nearest_value(*row, value);
    // Of a key that stands in a file twice the line counts that can be used.
    bool counts = nearest || text(row->key) == initial(row->key);
    if (counts && fits_line(row->name, value)) {
        store(row->key, WipedText(nearest.value_or(initial(row->key))));
        Value refused(row->key, WipedText(value));
        std::erase_if(refused_, [&](const Value& earlier) { return earlier.first == row->key; });
        refused_.insert(std::ranges::upper_bound(refused_, row->key, {}, &Value::first), std::move(refused));
    }
    return done;
}

void Record::take_unknown(std::string_view name, std::string_view value) {
    if (!value.empty() && value != "<empty>" && set_unknown(name, value)) {
        return;
    }
    std::erase_if(unknown_, [&](const Pair& pair) { return pair.first == name; });
    forget_kept(name);
    if (fits_line(name, value) && kept_.size() < kept_max) {
        kept_.emplace_back(name, WipedText(value));
    }
}

void Record::forget_kept(std::string_view name) {
    std::erase_if(kept_, [&](const Pair& pair) { return pair.first == name; });
}

const std::string* Record::refused(Key key) const {
    auto at = std::ranges::find(refused_, key, &Value::first);
    return at == refused_.end() ? nullptr : &at->second.text();
}

std::vector<std::string> Record::notes() const {
    std::vector<std::string> lines;
    for (const auto& [key, value] : refused_) {
        Result<WipedText> why = checked_value(field(key), value.text());
        std::string_view used = text(key);
        used = field(key).has(secret) ? "none" : used.empty() ? "<empty>" : used;
        lines.push_back(fmt::format("{}; used is {}", why ? field(key).name : why.error().message(), used));
    }
    return lines;
}

Result<void> Record::set_unknown(std::string_view name, std::string_view value) {
    Result<void> named = check_key_name(name);
    if (!named) {
        return named;
    }
    Result<WipedText> checked = checked_value(unknown_row, value);
    if (!checked) {
        return fail(checked.error());
    }
    forget_kept(name);
    auto at = std::ranges::find(unknown_, name, &Pair::first);
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
    bool transport = row != nullptr && row->key == Key::iface_transport_name;
    if (kind_ == RecordKind::node && name.starts_with("iface.") && !transport) {
        return fail(Errc::invalid,
                    fmt::format("Cannot modify {}. Use iface mode to update this value.", shown));
    }
    // A record that held a key of the other family would not be read by open-iscsi.
    if (row == nullptr || is_of_other_family(*row)) {
        return fail(Errc::invalid, fmt::format("Cannot modify {}. Invalid param name.", shown));
    }
    if (kind_ == RecordKind::iface && row->has(read_only)) {
        return fail(Errc::invalid,
                    fmt::format("Can not update {}. Delete it, and then create a new one.", shown));
    }
    if (row->has(read_only)) {
        return fail(
            Errc::invalid,
            fmt::format("Cannot modify {}. It is used to look up the record and cannot be changed.", shown));
    }
    return {};
}

Result<void> Record::modify(std::string_view name, std::string_view value) {
    Result<void> allowed = check_modifiable(name);
    const Field* row = find_field(kind_, name);
    if (allowed && row != nullptr) {
        allowed = check_request(*row, value);
    }
    std::optional<SecretReference> reference =
        row != nullptr && row->has(secret) ? secret_reference(value) : std::nullopt;
    // Not in set(): a file's wrong reference must not be taken for no secret, but fail the login.
    if (allowed && reference) {
        allowed = check_secret_reference(*reference);
    }
    return allowed ? set(name, value) : allowed;
}

bool Record::prints(const Field& row) const {
    if (!row.applies_to(kind_) || row.has(hidden)) {
        return false;
    }
    if (row.has(when_set)) {
        return text(row.key) != row.compiled_default;
    }
    // A value of the other family is not lost when the record is written again.
    return !is_of_other_family(row) || text(row.key) != row.compiled_default;
}

bool Record::is_of_other_family(const Field& row) const {
    bool is_v6 = text(Key::iface_name).find("ipv6") != std::string::npos;
    return is_v6 ? row.has(v4_only) : row.has(v6_only);
}

NodeId node_id(const Record& node) {
    Portal portal{node.text(Key::conn_address), static_cast<std::uint16_t>(node.number(Key::conn_port)),
                  static_cast<std::int32_t>(node.number(Key::node_tpgt))};
    return {node.text(Key::node_name), std::move(portal), node.text(Key::iface_name)};
}

Result<void> check_node_id(const NodeId& id) {
    for (const Result<void>& checked : {base::check_target_name(id.target),
                                        base::check_host(id.portal.address), check_iface_name(id.iface)}) {
        if (!checked) {
            return checked;
        }
    }
    Result<void> place = check_file_name(tagged_portal_file_name(id.portal));
    if (!place) {
        return place;
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
    bind_iface(iface, node);
    Result<void> done = set_all(node, {{Key::node_name, target},
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

void bind_iface(const Record& iface, Record& node) {
    for (const Field& row : fields()) {
        bool sets = iface.text(row.key) != row.compiled_default || row.key == Key::iface_name;
        if (is_interface_key(row) && sets) {
            base::check(node.set(row.key, iface.text(row.key)).has_value(), "a value of a record is valid");
        }
    }
}

void copy_iface(const Record& iface, Record& node) {
    for (const Field& row : fields()) {
        if (is_interface_key(row)) {
            base::check(node.set(row.key, iface.text(row.key)).has_value(), "a value of a record is valid");
        }
    }
}

} // namespace iscsi::records
