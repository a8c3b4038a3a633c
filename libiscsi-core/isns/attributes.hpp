// The attributes in a message: tag, length, value (RFC 4171 sections 5.3 and 6.1). A reader walks bytes that
// somebody else owns and trusts no length in them. Any thread.
#pragma once

#include "base/bytes.hpp"
#include "base/result.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace iscsi::isns {

/// Those that we say or understand. Others are read over.
enum class Tag : std::uint32_t {
    delimiter = 0,
    entity_identifier = 1,
    entity_protocol = 2,
    timestamp = 4,
    registration_period = 6, ///< seconds
    portal_address = 16,
    portal_port = 17,
    inquiry_interval = 19, ///< seconds
    inquiry_port = 20,
    change_port = 23,
    node_name = 32,
    node_type = 33,
    node_alias = 34,
    change_bitmap = 35,
    group_node_name = 48,
    group_address = 49,
    group_port = 50,
    group_tag = 51,
};

inline constexpr std::uint32_t protocol_iscsi = 2; ///< of Tag::entity_protocol

/// Of Tag::node_type.
inline constexpr std::uint32_t node_is_target = 1;
inline constexpr std::uint32_t node_is_initiator = 2;

/// In a port attribute: UDP and not TCP (section 6.3.2).
inline constexpr std::uint32_t port_is_udp = 0x10000;

/// Of Tag::change_bitmap (section 6.4.4).
namespace change {
inline constexpr std::uint32_t of_targets_and_self = 0x40;
inline constexpr std::uint32_t removed = 0x10;
inline constexpr std::uint32_t added = 0x08;
inline constexpr std::uint32_t updated = 0x04;
} // namespace change

/// An IPv6 address, or an IPv4 one in its mapped form (section 6.3.1).
using Address = std::array<std::byte, 16>;

/// As text: IPv4 in four numbers, else IPv6 as RFC 5952 writes it. The obsolete form of an IPv4 address with
/// zeros before it counts as one, because open-isns registers targets so.
std::string text_of(const Address& address);

struct Attribute {
    std::uint32_t tag = 0;
    base::Bytes value; ///< with its padding

    bool is(Tag wanted) const { return tag == static_cast<std::uint32_t>(wanted); }
    /// Empty when it is not four bytes.
    std::optional<std::uint32_t> number() const;
    /// Without the NUL that ends it; empty when there is none.
    std::optional<std::string_view> string() const;
    std::optional<Address> address() const;
};

class AttributeReader {
public:
    /// `bytes` outlives the reader and the attributes it gives.
    explicit AttributeReader(base::Bytes bytes) : rest_(bytes) {}

    /// The next one, or empty at the end. Errc::protocol when its length cannot be.
    base::Result<std::optional<Attribute>> next();

private:
    base::Bytes rest_;
};

class AttributeWriter {
public:
    /// Its value has no bytes: nothing, or what a query wants to know.
    AttributeWriter& empty(Tag tag);
    AttributeWriter& number(Tag tag, std::uint32_t value);
    AttributeWriter& string(Tag tag, std::string_view value);
    AttributeWriter& address(Tag tag, const Address& value);
    /// As they are.
    AttributeWriter& bytes(base::Bytes bytes);

    std::vector<std::byte> take() { return std::move(bytes_); }

private:
    void add(Tag tag, base::Bytes value, std::size_t length);
    void word(std::uint32_t value);

    std::vector<std::byte> bytes_;
};

} // namespace iscsi::isns
