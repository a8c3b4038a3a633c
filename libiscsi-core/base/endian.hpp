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
        if constexpr (sizeof(Value) == Width) {
            // GCC 12 does not make one load of the loop below.
            return swap_if_little(std::bit_cast<Value>(raw_));
        } else {
            Value value = 0;
            for (std::byte b : raw_) {
                value =
                    static_cast<Value>((static_cast<std::uint64_t>(value) << 8) | std::to_integer<Value>(b));
            }
            return value;
        }
    }
    constexpr void set(Value value) {
        if constexpr (sizeof(Value) == Width) {
            raw_ = std::bit_cast<std::array<std::byte, Width>>(swap_if_little(value));
        } else {
            for (std::size_t i = Width; i-- > 0;) {
                raw_[i] = static_cast<std::byte>(value & 0xff);
                value = static_cast<Value>(static_cast<std::uint64_t>(value) >> 8);
            }
        }
    }
    constexpr explicit(false) operator Value() const { return get(); }
    constexpr BigEndian& operator=(Value value) {
        set(value);
        return *this;
    }

private:
    static constexpr Value swap_if_little(Value value) {
        if constexpr (std::endian::native == std::endian::big) {
            return value;
        } else if constexpr (sizeof(Value) == 2) {
            return __builtin_bswap16(value);
        } else if constexpr (sizeof(Value) == 4) {
            return __builtin_bswap32(value);
        } else {
            return __builtin_bswap64(value);
        }
    }

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
