#include "base/crc32c.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <random>
#include <vector>

using iscsi::base::Bytes;
using iscsi::base::Crc32c;
using iscsi::base::crc32c;

namespace {

std::array<std::byte, 32> pattern(int first, int step) {
    std::array<std::byte, 32> bytes{};
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::byte>(first + step * static_cast<int>(i));
    }
    return bytes;
}

/// As the RFC defines it, bit by bit (section 13.1), apart from the last inversion.
std::uint32_t state_after(std::uint32_t state, Bytes bytes) {
    for (std::byte byte : bytes) {
        state ^= std::to_integer<std::uint32_t>(byte);
        for (int bit = 0; bit < 8; ++bit) {
            state = (state >> 1) ^ ((state & 1) != 0 ? 0x82f63b78U : 0);
        }
    }
    return state;
}

} // namespace

TEST_CASE("crc32c agrees with the vectors of the standard", "[rfc3720-b.4][rfc7143-13.1]") {
    // The RFC lists the digest bytes in the order of the wire; these are the numbers they are little-endian
    // of.
    CHECK(crc32c(pattern(0x00, 0)) == 0x8a9136aaU);
    CHECK(crc32c(pattern(0xff, 0)) == 0x62a8ab43U);
    CHECK(crc32c(pattern(0x00, 1)) == 0x46dd794eU);
    CHECK(crc32c(pattern(0x1f, -1)) == 0x113fdb5cU);
}

TEST_CASE("crc32c of the standard's SCSI read command", "[rfc3720-b.4]") {
    std::array<std::byte, 48> pdu{};
    pdu[0] = std::byte{0x01};
    pdu[1] = std::byte{0xc0};
    pdu[16] = std::byte{0x14};
    pdu[22] = std::byte{0x04};
    pdu[27] = std::byte{0x14};
    pdu[31] = std::byte{0x18};
    pdu[32] = std::byte{0x28};
    pdu[40] = std::byte{0x02};
    CHECK(crc32c(pdu) == 0xd9963a56U);
}

TEST_CASE("crc32c does not depend on how the bytes are cut", "[rfc7143-13.1]") {
    auto bytes = pattern(7, 13);
    Bytes all(bytes);
    for (std::size_t first = 0; first <= all.size(); ++first) {
        for (std::size_t second = first; second <= all.size(); ++second) {
            Crc32c running;
            running.add(all.first(first));
            running.add(all.subspan(first, second - first));
            running.add(all.subspan(second));
            REQUIRE(running.value() == crc32c(all));
        }
    }
}

TEST_CASE("a crc32c starts over after reset", "[rfc7143-13.1]") {
    auto zeroes = pattern(0, 0);
    Crc32c running;
    running.add(pattern(1, 1));
    running.reset();
    running.add(zeroes);
    CHECK(running.value() == 0x8a9136aaU);
    CHECK(crc32c({}) == 0);
}

TEST_CASE("what is copied is added up, whatever its length and its place", "[rfc7143-13.1]") {
    constexpr std::size_t longest = 3000;
    constexpr std::byte untouched{0xee};
    std::mt19937 rng(7);
    std::vector<std::byte> from(longest + 64);
    std::generate(from.begin(), from.end(), [&rng] { return static_cast<std::byte>(rng()); });
    for (std::size_t bytes = 0; bytes <= longest; bytes += bytes < 600 ? 1 : 1 + rng() % 40) {
        CAPTURE(bytes);
        const std::size_t at = rng() % 64;
        const std::size_t before = rng() % 64; // added up already
        std::vector<std::byte> to(bytes + 128, untouched);
        Crc32c running;
        running.add(Bytes(from).first(before));
        running.copy(to.data() + at, Bytes(from).subspan(before, bytes));
        REQUIRE(~running.value() == state_after(0xffffffffU, Bytes(from).first(before + bytes)));
        const auto first = to.begin() + static_cast<std::ptrdiff_t>(at);
        const auto end = first + static_cast<std::ptrdiff_t>(bytes);
        REQUIRE(std::equal(first, end, from.begin() + static_cast<std::ptrdiff_t>(before)));
        REQUIRE(std::all_of(to.begin(), first, [](std::byte b) { return b == untouched; }));
        REQUIRE(std::all_of(end, to.end(), [](std::byte b) { return b == untouched; }));
    }
}

TEST_CASE("a long copy is added up in any pieces", "[rfc7143-13.1]") {
    std::mt19937 rng(11);
    std::vector<std::byte> from(300'000);
    std::generate(from.begin(), from.end(), [&rng] { return static_cast<std::byte>(rng()); });
    const std::uint32_t whole = ~state_after(0xffffffffU, from);
    for (std::size_t longest : {64U, 700U, 5000U, 70'000U, 300'000U}) {
        CAPTURE(longest);
        std::vector<std::byte> to(from.size());
        Crc32c running;
        for (std::size_t at = 0; at < from.size();) {
            const std::size_t bytes =
                std::min(from.size() - at, longest == from.size() ? longest : 1 + rng() % longest);
            running.copy(to.data() + at, Bytes(from).subspan(at, bytes));
            at += bytes;
        }
        REQUIRE(running.value() == whole);
        REQUIRE(to == from);
    }
}
