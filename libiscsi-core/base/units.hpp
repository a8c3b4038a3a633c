// Numbers that must not be mixed up, each a type of its own. Values only; any thread.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace iscsi::base {

/// A number with a meaning: equal and ordered among its kind, convertible only by name.
template <class Tag, class Rep>
class Strong {
public:
    using rep = Rep;
    constexpr Strong() = default;
    constexpr explicit Strong(Rep value) : value_(value) {}
    constexpr Rep value() const { return value_; }
    // NOLINTNEXTLINE(modernize-use-nullptr): clang-tidy 14 takes what the compiler writes here for ours
    friend constexpr auto operator<=>(const Strong&, const Strong&) = default;

private:
    Rep value_{};
};

/// Logical block address (SBC).
using Lba = Strong<struct LbaTag, std::uint64_t>;
/// A number of logical blocks.
using BlockCount = Strong<struct BlockCountTag, std::uint64_t>;
/// A number of bytes.
using ByteCount = Strong<struct ByteCountTag, std::uint64_t>;
/// Logical unit number: the eight bytes of SAM-5 4.7 read as one big-endian number, verbatim from REPORT
/// LUNS.
using Lun = Strong<struct LunTag, std::uint64_t>;
/// Initiator Task Tag (RFC 7143 section 11.2.1.8).
using Itt = Strong<struct IttTag, std::uint32_t>;
/// Target Transfer Tag (RFC 7143 section 11.7.4).
using Ttt = Strong<struct TttTag, std::uint32_t>;
/// Initiator part of the session identifier, 48 bits (RFC 7143 section 11.12.5).
using Isid = Strong<struct IsidTag, std::uint64_t>;
/// Target Session Identifying Handle; 0 on a leading login (RFC 7143 section 11.12.6).
using Tsih = Strong<struct TsihTag, std::uint16_t>;
/// Connection identifier (RFC 7143 section 11.12.7).
using Cid = Strong<struct CidTag, std::uint16_t>;

/// The tag that means "no task" or "no transfer" (RFC 7143 section 11.2.1.8).
inline constexpr std::uint32_t reserved_tag = 0xffffffffU;

} // namespace iscsi::base
