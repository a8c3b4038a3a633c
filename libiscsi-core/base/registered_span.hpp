// A part of a buffer that is registered with the ring of whoever moves the bytes: it is the kernel's memory,
// and nobody here can see what is in it. A value; any thread.
#pragma once

#include <cstdint>

namespace iscsi::base {

struct RegisteredSpan {
    std::uint32_t index = 0;  ///< in the ring's table of buffers
    std::uint32_t offset = 0; ///< of its first byte in the buffer
    std::uint32_t bytes = 0;  ///< 0 = there is none

    bool empty() const { return bytes == 0; }
    /// `n` of its bytes were moved.
    void advance(std::uint32_t n) {
        offset += n;
        bytes -= n;
    }
    /// `n` bytes from `at` on; both must be inside.
    RegisteredSpan part(std::uint32_t at, std::uint32_t n) const { return {index, offset + at, n}; }
};

} // namespace iscsi::base
