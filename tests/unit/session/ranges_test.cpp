// Ranges against a plain set of bytes.
#include "session/ranges.hpp"

#include <bitset>
#include <catch2/catch.hpp>
#include <random>

namespace iscsi::testing {
namespace {

using session::Ranges;

constexpr std::uint32_t size = 24;

/// What Ranges is to be, the slow way.
class Bytes {
public:
    bool add(std::uint32_t begin, std::uint32_t end) {
        std::bitset<size + 1> wanted = all_;
        for (std::uint32_t i = begin; i < end; ++i) {
            if (all_[i]) {
                return false;
            }
            wanted.set(i);
        }
        std::size_t ranges = 0;
        for (std::uint32_t i = 0; i < size; ++i) {
            ranges += wanted[i] && !wanted[i + 1] ? 1 : 0;
        }
        if (ranges > Ranges::most) {
            return false;
        }
        all_ = wanted;
        return true;
    }
    bool full() const { return all_.count() == size; }

private:
    std::bitset<size + 1> all_;
};

TEST_CASE("every byte is taken once, in whatever order ranges come", "[DATA-04]") {
    std::mt19937 rng(11);
    auto pick = [&rng](std::uint32_t low, std::uint32_t high) {
        return std::uniform_int_distribution<std::uint32_t>(low, high)(rng);
    };
    int filled = 0;
    for (int round = 0; round < 3000; ++round) {
        Ranges ranges;
        Bytes bytes;
        for (int i = 0; i < 60; ++i) {
            std::uint32_t begin = pick(0, size - 1);
            std::uint32_t end = std::min(size, begin + pick(1, 6));
            REQUIRE(ranges.add(begin, end) == bytes.add(begin, end));
        }
        filled += bytes.full() ? 1 : 0;
    }
    CHECK(filled > 0);
}

TEST_CASE("ranges reach to the end of what 32 bits count, and can be forgotten", "[DATA-04]") {
    Ranges ranges;
    CHECK(ranges.add(0xfffffff0U, 0xffffffffU));
    CHECK(ranges.add(0, 0xfffffff0U));
    CHECK_FALSE(ranges.add(0, 1));
    CHECK_FALSE(ranges.add(0xfffffffeU, 0xffffffffU));
    ranges.clear();
    CHECK(ranges.add(0, 1));
}

} // namespace
} // namespace iscsi::testing
