#include "block/nbd_rules.hpp"

#include <catch2/catch.hpp>
#include <cerrno>

using namespace iscsi;
namespace nbd = iscsi::block::nbd;
using nbd::Error;

namespace {

block::Attributes attributes() {
    block::Attributes attributes;
    attributes.size_bytes = 1024 * 1024;
    attributes.max_request_bytes = 128 * 1024;
    return attributes;
}

nbd::RequestHeader header(std::uint16_t type, std::uint64_t offset, std::uint32_t length,
                          std::uint16_t flags = 0) {
    return {nbd::request_magic, flags, type, std::uint64_t{7}, offset, length};
}

} // namespace

TEST_CASE("the flags of an export say what it can do") {
    block::Attributes plain = attributes();
    constexpr std::uint16_t always =
        1 | 4 | 8 | 0x40 | 0x100; // flags, flush, FUA, write zeroes, several connections
    CHECK(nbd::transmission_flags(plain, false) == always);
    CHECK(nbd::transmission_flags(plain, true) == (always | 0x80));
    plain.read_only = true;
    CHECK(nbd::transmission_flags(plain, false) == ((always & ~0x40) | 2));
    plain.read_only = false;
    plain.rotational = true;
    CHECK(nbd::transmission_flags(plain, false) == (always | 0x10));
    plain.rotational = false;
    plain.max_discard_bytes = 4096;
    CHECK(nbd::transmission_flags(plain, false) == (always | 0x20));
}

TEST_CASE("block sizes are ordered and their preferred one is a power of two") {
    struct Row {
        std::uint32_t logical, physical, optimal, max_request;
        std::uint32_t minimum, preferred, maximum;
    };
    const Row rows[] = {
        {512, 512, 0, 0, 512, 4096, 32U << 20},
        {512, 4096, 65536, 1U << 20, 512, 65536, 1U << 20},
        {512, 512, 65537, 1U << 20, 512, 4096, 1U << 20},        // no power of two: not believed
        {512, 512, 1U << 30, 1U << 20, 512, 1U << 20, 1U << 20}, // longer than a request
        {4096, 4096, 0, 100000, 4096, 4096, 98304},
        {512, 512, 0, 1536, 512, 1024, 1536},
        {512, 512, 0, 64U << 20, 512, 4096, 32U << 20},
        {4096, 512, 0, 512, 4096, 4096, 4096},
    };
    for (const Row& row : rows) {
        block::Attributes given = attributes();
        given.logical_block_bytes = row.logical;
        given.physical_block_bytes = row.physical;
        given.optimal_io_bytes = row.optimal;
        given.max_request_bytes = row.max_request;
        const nbd::BlockSizes sizes = nbd::block_sizes(given);
        CAPTURE(row.logical, row.physical, row.optimal, row.max_request);
        CHECK(sizes.minimum == row.minimum);
        CHECK(sizes.preferred == row.preferred);
        CHECK(sizes.maximum == row.maximum);
    }
}

TEST_CASE("a request is refused for the reason the protocol names") {
    struct Row {
        nbd::RequestHeader request;
        Error wanted;
    };
    constexpr std::uint64_t size = 1024 * 1024;
    const Row rows[] = {
        {header(0, 0, 4096), Error::none},
        {header(0, size - 512, 512), Error::none},
        {header(0, size, 0), Error::none},
        {header(0, size - 512, 1024), Error::inval},
        {header(0, UINT64_MAX - 511, 512), Error::inval},
        {header(0, 0, 128 * 1024 + 512), Error::inval},
        {header(0, 1, 512), Error::inval},
        {header(0, 0, 513), Error::inval},
        {header(1, size - 512, 1024), Error::nospc},
        {header(1, UINT64_MAX, UINT32_MAX), Error::nospc},
        {header(1, 512, 100), Error::inval},
        {header(6, size, 512), Error::nospc},
        {header(6, 0, 1024 * 1024), Error::none}, // carries no payload: no limit but the size
        {header(6, 0, 512, 2), Error::none},
        {header(6, 0, 512, 16), Error::inval}, // fast zero was not offered
        {header(1, 0, 512, 1), Error::none},
        {header(1, 0, 512, 2), Error::inval},
        {header(0, 0, 512, 4), Error::inval}, // DF without structured replies
        {header(3, 0, 0), Error::none},
        {header(3, 512, 0), Error::inval},
        {header(4, 0, 512), Error::inval}, // trim was not offered
        {header(5, 0, 512), Error::inval},
        {header(7, 0, 512), Error::inval},
        {header(8, 0, 512), Error::inval},
        {header(0xffff, 0, 512), Error::inval},
    };
    for (const Row& row : rows) {
        CAPTURE(row.request.type.get(), row.request.offset.get(), row.request.length.get(),
                row.request.flags.get());
        CHECK(nbd::refusal(row.request, attributes(), false) == row.wanted);
    }
    CHECK(nbd::refusal(header(0, 0, 512, 4), attributes(), true) == Error::none);
    block::Attributes trims = attributes();
    trims.max_discard_bytes = 4096;
    CHECK(nbd::refusal(header(4, 0, 1024 * 1024), trims, false) == Error::none);
    CHECK(nbd::refusal(header(4, size, 512), trims, false) == Error::inval);
}

TEST_CASE("nothing changes a read-only export") {
    block::Attributes given = attributes();
    given.read_only = true;
    given.max_discard_bytes = 4096;
    CHECK(nbd::refusal(header(0, 0, 512), given, false) == Error::none);
    CHECK(nbd::refusal(header(3, 0, 0), given, false) == Error::none);
    for (const std::uint16_t type : std::initializer_list<std::uint16_t>{1, 4, 6}) {
        CHECK(nbd::refusal(header(type, 0, 512), given, false) == Error::perm);
    }
}

TEST_CASE("every errno becomes a number that the protocol knows") {
    CHECK(nbd::error_of(0) == Error::none);
    CHECK(nbd::error_of(EPERM) == Error::perm);
    CHECK(nbd::error_of(ENOMEM) == Error::nomem);
    CHECK(nbd::error_of(EINVAL) == Error::inval);
    CHECK(nbd::error_of(ENOSPC) == Error::nospc);
    CHECK(nbd::error_of(EOVERFLOW) == Error::overflow);
    CHECK(nbd::error_of(EOPNOTSUPP) == Error::notsup);
    CHECK(nbd::error_of(ESHUTDOWN) == Error::shutdown);
    for (int number : {EIO, ENOLINK, ENODATA, EREMOTEIO, EBADE, ENODEV, ETIMEDOUT, 9999}) {
        CHECK(nbd::error_of(number) == Error::io);
    }
}
