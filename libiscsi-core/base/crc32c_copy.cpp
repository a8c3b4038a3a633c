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
constexpr Shift by_256 = shift_by(256);
constexpr Shift by_128 = shift_by(128);

// 256 bits at a time: what keeps up with the copy, on each processor that has VPCLMULQDQ, with AVX-512 or
// without.
#define ISCSI_FOLDS __attribute__((target("avx2,vpclmulqdq,pclmul,sse4.2")))

constexpr std::size_t sum_bytes = sizeof(__m256i);
constexpr std::size_t sums_count = stride_bytes / sum_bytes;

ISCSI_FOLDS __m256i wide(Shift by) {
    return _mm256_set_epi64x(by.second, by.first, by.second, by.first);
}

ISCSI_FOLDS __m256i fold(__m256i sum, __m256i by, __m256i next) {
    const __m256i first = _mm256_clmulepi64_epi128(sum, by, 0x00);
    const __m256i second = _mm256_clmulepi64_epi128(sum, by, 0x11);
    return _mm256_xor_si256(_mm256_xor_si256(first, second), next);
}

ISCSI_FOLDS __m128i fold(__m128i sum, __m128i by, __m128i next) {
    const __m128i first = _mm_clmulepi64_si128(sum, by, 0x00);
    const __m128i second = _mm_clmulepi64_si128(sum, by, 0x11);
    return _mm_xor_si128(_mm_xor_si128(first, second), next);
}

ISCSI_FOLDS __m256i copied(std::byte* to, const std::byte* from) {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bytes);
    return bytes;
}

/// Of `n` bytes, a multiple of the stride: the state after them. V. Gopal et al., "Fast CRC Computation for
/// Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009, with sixteen sums side by side.
ISCSI_FOLDS std::uint32_t copy_folding(std::byte* to, const std::byte* from, std::size_t n,
                                       std::uint32_t state) {
    __m256i sums[sums_count];
#pragma GCC unroll 8
    for (std::size_t i = 0; i < sums_count; ++i) {
        sums[i] = copied(to + sum_bytes * i, from + sum_bytes * i);
    }
    sums[0] = _mm256_xor_si256(sums[0], _mm256_zextsi128_si256(_mm_cvtsi32_si128(static_cast<int>(state))));
    const __m256i stride = wide(by_stride);
    for (std::size_t at = stride_bytes; at < n; at += stride_bytes) {
#pragma GCC unroll 8
        for (std::size_t i = 0; i < sums_count; ++i) {
            sums[i] = fold(sums[i], stride, copied(to + at + sum_bytes * i, from + at + sum_bytes * i));
        }
    }
    const __m256i part = wide(by_256);
    __m256i all = sums[0];
    for (std::size_t i = 1; i < sums_count; ++i) {
        all = fold(all, part, sums[i]);
    }
    const __m128i lane = _mm_set_epi64x(by_128.second, by_128.first);
    const __m128i sum = fold(_mm256_castsi256_si128(all), lane, _mm256_extracti128_si256(all, 1));
    const auto first = static_cast<std::uint64_t>(_mm_cvtsi128_si64(sum));
    const auto second = static_cast<std::uint64_t>(_mm_extract_epi64(sum, 1));
    return static_cast<std::uint32_t>(_mm_crc32_u64(_mm_crc32_u64(0, first), second));
}

#undef ISCSI_FOLDS

const bool can_fold = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("vpclmulqdq") != 0 &&
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
