// Views of bytes that somebody else owns, and the few things everyone does with them.
// A Bytes never outlives the buffer it was made from. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

namespace iscsi::base {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline Bytes bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

inline std::string_view text_of(Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The object representation of a wire struct.
template <class T>
requires std::is_trivially_copyable_v<T> Bytes bytes_of_object(const T& object) {
    return std::as_bytes(std::span(&object, 1));
}

/// Copies a wire struct out of `bytes` at `offset`; the caller has checked that it fits.
template <class T>
requires std::is_trivially_copyable_v<T> T load(Bytes bytes, std::size_t offset = 0) {
    T object;
    std::memcpy(&object, bytes.data() + offset, sizeof object);
    return object;
}

/// `n` rounded up to the four-byte words that iSCSI segments are padded to (RFC 7143 section 11.1).
constexpr std::size_t pad4(std::size_t n) {
    return (n + 3) & ~std::size_t{3};
}

} // namespace iscsi::base
