#include "nbd_bench.hpp"

#include <cerrno>
#include <random>

using namespace iscsi;
using block::Verb;
using test::Ask;
using test::NbdBench;
using test::pattern;
using test::request;
using test::simple_reply;

namespace {

constexpr std::size_t pool_bytes = 8 * 1024 * 1024;
constexpr std::uint32_t einval = 22;

std::string disk_text(const NbdBench& bench, std::size_t offset, std::size_t length) {
    return std::string(base::text_of(base::Bytes(bench.disk.data).subspan(offset, length)));
}

void fill_disk(NbdBench& bench, unsigned seed) {
    const std::string text = pattern(bench.disk.data.size(), seed);
    std::memcpy(bench.disk.data.data(), text.data(), text.size());
}

} // namespace

TEST_CASE("a read gives the data behind its reply, simple or structured", "[nbd]") {
    auto pool = test::make_pool(pool_bytes);
    for (bool structured : {false, true}) {
        NbdBench bench(*pool);
        fill_disk(bench, 3);
        bench.open_and_go(structured);
        bench.say(request({.type = 0, .offset = 8192, .length = 4096, .cookie = 42}));
        const std::string data = disk_text(bench, 8192, 4096);
        CHECK(bench.heard == (structured ? test::data_chunk(42, 8192, data) : simple_reply(42) + data));
        CHECK(pool->claimed() == 0);
    }
}

TEST_CASE("a client may ask not to fragment a structured read", "[nbd]") {
    auto pool = test::make_pool(pool_bytes);
    NbdBench bench(*pool);
    bench.open_and_go(true);
    bench.say(request({.type = 0, .offset = 0, .length = 512, .cookie = 1, .flags = 4}));
    CHECK(bench.heard == test::data_chunk(1, 0, std::string(512, '\0')));
}

TEST_CASE("a written block is there, and only there", "[nbd]") {
    auto pool = test::make_pool(pool_bytes);
    NbdBench bench(*pool);
    bench.open_and_go(false);
    bench.say(request({.type = 1, .offset = 4096, .length = 1024, .cookie = 9}) + pattern(1024));
    CHECK(bench.heard == simple_reply(9));
    CHECK(disk_text(bench, 4096, 1024) == pattern(1024));
    CHECK(disk_text(bench, 0, 4096) == std::string(4096, '\0'));
    CHECK(disk_text(bench, 5120, 4096) == std::string(4096, '\0'));
    CHECK(bench.disk.fua_seen == 0);
    CHECK(pool->claimed() == 0);
}

TEST_CASE("each command reaches the handler with its flags", "[nbd]") {
    auto pool = test::make_pool(pool_bytes);
    NbdBench bench(*pool);
    fill_disk(bench, 4);
    bench.open_and_go(true);
    SECTION("force unit access of a write") {
        bench.say(request({.type = 1, .length = 512, .flags = 1}) + pattern(512));
        CHECK(bench.disk.fua_seen == 1);
    }
    SECTION("a flush") {
        bench.say(request({.type = 3}));
        CHECK(bench.disk.count(Verb::flush) == 1);
    }
    SECTION("write zeroes, which may unmap or not") {
        bench.say(request({.type = 6, .offset = 512, .length = 1024}));
        CHECK(bench.disk.keep_mapped_seen == 0);
        CHECK(disk_text(bench, 512, 1024) == std::string(1024, '\0'));
        bench.heard.clear();
        bench.say(request({.type = 6, .offset = 512, .length = 1024, .flags = 3}));
        CHECK(bench.disk.keep_mapped_seen == 1);
        CHECK(bench.disk.fua_seen == 1);
    }
    SECTION("a trim") {
        bench.say(request({.type = 4, .offset = 0, .length = 1024 * 1024}));
        CHECK(bench.disk.count(Verb::discard) == 1);
        CHECK(bench.disk.count(Verb::flush) == 0);
    }
    SECTION("a trim with force unit access is followed by a flush") {
        bench.say(request({.type = 4, .offset = 0, .length = 512, .flags = 1}));
        CHECK(bench.disk.count(Verb::discard) == 1);
        CHECK(bench.disk.count(Verb::flush) == 1);
    }
    CHECK(bench.heard == simple_reply(1));
}

TEST_CASE("a refused request changes nothing and says why", "[nbd]") {
    struct Row {
        const char* what;
        Ask ask;
        std::uint32_t error;
    };
    const Row rows[] = {
        {"read past the end", {.type = 0, .offset = 1024 * 1024, .length = 512}, einval},
        {"write past the end", {.type = 1, .offset = 1024 * 1024 - 512, .length = 1024}, 28},
        {"zeroes past the end", {.type = 6, .offset = 1024 * 1024, .length = 512}, 28},
        {"misaligned write", {.type = 1, .offset = 100, .length = 512}, einval},
        {"write longer than a request", {.type = 1, .offset = 0, .length = 1024 * 1024 + 512}, 28},
        {"cache", {.type = 5, .offset = 0, .length = 512}, einval},
        {"block status", {.type = 7, .offset = 0, .length = 512}, einval},
        {"unknown", {.type = 77, .offset = 0, .length = 512}, einval},
        {"unknown flag", {.type = 0, .offset = 0, .length = 512, .flags = 0x8000}, einval},
    };
    auto pool = test::make_pool(pool_bytes);
    for (const Row& row : rows) {
        for (bool structured : {false, true}) {
            for (std::size_t piece : {SIZE_MAX, std::size_t{1000}}) {
                CAPTURE(row.what, structured, piece);
                NbdBench bench(*pool);
                fill_disk(bench, 5);
                bench.open_and_go(structured);
                Ask ask = row.ask;
                ask.cookie = 77;
                const std::string payload = ask.type == 1 ? pattern(ask.length) : "";
                // The flush behind it shows that the payload was taken off the stream.
                bench.say(request(ask) + payload + request({.type = 3, .cookie = 78}), piece);
                CHECK(bench.heard ==
                      (structured ? test::error_chunk(77, row.error) : simple_reply(77, row.error)) +
                          simple_reply(78));
                CHECK(disk_text(bench, 0, bench.disk.data.size()) == pattern(bench.disk.data.size(), 5));
                CHECK(pool->claimed() == 0);
            }
        }
    }
}

TEST_CASE("a read-only export refuses to change", "[nbd]") {
    auto pool = test::make_pool(pool_bytes);
    NbdBench bench(*pool);
    bench.info.attributes.read_only = true;
    bench.open_and_go(false);
    bench.say(request({.type = 1, .length = 512, .cookie = 1}) + pattern(512) +
              request({.type = 4, .length = 512, .cookie = 2}) +
              request({.type = 6, .length = 512, .cookie = 3}) +
              request({.type = 0, .length = 512, .cookie = 4}));
    CHECK(bench.heard == simple_reply(1, 1) + simple_reply(2, 1) + simple_reply(3, 1) + simple_reply(4) +
                             std::string(512, '\0'));
    CHECK(bench.disk.count(Verb::write) == 0);
}

TEST_CASE("a request without length is done at once", "[nbd]") {
    auto pool = test::make_pool(pool_bytes);
    NbdBench bench(*pool);
    bench.open_and_go(true);
    bench.say(request({.type = 0, .cookie = 1}) + request({.type = 1, .cookie = 2}) +
              request({.type = 4, .cookie = 3}) + request({.type = 6, .cookie = 4}));
    const std::string empty_read =
        test::raw(block::nbd::ChunkHeader{block::nbd::structured_reply_magic, std::uint16_t{1},
                                          std::uint16_t{0}, std::uint64_t{1}, std::uint32_t{0}});
    CHECK(bench.heard == empty_read + simple_reply(2) + simple_reply(3) + simple_reply(4));
    CHECK(bench.disk.count(Verb::read) + bench.disk.count(Verb::write) == 0);
}

TEST_CASE("an error of the handler reaches the client and a failed read carries no data", "[nbd]") {
    struct Row {
        int error_number;
        std::uint32_t wanted;
    };
    const Row rows[] = {{ENOLINK, 5}, {ENODATA, 5}, {ENOSPC, 28}, {EOPNOTSUPP, 95}, {ESHUTDOWN, 108}};
    auto pool = test::make_pool(pool_bytes);
    for (const Row& row : rows) {
        for (bool structured : {false, true}) {
            CAPTURE(row.error_number, structured);
            NbdBench bench(*pool);
            bench.open_and_go(structured);
            bench.disk.error_number = row.error_number;
            bench.say(request({.type = 0, .length = 512, .cookie = 1}) +
                      request({.type = 4, .length = 512, .cookie = 2, .flags = 1}));
            CHECK(bench.heard == (structured
                                      ? test::error_chunk(1, row.wanted) + test::error_chunk(2, row.wanted)
                                      : simple_reply(1, row.wanted) + simple_reply(2, row.wanted)));
            CHECK(bench.disk.count(Verb::flush) == 0);
        }
    }
}

TEST_CASE("a bad magic or an impossible payload ends the connection", "[nbd]") {
    auto pool = test::make_pool(pool_bytes);
    for (const Ask& ask : {Ask{.type = 3, .magic = 0x12345678}, Ask{.type = 1, .length = 0xffffffff},
                           Ask{.type = 1, .length = (32U << 20) + 512}}) {
        NbdBench bench(*pool);
        bench.open_and_go(false);
        bench.say(request({.type = 3, .cookie = 1}) + request(ask));
        CHECK(bench.failed);
        CHECK(bench.error.code == base::Errc::protocol);
    }
}

TEST_CASE("replies leave in the order in which requests end", "[nbd]") {
    auto pool = test::make_pool(pool_bytes);
    NbdBench bench(*pool);
    bench.open_and_go(false);
    bench.disk.hold = true;
    bench.say(request({.type = 3, .cookie = 1}) + request({.type = 0, .length = 512, .cookie = 2}) +
              request({.type = 3, .cookie = 3}));
    CHECK(bench.heard.empty());
    REQUIRE(bench.disk.held() == 3);
    bench.disk.release(2);
    bench.disk.release(1);
    bench.disk.release(0);
    bench.go_on();
    CHECK(bench.heard == simple_reply(3) + simple_reply(2) + std::string(512, '\0') + simple_reply(1));
}

TEST_CASE("the payload of a large write is received in its final place", "[nbd]") {
    auto pool = test::make_pool(pool_bytes);
    NbdBench bench(*pool);
    bench.open_and_go(false);
    bench.say(request({.type = 1, .length = 256 * 1024, .cookie = 1}) + pattern(100));
    const base::RxSpans spans = bench.connection.rx_spans();
    CHECK(spans.direct.size() == 256 * 1024 - 100);
    CHECK(!spans.staging.empty());
    bench.say(pattern(256 * 1024).substr(100) + request({.type = 3, .cookie = 2}));
    CHECK(bench.heard == simple_reply(1) + simple_reply(2));
    CHECK(disk_text(bench, 0, 256 * 1024) == pattern(256 * 1024));
}

TEST_CASE("requests survive any split of the bytes, in both directions", "[nbd]") {
    std::string said;
    std::mt19937 random(99);
    for (std::uint64_t cookie = 1; cookie <= 60; ++cookie) {
        const auto length = static_cast<std::uint32_t>(512 * (1 + random() % 8));
        const std::uint64_t offset = 512 * (random() % 1900);
        const auto type = static_cast<std::uint16_t>(random() % 9);
        said += request({.type = type == 2 ? std::uint16_t{3} : type,
                         .offset = offset,
                         .length = length,
                         .cookie = cookie});
        said += type == 1 ? pattern(length, static_cast<unsigned>(cookie)) : "";
    }
    auto pool = test::make_pool(pool_bytes);
    for (bool structured : {false, true}) {
        std::string whole;
        std::string disk;
        for (int round = 0; round < 30; ++round) {
            NbdBench bench(*pool);
            bench.open_and_go(structured);
            bench.deaf = true;
            const std::size_t most = round == 0   ? said.size()
                                     : round == 1 ? 1
                                                  : std::size_t{1} << (round % 16);
            bench.say(said, 1 + random() % most);
            while (bench.hear(1 + random() % most)) {
                bench.go_on(1 + random() % most);
            }
            REQUIRE(bench.all_said());
            if (round == 0) {
                whole = bench.heard;
                disk = disk_text(bench, 0, bench.disk.data.size());
            }
            REQUIRE(bench.heard == whole);
            REQUIRE(disk_text(bench, 0, bench.disk.data.size()) == disk);
        }
    }
    CHECK(pool->claimed() == 0);
}

TEST_CASE("after a goodbye what is in progress is answered and nothing more is read", "[nbd]") {
    auto pool = test::make_pool(pool_bytes);
    NbdBench bench(*pool);
    bench.open_and_go(false);
    bench.disk.hold = true;
    bench.say(request({.type = 0, .length = 512, .cookie = 1}) + request({.type = 2}) +
              request({.type = 3, .cookie = 2}));
    CHECK(bench.disk.held() == 1);
    CHECK(!bench.connection.finished());
    bench.disk.release(0);
    CHECK(!bench.connection.finished());
    const std::size_t calls = bench.ready_calls;
    bench.go_on();
    CHECK(bench.heard == simple_reply(1) + std::string(512, '\0'));
    CHECK(bench.connection.finished());
    CHECK(bench.ready_calls > calls);
}

TEST_CASE("the kernel's driver is served without a handshake", "[nbd]") {
    auto pool = test::make_pool(pool_bytes);
    NbdBench bench(*pool);
    bench.connection.open_transmission();
    bench.say(request({.type = 1, .length = 512, .cookie = 1}) + pattern(512));
    CHECK(bench.heard == simple_reply(1));
}

TEST_CASE("a client keeps the size it was told, the next one hears the new one", "[nbd]") {
    auto pool = test::make_pool(pool_bytes);
    NbdBench bench(*pool);
    bench.open_and_go(false);
    bench.info.attributes.size_bytes = 512;
    bench.say(request({.type = 0, .offset = 4096, .length = 512, .cookie = 1}));
    CHECK(bench.heard.substr(0, 16) == simple_reply(1));
    bench.connection.abandon();
    bench.heard.clear();
    bench.open_and_go(false);
    bench.say(request({.type = 0, .offset = 4096, .length = 512, .cookie = 2}));
    CHECK(bench.heard == simple_reply(2, einval));
}
