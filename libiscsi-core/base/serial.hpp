// Sequence numbers that wrap: RFC 1982 serial arithmetic over 32 bits. There is no operator<, on purpose:
// "less" has no meaning for numbers that wrap, "before" has. Values only; any thread.
#pragma once

#include <cstdint>

namespace iscsi::base {

template <class Tag>
class Serial32 {
public:
    constexpr Serial32() = default;
    constexpr explicit Serial32(std::uint32_t value) : value_(value) {}
    constexpr std::uint32_t value() const { return value_; }

    /// True when this number comes before `other` (RFC 1982 section 3.2). Numbers exactly 2^31 apart are not
    /// ordered.
    constexpr bool before(Serial32 other) const {
        return static_cast<std::int32_t>(value_ - other.value_) < 0 && value_ - other.value_ != 0x80000000U;
    }
    constexpr bool after(Serial32 other) const { return other.before(*this); }

    constexpr Serial32& operator++() {
        ++value_;
        return *this;
    }
    friend constexpr Serial32 operator+(Serial32 a, std::uint32_t n) { return Serial32(a.value_ + n); }
    friend constexpr Serial32 operator-(Serial32 a, std::uint32_t n) { return Serial32(a.value_ - n); }
    /// Steps from `b` to `a`, modulo 2^32.
    friend constexpr std::uint32_t operator-(Serial32 a, Serial32 b) { return a.value_ - b.value_; }
    friend constexpr bool operator==(Serial32, Serial32) = default;

private:
    std::uint32_t value_{};
};

using CmdSn = Serial32<struct CmdSnTag>;
using StatSn = Serial32<struct StatSnTag>;
using DataSn = Serial32<struct DataSnTag>;
using R2tSn = Serial32<struct R2tSnTag>;

} // namespace iscsi::base
