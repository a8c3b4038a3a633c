// A record: the values of the keys that apply to its kind. Only what differs from a new record of the kind is
// held, so two records are equal when they mean the same. Every value in a Record has passed checked_value();
// what a file has beside that, keys that this version does not know and values that it cannot use, is kept as
// it was read and written back until the key is set. No value stays in memory where a Record dies or changes:
// any may be a secret, also of a key that this version does not know. Plain value; any thread.
#pragma once

#include "base/result.hpp"
#include "base/wiped.hpp"
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
    explicit Record(RecordKind kind) : kind_(kind) {}

    RecordKind kind() const { return kind_; }

    /// The value, or that of a new record when there is none. The reference lives until the next change.
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

    /// What a file says of a key: as set(), but nothing is lost. A value that is refused (Errc::invalid tells
    /// why) is kept beside the nearest one that can be used. A name without a row may have any value.
    base::Result<void> take(std::string_view name, std::string_view value);

    /// Sets a key on an operator's request (-o update -n name -v value): as set(), but unknown names, keys
    /// that identify the record and, in a node, interface keys are refused with open-iscsi's wording.
    base::Result<void> modify(std::string_view name, std::string_view value);
    /// What modify() checks of the name alone, so that many pairs can be verified before the first is
    /// applied.
    base::Result<void> check_modifiable(std::string_view name) const;

    /// Names without a row, in the order they came, and their values.
    const std::vector<std::pair<std::string, base::WipedText>>& unknown() const { return unknown_; }

    /// Names without a row whose values are kept as the file has them, whatever they are.
    const std::vector<std::pair<std::string, base::WipedText>>& kept() const { return kept_; }
    /// The text of a key that the file has and take() refused; nullptr when there is none.
    const std::string* refused(Key key) const;
    /// One line for each value that is not in use: why, and what is used instead. Shows no secret.
    std::vector<std::string> notes() const;

    /// True when the dump of this record prints `row`.
    bool prints(const Field& row) const;

    friend bool operator==(const Record&, const Record&) = default;

private:
    /// What a new record of this kind has: the compiled default, but for the kind's own discovery.type.
    const std::string& initial(Key key) const;
    void store(Key key, base::WipedText value);
    /// A key for IPv4 in an interface for IPv6, or the other way round; its name tells which it is.
    bool is_of_other_family(const Field& row) const;
    base::Result<void> set_unknown(std::string_view name, std::string_view value);
    void take_unknown(std::string_view name, std::string_view value);
    void forget_kept(std::string_view name);

    RecordKind kind_;
    std::vector<std::pair<Key, base::WipedText>> values_; ///< sorted by key; never an initial value
    std::vector<std::pair<std::string, base::WipedText>> unknown_;
    std::vector<std::pair<std::string, base::WipedText>> kept_;
    std::vector<std::pair<Key, base::WipedText>> refused_; ///< sorted by key
};

/// What identifies a node record: its place in the database.
struct NodeId {
    std::string target;
    Portal portal; ///< tpgt -1: a record whose portal group tag is not known
    std::string iface;

    friend bool operator==(const NodeId&, const NodeId&) = default;
};

NodeId node_id(const Record& node);
/// All of it fit to become a path: an iSCSI name, a portal whose name a file can have, an interface name.
/// Errc::invalid.
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

/// Copies into `node` what `iface` sets; the rest stays as it is in the node.
void bind_iface(const Record& iface, Record& node);
/// Copies every interface key of `iface` into `node`: after a change of the interface.
void copy_iface(const Record& iface, Record& node);

} // namespace iscsi::records
