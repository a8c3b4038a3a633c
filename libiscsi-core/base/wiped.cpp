#include "base/wiped.hpp"

#include <cstring>
#include <utility>

namespace iscsi::base {
namespace {

#if defined(__x86_64__)
void clear_lower() {
    asm volatile("vzeroall" ::
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                       "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

/// vzeroall leaves these alone.
[[gnu::target("avx512f")]] void clear_upper() {
    asm volatile("vpxorq %%zmm16, %%zmm16, %%zmm16\n\tvpxorq %%zmm17, %%zmm17, %%zmm17\n\t"
                 "vpxorq %%zmm18, %%zmm18, %%zmm18\n\tvpxorq %%zmm19, %%zmm19, %%zmm19\n\t"
                 "vpxorq %%zmm20, %%zmm20, %%zmm20\n\tvpxorq %%zmm21, %%zmm21, %%zmm21\n\t"
                 "vpxorq %%zmm22, %%zmm22, %%zmm22\n\tvpxorq %%zmm23, %%zmm23, %%zmm23\n\t"
                 "vpxorq %%zmm24, %%zmm24, %%zmm24\n\tvpxorq %%zmm25, %%zmm25, %%zmm25\n\t"
                 "vpxorq %%zmm26, %%zmm26, %%zmm26\n\tvpxorq %%zmm27, %%zmm27, %%zmm27\n\t"
                 "vpxorq %%zmm28, %%zmm28, %%zmm28\n\tvpxorq %%zmm29, %%zmm29, %%zmm29\n\t"
                 "vpxorq %%zmm30, %%zmm30, %%zmm30\n\tvpxorq %%zmm31, %%zmm31, %%zmm31" ::
                     : "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24",
                       "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
}
#endif

/// What was copied last stays in the registers that it was copied with, some of which hardly anybody else
/// uses. From there it gets to where they are saved: the stack of the next thread, of a signal, of a function
/// of a library that is bound at its first call.
void clear_vector_registers() {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx") != 0) {
        clear_lower();
    }
    if (__builtin_cpu_supports("avx512f") != 0) {
        clear_upper();
    }
#endif
}

} // namespace

void wipe(MutableBytes bytes) {
    if (!bytes.empty()) {
        ::explicit_bzero(bytes.data(), bytes.size());
        clear_vector_registers();
    }
}

void wipe(std::string& text) noexcept {
    // Behind its end may stand what it was before. Registers are left to the blocks of memory that are given
    // back all the time where secrets live long (iscsid/wiped_heap.cpp): there are many texts.
    text.resize(text.capacity());
    ::explicit_bzero(text.data(), text.size());
    text.clear();
}

WipedText::WipedText(WipedText&& other) noexcept : text_(std::move(other.text_)) {
    wipe(other.text_);
}

WipedText& WipedText::operator=(const WipedText& other) {
    if (this != &other) {
        wipe(text_);
        text_ = other.text_;
    }
    return *this;
}

WipedText& WipedText::operator=(WipedText&& other) noexcept {
    if (this != &other) {
        wipe(text_);
        text_ = std::move(other.text_);
        wipe(other.text_);
    }
    return *this;
}

} // namespace iscsi::base
