// A record: the values of the keys that apply to its kind. Only what differs from the compiled default is
// held, so two records are equal when they mean the same. Keys that this version does not know are kept as
// they were read and written back. Every value in a Record has passed checked_value(). Plain value; any
// thread.
#pragma once

#include "base/result.hpp"
#include "records/fields.hpp"
#include "records/names.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace iscsi::records {

class Record {
public:
    explicit Record(RecordKind kind);

    RecordKind kind() const { return kind_; }

    /// The value, or the compiled default when there is none. The reference lives until the next change.
    const std::string& text(Key key) const;
    /// The value of a number row.
    std::int64_t number(Key key) const;
    /// The value of a boolean row.
    bool boolean(Key key) const;
    /// The items of a list row, in order.
    std::vector<std::string> list(Key key) const;

    /// Sets a key that must apply to this kind (a broken rule is a bug of ours). Errc::invalid when the value
    /// is refused.
    base::Result<void> set(Key key, std::string_view value);
    /// Sets a key by its name as files and requests do. A name without a row is kept verbatim; the empty
    /// value removes it. Errc::invalid when value or name is refused.
    base::Result<void> set(std::string_view name, std::string_view value);

    /// Sets a key on an operator's request (-o update -n name -v value): as set(), but unknown names, keys
    /// that identify the record and, in a node, interface keys are refused with open-iscsi's wording.
    base::Result<void> modify(std::string_view name, std::string_view value);
    /// What modify() checks of the name alone, so that many pairs can be verified before the first is
    /// applied.
    base::Result<void> check_modifiable(std::string_view name) const;

    /// Names without a row, in the order they came, and their values.
    const std::vector<std::pair<std::string, std::string>>& unknown() const { return unknown_; }

    /// True when the dump of this record prints `row`.
    bool prints(const Field& row) const;

    friend bool operator==(const Record&, const Record&) = default;

private:
    void store(Key key, std::string value);
    base::Result<void> set_unknown(std::string_view name, std::string_view value);

    RecordKind kind_;
    std::vector<std::pair<Key, std::string>> values_; ///< sorted by key; never a compiled default
    std::vector<std::pair<std::string, std::string>> unknown_;
};

/// What identifies a node record: its place in the database.
struct NodeId {
    std::string target;
    Portal portal; ///< tpgt -1: a record whose portal group tag is not known
    std::string iface;

    friend bool operator==(const NodeId&, const NodeId&) = default;
};

NodeId node_id(const Record& node);
/// All of it fit to become a path: an iSCSI name, a host, a port, an interface name. Errc::invalid.
base::Result<void> check_node_id(const NodeId& id);
/// The address and port of a discovery record.
Portal discovery_portal(const Record& discovery);

/// Where a node record came from.
struct Origin {
    std::string_view type = "static"; ///< a choice of node.discovery_type
    std::string address;
    std::uint16_t port = 0;
};

/// A new node record: `node_template` (from iscsid.conf) with the interface's keys copied in and its identity
/// and origin set. `iface` gives the interface's name.
base::Result<Record> make_node(const Record& node_template, std::string_view target, const Portal& portal,
                               const Record& iface, const Origin& origin);

/// A new discovery record from a template of its kind.
base::Result<Record> make_discovery(const Record& discovery_template, const Portal& portal);

/// A new interface record of that name: transport iser for "iser", else tcp. Errc::invalid for a bad name.
base::Result<Record> make_iface(std::string_view name);

/// Copies every interface key of `iface` into `node`.
void copy_iface(const Record& iface, Record& node);

} // namespace iscsi::records
