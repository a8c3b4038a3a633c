// Big-endian fields as byte arrays of alignment 1: what wire structs are made of.
// All byte-order code of the project is here. Any thread.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace iscsi::base {

/// An unsigned number of `Width` bytes, most significant first. `Value` is the native type that holds it.
template <class Value, std::size_t Width>
class BigEndian {
public:
    constexpr BigEndian() = default;
    constexpr explicit(false) BigEndian(Value value) { set(value); }

    constexpr Value get() const {
        Value value = 0;
        for (std::byte b : raw_) {
            value = static_cast<Value>((static_cast<std::uint64_t>(value) << 8) | std::to_integer<Value>(b));
        }
        return value;
    }
    constexpr void set(Value value) {
        for (std::size_t i = Width; i-- > 0;) {
            raw_[i] = static_cast<std::byte>(value & 0xff);
            value = static_cast<Value>(static_cast<std::uint64_t>(value) >> 8);
        }
    }
    constexpr explicit(false) operator Value() const { return get(); }
    constexpr BigEndian& operator=(Value value) {
        set(value);
        return *this;
    }

private:
    std::array<std::byte, Width> raw_{};
};

using Be16 = BigEndian<std::uint16_t, 2>;
using Be24 = BigEndian<std::uint32_t, 3>;
using Be32 = BigEndian<std::uint32_t, 4>;
using Be48 = BigEndian<std::uint64_t, 6>;
using Be64 = BigEndian<std::uint64_t, 8>;

static_assert(sizeof(Be24) == 3 && alignof(Be24) == 1);
static_assert(sizeof(Be64) == 8 && alignof(Be64) == 1);

} // namespace iscsi::base
