// What the fuzzers share: how an input becomes text or a script of numbers, and what happens when a promise
// is broken. libFuzzer gives the main(); one thread. The bytes of an input are libFuzzer's, as long as it is
// tried.
#pragma once

#include "base/bytes.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace iscsi::test {

inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), size};
}

/// Ends the program when what must always be so is not; libFuzzer keeps the input.
inline void require(bool promise) {
    if (!promise) {
        std::abort();
    }
}

/// No control characters: safe as a line of a log, of a record or on a terminal.
inline bool is_one_line(std::string_view text) {
    return std::none_of(text.begin(), text.end(), [](char c) {
        auto byte = static_cast<unsigned char>(c);
        return byte < 0x20 || byte == 0x7f;
    });
}

/// An input taken from its front. Numbers are zero when it is used up.
class Script {
public:
    Script(const std::uint8_t* data, std::size_t size) : rest_(as_text(data, size)) {}

    bool empty() const { return rest_.empty(); }
    std::uint8_t u8() {
        std::string_view one = take(1);
        return one.empty() ? std::uint8_t{0} : static_cast<std::uint8_t>(one[0]);
    }
    std::uint16_t u16() {
        unsigned high = u8();
        return static_cast<std::uint16_t>(high << 8 | u8());
    }
    /// The next `n` bytes, or as many as there are.
    std::string_view take(std::size_t n) {
        std::string_view taken = rest_.substr(0, n);
        rest_.remove_prefix(taken.size());
        return taken;
    }
    std::string_view rest() { return take(rest_.size()); }

private:
    std::string_view rest_;
};

} // namespace iscsi::test
