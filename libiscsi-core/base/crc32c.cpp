#include "base/crc32c.hpp"

#include <isa-l/crc.h>

namespace iscsi::base {

void Crc32c::add(Bytes bytes) {
    // isa-l takes the length as int and the data as non-const; it does not write.
    constexpr std::size_t piece_max = std::size_t{1} << 30;
    while (!bytes.empty()) {
        Bytes piece = bytes.first(bytes.size() < piece_max ? bytes.size() : piece_max);
        auto* data = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(piece.data()));
        state_ = crc32_iscsi(data, static_cast<int>(piece.size()), state_);
        bytes = bytes.subspan(piece.size());
    }
}

std::uint32_t crc32c(Bytes bytes) {
    Crc32c crc;
    crc.add(bytes);
    return crc.value();
}

} // namespace iscsi::base
