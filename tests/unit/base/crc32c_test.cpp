#include "base/crc32c.hpp"

#include <array>
#include <catch2/catch.hpp>

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
