#include "nbd_bench.hpp"

#include <random>

using namespace iscsi;
using test::be16;
using test::be32;
using test::client_flags;
using test::info_data;
using test::NbdBench;
using test::option;
using test::option_reply;

namespace {

constexpr std::size_t pool_bytes = 1024 * 1024;
constexpr std::uint32_t err_unsup = 0x80000001;
constexpr std::uint32_t err_policy = 0x80000002;
constexpr std::uint32_t err_invalid = 0x80000003;
constexpr std::uint32_t err_unknown = 0x80000006;
constexpr std::uint32_t err_too_big = 0x80000009;
constexpr std::uint16_t plain_flags = 1 | 4 | 8 | 0x20 | 0x40 | 0x100;

/// What INFO and GO answer, without names.
std::string info_replies(std::uint32_t number, std::uint16_t flags = plain_flags) {
    return option_reply(number, 3, be16(0) + test::raw(base::Be64(1024 * 1024)) + be16(flags)) +
           option_reply(number, 3, be16(3) + be32(512) + be32(4096) + be32(1024 * 1024));
}

/// What a client hears for `options` behind its flags, the greeting left out.
std::string answers(NbdBench& bench, const std::string& options, std::size_t piece = SIZE_MAX) {
    bench.open();
    bench.say(client_flags() + options, piece);
    const std::string heard = bench.take_heard();
    REQUIRE(heard.substr(0, 18) == test::greeting());
    return heard.substr(18);
}

} // namespace

TEST_CASE("the server speaks first and offers the fixed newstyle handshake", "[nbd]") {
    auto pool = test::make_pool(pool_bytes);
    NbdBench bench(*pool);
    bench.open();
    bench.go_on();
    CHECK(bench.heard == std::string("NBDMAGICIHAVEOPT\0\3", 18));
}

TEST_CASE("every option is answered, known or not", "[nbd]") {
    struct Row {
        const char* what;
        std::string said;
        std::string wanted;
    };
    const Row rows[] = {
        {"list", option(3), option_reply(3, 2, be32(4) + "disk") + option_reply(3, 1)},
        {"list with data", option(3, "x"), option_reply(3, err_invalid)},
        {"peek", option(4), option_reply(4, err_unsup)},
        {"TLS", option(5), option_reply(5, err_policy)},
        {"TLS with data", option(5, "x"), option_reply(5, err_invalid)},
        {"info", option(6, info_data("")), info_replies(6) + option_reply(6, 1)},
        {"info by name", option(6, info_data("disk")), info_replies(6) + option_reply(6, 1)},
        {"info with names", option(6, info_data("", {1, 2, 3, 77, 1})),
         info_replies(6) + option_reply(6, 3, be16(1) + "disk") +
             option_reply(6, 3, be16(2) + "a disk for tests") + option_reply(6, 1)},
        {"go", option(7, info_data("disk", {3})), info_replies(7) + option_reply(7, 1)},
        {"go elsewhere", option(7, info_data("other")), option_reply(7, err_unknown)},
        {"go without data", option(7), option_reply(7, err_invalid)},
        {"go, cut short", option(7, be32(0)), option_reply(7, err_invalid)},
        {"go, name too long", option(7, be32(5) + "disk" + be16(0)), option_reply(7, err_invalid)},
        {"go, name of 4 GiB", option(7, be32(0xffffffff) + be16(0)), option_reply(7, err_invalid)},
        {"go, a wish missing", option(7, be32(0) + be16(2) + be16(0)), option_reply(7, err_invalid)},
        {"go, bytes left over", option(7, info_data("") + "x"), option_reply(7, err_invalid)},
        {"structured replies", option(8), option_reply(8, 1)},
        {"structured replies with data", option(8, "x"), option_reply(8, err_invalid)},
        {"then info", option(8) + option(6, info_data("")),
         option_reply(8, 1) + info_replies(6, plain_flags | 0x80) + option_reply(6, 1)},
        {"list meta contexts", option(9, info_data("")), option_reply(9, err_unsup)},
        {"set meta contexts", option(10, info_data("")), option_reply(10, err_unsup)},
        {"extended headers", option(11), option_reply(11, err_unsup)},
        {"unknown", option(0xdeadbeef, "some data"), option_reply(0xdeadbeef, err_unsup)},
        {"longer than any", option(6, std::string(20000, 'x')) + option(8),
         option_reply(6, err_too_big) + option_reply(8, 1)},
        {"longer than any, unknown", option(99, std::string(65536, 'x')) + option(8),
         option_reply(99, err_too_big) + option_reply(8, 1)},
        {"export name", option(1, "disk"), test::raw(base::Be64(1024 * 1024)) + be16(plain_flags)},
    };
    for (const Row& row : rows) {
        for (std::size_t piece : {SIZE_MAX, std::size_t{1}, std::size_t{7}}) {
            CAPTURE(row.what, piece);
            auto pool = test::make_pool(pool_bytes);
            NbdBench bench(*pool);
            CHECK(answers(bench, row.said, piece) == row.wanted);
            CHECK(!bench.failed);
            CHECK(bench.all_said());
        }
    }
}

TEST_CASE("a client that wants the zeroes behind an export name gets them", "[nbd]") {
    auto pool = test::make_pool(pool_bytes);
    NbdBench bench(*pool);
    bench.open();
    bench.say(client_flags(1) + option(1));
    CHECK(bench.heard.size() == 18 + 10 + 124);
    bench.take_heard();
    bench.say(test::request({.type = 3, .cookie = 5}));
    CHECK(bench.heard == test::simple_reply(5));
}

TEST_CASE("an abort is acknowledged and then the connection ends", "[nbd]") {
    auto pool = test::make_pool(pool_bytes);
    NbdBench bench(*pool);
    bench.open();
    bench.deaf = true;
    bench.hear();
    bench.say(client_flags() + option(2) + option(3));
    CHECK(!bench.connection.finished());
    bench.hear();
    CHECK(bench.heard == test::greeting() + option_reply(2, 1));
    CHECK(bench.connection.finished());
    CHECK(bench.ready_calls > 0);
    CHECK(bench.connection.rx_spans().staging.empty());
}

TEST_CASE("a client that breaks the handshake loses its connection", "[nbd]") {
    struct Row {
        const char* what;
        std::string said;
    };
    const Row rows[] = {
        {"unknown client flags", client_flags(4)},
        {"bad option magic", client_flags() + std::string(16, 'x')},
        {"an option of 4 GiB", client_flags() + test::option_header(7, 0xffffffff)},
        {"an option beyond what is skipped", client_flags() + test::option_header(99, 65537)},
        {"an unknown export name", client_flags() + option(1, "other")},
        {"a longer export name", client_flags() + option(1, "disk ")},
        {"an endless export name", client_flags() + test::option_header(1, 60000)},
        {"garbage behind a good option", client_flags() + option(8) + std::string(16, 'x')},
    };
    for (const Row& row : rows) {
        for (std::size_t piece : {SIZE_MAX, std::size_t{1}}) {
            CAPTURE(row.what, piece);
            auto pool = test::make_pool(pool_bytes);
            NbdBench bench(*pool);
            bench.open();
            bench.say(row.said, piece);
            CHECK(bench.failed);
        }
    }
}

TEST_CASE("a client that does not finish the handshake in time is cut off, a served one never", "[nbd]") {
    auto pool = test::make_pool(pool_bytes);
    NbdBench bench(*pool);
    const base::TimePoint start{std::chrono::hours(5)};
    bench.connection.open(start);
    REQUIRE(bench.connection.deadline() == start + block::NbdConnection::handshake_time_max);
    CHECK(bench.connection.at(*bench.connection.deadline() - std::chrono::nanoseconds(1)));
    CHECK(!bench.connection.at(*bench.connection.deadline()));
    bench.say(client_flags() + test::go());
    CHECK(!bench.connection.deadline());
}

TEST_CASE("a handshake survives any split of its bytes", "[nbd]") {
    const std::string said = client_flags() + option(3) + option(8) + option(6, info_data("disk", {1, 2})) +
                             option(6, std::string(9000, 'y')) + test::go() + test::request({.type = 3});
    auto pool = test::make_pool(pool_bytes);
    std::string whole;
    {
        NbdBench bench(*pool);
        bench.open();
        bench.say(said);
        whole = bench.heard;
        CHECK(whole.substr(whole.size() - 16) == test::simple_reply(1));
    }
    std::mt19937 random(11);
    for (int round = 0; round < 200; ++round) {
        NbdBench bench(*pool);
        bench.open();
        for (std::size_t at = 0; at < said.size();) {
            const std::size_t n =
                std::min<std::size_t>(said.size() - at, 1 + random() % (1U << (random() % 13)));
            bench.say(std::string_view(said).substr(at, n));
            at += n;
        }
        REQUIRE(bench.heard == whole);
    }
}
