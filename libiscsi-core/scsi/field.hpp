// Reading parameter data whose every length is the target's word: a Fields gives a number at an offset, and
// zero for what lies behind the end. Private to the room. The bytes are the caller's. Any thread.
#pragma once

#include "base/bytes.hpp"
#include "base/endian.hpp"

#include <cstddef>
#include <cstdint>

namespace iscsi::scsi {

class Fields {
public:
    explicit Fields(base::Bytes bytes) : bytes_(bytes) {}

    std::size_t size() const { return bytes_.size(); }
    bool holds(std::size_t offset, std::size_t n) const {
        return offset <= bytes_.size() && n <= bytes_.size() - offset;
    }
    std::uint8_t u8(std::size_t offset) const {
        return offset < bytes_.size() ? std::to_integer<std::uint8_t>(bytes_[offset]) : std::uint8_t{0};
    }
    std::uint16_t u16(std::size_t offset) const { return number<base::Be16>(offset).get(); }
    std::uint32_t u24(std::size_t offset) const { return number<base::Be24>(offset).get(); }
    std::uint32_t u32(std::size_t offset) const { return number<base::Be32>(offset).get(); }
    std::uint64_t u64(std::size_t offset) const { return number<base::Be64>(offset).get(); }
    bool bit(std::size_t offset, std::uint8_t mask) const { return (u8(offset) & mask) != 0; }

    /// The bytes from `offset`, `n` of them or as many as there are.
    base::Bytes part(std::size_t offset, std::size_t n) const {
        if (offset >= bytes_.size()) {
            return {};
        }
        return bytes_.subspan(offset, n < bytes_.size() - offset ? n : bytes_.size() - offset);
    }
    /// Nothing behind `n` bytes counts.
    void limit(std::size_t n) { bytes_ = part(0, n); }

private:
    template <class Number>
    Number number(std::size_t offset) const {
        return holds(offset, sizeof(Number)) ? base::load<Number>(bytes_, offset) : Number{};
    }

    base::Bytes bytes_;
};

} // namespace iscsi::scsi
