// The fault proxy between two sockets of this process: what passes unharmed, and each harm at its place.
#include "faults/proxy.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <bit>
#include <catch2/catch.hpp>
#include <cerrno>
#include <netinet/in.h>
#include <string_view>
#include <unistd.h>

using namespace iscsi::faults;
using namespace std::chrono_literals;
using Buffer = std::vector<std::byte>;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::uint8_t data_out = 0x05, data_in = 0x25, login_response = 0x23;

struct Parts {
    std::size_t additional = 0, data = 0;
    bool header_digest = false, data_digest = false;
};

/// A PDU with a number in its first byte of data or, without data, in its tag. Digests are made of 0xdd.
Buffer make_pdu(std::uint8_t opcode, Parts parts, std::uint8_t number = 0) {
    Buffer out(48);
    out[0] = std::byte{opcode};
    out[4] = static_cast<std::byte>(parts.additional / 4);
    out[5] = static_cast<std::byte>(parts.data >> 16);
    out[6] = static_cast<std::byte>(parts.data >> 8);
    out[7] = static_cast<std::byte>(parts.data);
    out[16] = std::byte{number};
    out.insert(out.end(), parts.additional, std::byte{0xaa});
    out.insert(out.end(), parts.header_digest ? 4 : 0, std::byte{0xdd});
    out.insert(out.end(), parts.data, std::byte{number});
    out.insert(out.end(), (4 - parts.data % 4) % 4, std::byte{0});
    out.insert(out.end(), parts.data_digest && parts.data > 0 ? 4 : 0, std::byte{0xdd});
    return out;
}

/// The last PDU of a login, which agrees on digests.
Buffer login_end(std::string_view text) {
    Buffer out = make_pdu(login_response, {.data = text.size()});
    out[1] = std::byte{0x87}; // transit, from the operational stage to full feature phase
    std::ranges::copy(iscsi::base::bytes_of(text), out.begin() + 48);
    return out;
}

/// An initiator and a target with a proxy between them, all on this thread.
class Bench {
public:
    Bench() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in at = loopback(0);
        REQUIRE(bind(listener_, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
        REQUIRE(listen(listener_, 8) == 0);
        socklen_t length = sizeof at;
        getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &length);
        const auto target_port = std::to_string(ntohs(at.sin_port));
        proxy_.emplace(Endpoint("127.0.0.1:0"), Endpoint("127.0.0.1:" + target_port), 7);
        connect_both();
    }
    ~Bench() {
        close(initiator);
        close(target);
        close(listener_);
    }
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;

    void connect_both() {
        initiator = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in to = loopback(proxy_->port());
        REQUIRE(connect(initiator, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
        turn();
        target = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        REQUIRE(target >= 0);
        turn();
    }

    void obey(const std::string& line) {
        INFO(line);
        REQUIRE(proxy_->obey(line) == std::nullopt);
    }
    std::string wrong(const std::string& line) { return proxy_->obey(line).value_or(""); }

    void turn(std::chrono::milliseconds most = 0ms) { proxy_->turn(most); }

    void send_all(int from, const Buffer& bytes) {
        REQUIRE(::send(from, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
    }

    /// What arrives at `to` until `count` bytes are there, or it ends, or nothing comes for a while.
    Buffer receive(int to, std::size_t count) {
        Buffer out;
        std::array<std::byte, 4096> some;
        for (int quiet = 0; out.size() < count && quiet < 50;) {
            turn(2ms);
            const ssize_t got = recv(to, some.data(), some.size(), MSG_DONTWAIT);
            error = got < 0 ? errno : 0;
            if (got == 0 || (got < 0 && errno != EAGAIN)) {
                break;
            }
            quiet = got > 0 ? 0 : quiet + 1;
            out.insert(out.end(), some.begin(), some.begin() + std::max<ssize_t>(got, 0));
        }
        return out;
    }
    Buffer pass(const Buffer& bytes) {
        send_all(initiator, bytes);
        return receive(target, bytes.size());
    }

    int initiator = -1, target = -1;
    int error = 0; ///< of the last receive
    Proxy& proxy() { return *proxy_; }

private:
    static sockaddr_in loopback(std::uint16_t port) {
        sockaddr_in out{};
        out.sin_family = AF_INET;
        out.sin_port = htons(port);
        out.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return out;
    }

    int listener_;
    std::optional<Proxy> proxy_;
};

Buffer joined(std::initializer_list<Buffer> all) {
    Buffer out;
    for (const Buffer& one : all) {
        out.insert(out.end(), one.begin(), one.end());
    }
    return out;
}

} // namespace

TEST_CASE("PDUs are cut at their ends, however they come", "[proxy]") {
    const Digests digests{true, true};
    const Buffer first = make_pdu(data_out, {8, 13, true, true}),
                 second = make_pdu(data_out, {0, 0, true, true});
    const Buffer both = joined({first, second, first});
    for (std::size_t cut = 0; cut <= both.size(); ++cut) {
        PduCutter cutter(digests);
        std::vector<std::size_t> lengths;
        const auto add = [&](iscsi::base::Bytes part) {
            cutter.add(part);
            while (const auto pdu = cutter.next()) {
                lengths.push_back(pdu->bytes.size());
            }
        };
        add(iscsi::base::Bytes(both).first(cut));
        add(iscsi::base::Bytes(both).subspan(cut));
        REQUIRE(lengths == std::vector{first.size(), second.size(), first.size()});
        REQUIRE(cutter.rest().empty());
    }
}

TEST_CASE("without a fault everything passes, in small pieces too, and so do the ends", "[proxy]") {
    Bench bench;
    const std::string mode = GENERATE("clear", "split bytes=7", "dribble bytes=9 ms=0", "delay ms=20");
    bench.obey(mode);
    const Buffer bytes = joined({make_pdu(data_out, {0, 100}), make_pdu(data_out, {4, 3})});
    const auto begin = Clock::now();
    CHECK(bench.pass(bytes) == bytes);
    CHECK((mode != "delay ms=20" || Clock::now() - begin >= 20ms));
    bench.send_all(bench.target, bytes);
    CHECK(bench.receive(bench.initiator, bytes.size()) == bytes);
    shutdown(bench.initiator, SHUT_WR);
    CHECK(bench.receive(bench.target, 1).empty());
    CHECK(bench.error == 0);
    bench.send_all(bench.target, bytes); // one direction is still open
    CHECK(bench.receive(bench.initiator, bytes.size()) == bytes);
}

TEST_CASE("a connection is reset at the byte that was named", "[proxy]") {
    Bench bench;
    bench.obey("reset way=out after=130");
    const Buffer one = make_pdu(data_out, {0, 52}, 3); // 100 bytes
    CHECK(bench.pass(one) == one);
    bench.send_all(bench.initiator, one);
    CHECK(bench.receive(bench.target, 100).size() == 30);
    CHECK(bench.error == ECONNRESET);
    bench.receive(bench.initiator, 1);
    CHECK(bench.error == ECONNRESET);
    bench.turn();
    CHECK(bench.proxy().open() == 0);
}

TEST_CASE("a connection is cut short with a FIN", "[proxy]") {
    Bench bench;
    bench.obey("truncate way=out after=30");
    bench.send_all(bench.initiator, make_pdu(data_out, {0, 52}));
    CHECK(bench.receive(bench.target, 100).size() == 30);
    CHECK(bench.error == 0);
}

TEST_CASE("an initiator is reset alone, and what was on its way arrives later", "[proxy]") {
    Bench bench;
    bench.obey("orphan after=100 bytes=200 ms=300");
    const Buffer first = make_pdu(data_out, {0, 52}, 1), second = make_pdu(data_out, {0, 52}, 2);
    bench.send_all(bench.initiator, joined({first, second, first}));
    CHECK(bench.receive(bench.target, 100) == first);
    bench.receive(bench.initiator, 1);
    CHECK(bench.error == ECONNRESET);
    Buffer late;
    for (int attempt = 0; attempt < 20 && late.empty(); ++attempt) {
        late = bench.receive(bench.target, 200);
    }
    CHECK(late == joined({second, first}));
}

TEST_CASE("an initiator that sends no more is made an orphan all the same", "[proxy]") {
    Bench bench;
    bench.obey("orphan bytes=1000000 ms=1");
    const Buffer one = make_pdu(data_out, {0, 52}, 1);
    CHECK(bench.pass(one) == one); // 51 ms later
    bench.receive(bench.initiator, 1);
    CHECK(bench.error == ECONNRESET);
}

TEST_CASE("one bit of the named region is flipped, where digests were agreed on", "[proxy]") {
    Bench bench;
    const auto digests = std::string_view("HeaderDigest=CRC32C\0DataDigest=CRC32C\0", 38);
    const Buffer end = login_end(digests);
    bench.send_all(bench.target, end);
    CHECK(bench.receive(bench.initiator, end.size()) == end);
    const Buffer whole = make_pdu(data_out, {8, 13, true, true}, 3);
    const auto [region, first, last] =
        GENERATE(table<std::string, std::size_t, std::size_t>({{"header", 0, 48},
                                                               {"additional", 48, 56},
                                                               {"header_digest", 56, 60},
                                                               {"data", 60, 73},
                                                               {"padding", 73, 76},
                                                               {"data_digest", 76, 80}}));
    REQUIRE(whole.size() == 80);
    bench.obey("flip way=out region=" + region);
    const Buffer harmed = bench.pass(whole);
    REQUIRE(harmed.size() == whole.size());
    int bits = 0;
    for (std::size_t at = 0; at < whole.size(); ++at) {
        const auto changed = std::popcount(std::to_integer<unsigned>(whole[at] ^ harmed[at]));
        CHECK((changed == 0 || (at >= first && at < last)));
        bits += changed;
    }
    CHECK(bits == 1);
    CHECK(bench.pass(whole) == whole); // once
}

TEST_CASE("a PDU of a kind is doubled, held back or lost", "[proxy]") {
    Bench bench;
    const Buffer ping = make_pdu(0x00, {}, 1), data = make_pdu(data_out, {0, 4}, 2);
    SECTION("doubled") {
        bench.obey("duplicate opcode=0x05");
        bench.send_all(bench.initiator, joined({ping, data, ping}));
        CHECK(bench.receive(bench.target, 300) == joined({ping, data, data, ping}));
    }
    SECTION("held") {
        bench.obey("hold opcode=0x05 ms=30");
        bench.send_all(bench.initiator, joined({ping, data, ping}));
        CHECK(bench.receive(bench.target, 300) == joined({ping, ping, data}));
    }
    SECTION("lost") {
        bench.obey("drop opcode=0x05");
        bench.send_all(bench.initiator, joined({ping, data, ping, data}));
        CHECK(bench.receive(bench.target, 300) == joined({ping, ping, data}));
    }
}

TEST_CASE("a stalled direction loses nothing, a hole loses the connection", "[proxy]") {
    Bench bench;
    const Buffer one = make_pdu(data_out, {0, 4}, 1), answer = make_pdu(data_in, {0, 4}, 2);
    SECTION("stalled") {
        bench.obey("stall way=out");
        CHECK(bench.pass(one).empty());
        bench.send_all(bench.target, answer);
        CHECK(bench.receive(bench.initiator, answer.size()) == answer);
        bench.obey("stall off");
        CHECK(bench.receive(bench.target, one.size()) == one);
    }
    SECTION("swallowed") {
        bench.obey("hole way=out");
        CHECK(bench.pass(one).empty());
        bench.send_all(bench.target, answer);
        CHECK(bench.receive(bench.initiator, answer.size()) == answer);
        bench.obey("clear");
        CHECK(bench.pass(one).empty());
        CHECK(bench.error == ECONNRESET);
    }
    SECTION("the target does not hear of an end that fell into the hole") {
        bench.obey("hole");
        close(bench.initiator);
        bench.initiator = -1;
        CHECK(bench.receive(bench.target, 1).empty());
        CHECK(bench.error == EAGAIN);
    }
}

TEST_CASE("a proxy refuses, and sends who comes next elsewhere", "[proxy]") {
    Bench bench;
    bench.obey("refuse");
    bench.turn();
    const int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(bench.proxy().port());
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(connect(late, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0);
    close(late);
    bench.obey("refuse off");
    close(bench.initiator);
    close(bench.target);
    bench.connect_both();
    const Buffer one = make_pdu(data_out, {0, 4}, 1);
    CHECK(bench.pass(one) == one);
}

TEST_CASE("one seed draws one fate", "[proxy]") {
    const auto fate = [](std::uint64_t seed) {
        FaultPlan plan(seed);
        CHECK_FALSE(plan.obey("reset repeat after=1000..100000"));
        Digests none;
        PduCutter cutter(none);
        cutter.add(make_pdu(data_out, {0, 952}));
        Pdu pdu = *cutter.next();
        std::vector<int> out;
        for (int at = 0; at < 1000; ++at) {
            if (plan.strike(Way::out, pdu)) {
                out.push_back(at);
            }
        }
        return out;
    };
    CHECK(fate(1) == fate(1));
    CHECK(fate(1) != fate(2));
    CHECK(fate(1).size() > 10);
}

TEST_CASE("what is not understood is said", "[proxy]") {
    Bench bench;
    for (const char* line : {"", "flop", "flip region=tail", "reset after=x", "reset after=9..1",
                             "delay way=up", "hold opcode=0xzz", "hole far=1"}) {
        INFO(line);
        CHECK_FALSE(bench.wrong(line).empty());
    }
}
