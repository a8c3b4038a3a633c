// Copying and adding up in one pass: each byte is loaded once.
#include "base/crc32c.hpp"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace iscsi::base {
namespace {

/// Without the instructions for one pass: what was just copied is still in the nearest cache.
void copy_in_pieces(std::byte* to, Bytes from, Crc32c& crc) {
    constexpr std::size_t piece_bytes = 4096;
    while (!from.empty()) {
        const Bytes piece = from.first(std::min(from.size(), piece_bytes));
        std::memcpy(to, piece.data(), piece.size());
        crc.add(piece);
        to += piece.size();
        from = from.subspan(piece.size());
    }
}

#if defined(__x86_64__)

/// What is shorter is not worth the end of a folding.
constexpr std::size_t folded_bytes_min = 1024;
constexpr std::size_t stride_bytes = 256;

/// x^n modulo the polynomial, bits reflected, shifted by the one place that the product of two reflected
/// numbers is off.
constexpr long long power(unsigned n) {
    std::uint32_t value = 0x80000000U;
    for (; n > 0; --n) {
        value = (value >> 1) ^ ((value & 1) != 0 ? 0x82f63b78U : 0);
    }
    return static_cast<long long>(std::uint64_t{value} << 1);
}

/// Multiplies a 128-bit number by x^n (but for a multiple of the polynomial): its halves by these.
struct Shift {
    long long first;
    long long second;
};
constexpr Shift shift_by(unsigned n) {
    return {power(n + 32), power(n - 32)};
}
constexpr Shift by_stride = shift_by(8 * stride_bytes);
constexpr Shift by_512 = shift_by(512);
constexpr Shift by_128 = shift_by(128);

#define ISCSI_FOLDS __attribute__((target("avx512f,vpclmulqdq,pclmul,sse4.2")))

ISCSI_FOLDS __m512i wide(Shift by) {
    return _mm512_set_epi64(by.second, by.first, by.second, by.first, by.second, by.first, by.second,
                            by.first);
}

ISCSI_FOLDS __m512i fold(__m512i sum, __m512i by, __m512i next) {
    const __m512i first = _mm512_clmulepi64_epi128(sum, by, 0x00);
    const __m512i second = _mm512_clmulepi64_epi128(sum, by, 0x11);
    // One instruction; its own function GCC 12 cannot compile without optimisation.
    return _mm512_xor_si512(_mm512_xor_si512(first, second), next);
}

ISCSI_FOLDS __m128i fold(__m128i sum, __m128i by, __m128i next) {
    const __m128i first = _mm_clmulepi64_si128(sum, by, 0x00);
    const __m128i second = _mm_clmulepi64_si128(sum, by, 0x11);
    return _mm_xor_si128(_mm_xor_si128(first, second), next);
}

/// Of `n` bytes, a multiple of the stride: the state after them. V. Gopal et al., "Fast CRC Computation for
/// Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009, with sixteen sums side by side.
ISCSI_FOLDS std::uint32_t copy_folding(std::byte* to, const std::byte* from, std::size_t n,
                                       std::uint32_t state) {
    __m512i sums[4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) {
        sums[i] = _mm512_loadu_si512(from + 64 * i);
        _mm512_storeu_si512(to + 64 * i, sums[i]);
    }
    sums[0] = _mm512_xor_si512(sums[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(state))));
    const __m512i stride = wide(by_stride);
    for (std::size_t at = stride_bytes; at < n; at += stride_bytes) {
#pragma GCC unroll 4
        for (std::size_t i = 0; i < 4; ++i) {
            const __m512i next = _mm512_loadu_si512(from + at + 64 * i);
            _mm512_storeu_si512(to + at + 64 * i, next);
            sums[i] = fold(sums[i], stride, next);
        }
    }
    const __m512i part = wide(by_512);
    const __m512i all = fold(fold(fold(sums[0], part, sums[1]), part, sums[2]), part, sums[3]);
    alignas(64) __m128i lanes[4];
    _mm512_store_si512(&lanes[0], all);
    const __m128i lane = _mm_set_epi64x(by_128.second, by_128.first);
    const __m128i sum = fold(fold(fold(lanes[0], lane, lanes[1]), lane, lanes[2]), lane, lanes[3]);
    const auto first = static_cast<std::uint64_t>(_mm_cvtsi128_si64(sum));
    const auto second = static_cast<std::uint64_t>(_mm_extract_epi64(sum, 1));
    return static_cast<std::uint32_t>(_mm_crc32_u64(_mm_crc32_u64(0, first), second));
}

#undef ISCSI_FOLDS

const bool can_fold = __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("vpclmulqdq") != 0 &&
                      __builtin_cpu_supports("pclmul") != 0 && __builtin_cpu_supports("sse4.2") != 0;

#endif

} // namespace

void Crc32c::copy(std::byte* to, Bytes from) {
#if defined(__x86_64__)
    if (from.size() >= folded_bytes_min && can_fold) {
        const std::size_t folded = from.size() / stride_bytes * stride_bytes;
        state_ = copy_folding(to, from.data(), folded, state_);
        to += folded;
        from = from.subspan(folded);
    }
#endif
    copy_in_pieces(to, from, *this);
}

} // namespace iscsi::base
