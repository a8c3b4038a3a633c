// One PDU of the scripted target: 48 bytes of header, additional header segments, data. Every field can be
// read and set by its name; what was set by hand stays, what was not is filled in when the PDU is sent. A
// value; any thread. RFC 7143 section 11.2.
#pragma once

#include "scripted/figures.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace iscsi::scripted {

using ByteVector = std::vector<std::byte>;

ByteVector bytes_of(std::string_view text);

class Pdu {
public:
    Pdu() = default;
    explicit Pdu(Opcode opcode);
    /// As it came; all of it counts as set.
    static Pdu received(std::span<const std::byte, header_bytes> header);

    Opcode opcode() const { return static_cast<Opcode>(get(field::opcode)); }
    bool is(Opcode opcode_) const { return opcode() == opcode_; }
    std::uint64_t get(const Field& field) const;
    /// A field of at most 32 bits.
    std::uint32_t get32(const Field& field) const { return static_cast<std::uint32_t>(get(field)); }
    bool has(const Field& field) const { return get(field) != 0; }

    /// Sets a field for good: sending does not change it any more.
    Pdu& set(const Field& field, std::uint64_t value = 1);
    /// Sets a field that set() has not.
    Pdu& fill(const Field& field, std::uint64_t value = 1);
    Pdu& with_data(ByteVector bytes);
    Pdu& with_text(std::string_view text) { return with_data(bytes_of(text)); }

    std::span<const std::byte, header_bytes> header() const { return header_; }
    std::string text() const;
    std::array<std::byte, 16> cdb() const;

    // Key text: pairs "key=value", each ended by NUL (RFC 7143 section 6.1).
    std::optional<std::string> key(std::string_view name) const;
    Pdu& set_key(std::string_view name, std::string_view value);
    Pdu& erase_key(std::string_view name);

    /// Reserved bits of the header that are not zero, in words; empty when there are none.
    std::string set_reserved_bits() const;
    /// Sets every reserved bit but those of the opcode's byte.
    Pdu& set_reserved();
    std::string describe() const;

    ByteVector ahs;
    ByteVector data;

private:
    void put(const Field& field, std::uint64_t value);

    std::array<std::byte, header_bytes> header_{};
    std::array<std::byte, header_bytes> by_hand_{}; ///< bits that set() has written
};

/// "a=b", "c=d" of key text, in order; what has no '=' is a key without a value.
std::vector<std::pair<std::string, std::string>> pairs_of(std::string_view text);

} // namespace iscsi::scripted
