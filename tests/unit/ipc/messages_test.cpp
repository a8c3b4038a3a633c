#include "base/limits.hpp"
#include "ipc/events.hpp"
#include "unit/ipc/samples.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>
#include <set>

namespace iscsi::ipc {
namespace {

using base::Errc;

template <class T>
const T& as(const Request& request) {
    return std::get<T>(request);
}

TEST_CASE("every request comes back as it was sent", "[ipc]") {
    std::uint64_t id = UINT64_MAX - 10;
    for (const Request& request : samples::requests()) {
        std::string line = encode(++id, request);
        REQUIRE(line.back() == '\n');
        REQUIRE(std::ranges::count(line, '\n') == 1);
        line.pop_back();
        auto decoded = decode_request(line);
        REQUIRE(decoded);
        CHECK(decoded->id == id);
        CHECK(decoded->request.index() == request.index());
        // What is sent again is the same, and so is everything in it.
        CHECK(encode(id, decoded->request) == line + '\n');
        CHECK(id_of(line) == id);
    }
}

TEST_CASE("a record arrives with its secrets, its unknown keys and its numbers", "[ipc]") {
    auto decoded = decode_request(samples::line_of(1, Request(Login{samples::node(), true})));
    REQUIRE(decoded);
    CHECK(as<Login>(decoded->request).node == samples::node());
    CHECK(as<Login>(decoded->request).multiple);

    decoded =
        decode_request(samples::line_of(1, Request(Discover{samples::discovery(), {samples::iface("if1")}})));
    REQUIRE(decoded);
    CHECK(as<Discover>(decoded->request).discovery == samples::discovery());
    REQUIRE(as<Discover>(decoded->request).ifaces.size() == 1);
    CHECK(as<Discover>(decoded->request).ifaces[0] == samples::iface("if1"));
}

TEST_CASE("a secret that is no UTF-8 arrives byte for byte", "[ipc]") {
    records::Record node = samples::node();
    REQUIRE(node.set(records::Key::session_password, "p\xe4ssw\xf6rt\xff"));
    auto decoded = decode_request(samples::line_of(1, Request(Login{node, false})));
    REQUIRE(decoded);
    CHECK(as<Login>(decoded->request).node.text(records::Key::session_password) == "p\xe4ssw\xf6rt\xff");
}

TEST_CASE("every reply comes back as it was sent", "[ipc]") {
    for (const Reply& reply : samples::replies()) {
        std::string line = samples::line_of(42, reply);
        auto decoded = decode_reply(line);
        REQUIRE(decoded);
        CHECK(decoded->id == 42);
        CHECK(decoded->reply.index() == reply.index());
        CHECK(encode(42, decoded->reply) == line + '\n');
    }
}

TEST_CASE("a snapshot of a session loses nothing on its way", "[ipc]") {
    auto decoded = decode_reply(samples::line_of(1, Reply(SessionsReply{{samples::session()}})));
    REQUIRE(decoded);
    const auto& sessions = std::get<SessionsReply>(decoded->reply).sessions;
    REQUIRE(sessions.size() == 1);
    CHECK(sessions[0] == samples::session());
}

TEST_CASE("an error arrives with its kind and all its lines", "[ipc]") {
    const base::Error sent{Errc::protocol, "a\nb", base::Cause::key_unusable};
    auto decoded = decode_reply(samples::line_of(1, Reply(ErrorReply{sent})));
    REQUIRE(decoded);
    const base::Error& error = std::get<ErrorReply>(decoded->reply).error;
    CHECK(error.code == Errc::protocol);
    CHECK(error.detail == "a\nb");
    CHECK(error.cause == base::Cause::key_unusable);
}

TEST_CASE("a cause of another version is none", "[ipc]") {
    for (std::string_view cause : {R"(,"cause":"sunspots")", ""}) {
        auto decoded =
            decode_reply(std::string(R"({"v":1,"id":1,"reply":"error","error":{"errc":4,"detail":"x")") +
                         std::string(cause) + "}}");
        REQUIRE(decoded);
        CHECK(std::get<ErrorReply>(decoded->reply).error.code == Errc::transport);
        CHECK(std::get<ErrorReply>(decoded->reply).error.cause == base::Cause::none);
    }
}

TEST_CASE("a kind of error of another version is still an error", "[ipc]") {
    auto decoded = decode_reply(R"({"v":1,"id":1,"reply":"error","error":{"errc":4711,"detail":"x"}})");
    REQUIRE(decoded);
    CHECK(std::get<ErrorReply>(decoded->reply).error.code == Errc::unknown);
}

TEST_CASE("text that is no UTF-8 is replaced, and never thrown about", "[ipc]") {
    auto decoded = decode_reply(samples::line_of(1, Reply(LoginReply{1, {}, "\xff\xfe"})));
    REQUIRE(decoded);
    CHECK(std::get<LoginReply>(decoded->reply).note == "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST_CASE("members of a newer version are ignored", "[ipc]") {
    auto decoded = decode_request(R"({"v":1,"id":1,"request":"logout","sid":3,"newer":{"a":[1,2]}})");
    REQUIRE(decoded);
    CHECK(as<Logout>(decoded->request).sid == 3);
}

TEST_CASE("another version or another request is refused by name", "[ipc]") {
    auto decoded = decode_request(R"({"v":2,"id":9,"request":"logout","sid":3})");
    REQUIRE_FALSE(decoded);
    CHECK(decoded.error().code == Errc::unknown_request);
    CHECK(id_of(R"({"v":2,"id":9,"request":"logout","sid":3})") == 9);
    decoded = decode_request(R"({"v":1,"id":9,"request":"reboot"})");
    REQUIRE_FALSE(decoded);
    CHECK(decoded.error().code == Errc::unknown_request);
    CHECK(decode_reply(R"({"v":1,"id":9,"reply":"discover"})").error().code == Errc::invalid);
}

TEST_CASE("a request with anything wrong in it is refused", "[ipc]") {
    for (
        std::string_view line : {
            "",
            " ",
            "null",
            "1",
            "\"x\"",
            "[]",
            "{}",
            "{",
            "}",
            "{\"v\":1}",
            "\xff",
            R"({"v":1,"request":"logout","sid":1})",
            R"({"v":1,"id":-1,"request":"logout","sid":1})",
            R"({"v":1,"id":1.5,"request":"logout","sid":1})",
            R"({"v":1,"id":"1","request":"logout","sid":1})",
            R"({"v":"1","id":1,"request":"logout","sid":1})",
            R"({"v":1,"id":1,"request":7,"sid":1})",
            R"({"v":1,"id":1,"request":"logout"})",
            R"({"v":1,"id":1,"request":"logout","sid":null})",
            R"({"v":1,"id":1,"request":"logout","sid":-1})",
            R"({"v":1,"id":1,"request":"logout","sid":4294967296})",
            R"({"v":1,"id":1,"request":"logout","sid":18446744073709551616})",
            R"({"v":1,"id":1,"request":"logout","sid":1e3})",
            R"({"v":1,"id":1,"request":"logout","sid":1e999999})",
            R"({"v":1,"id":1,"request":"logout","sid":true})",
            R"({"v":1,"id":1,"request":"logout","sid":1} {)",
            R"({"v":1,"id":1,"request":"login","multiple":false})",
            R"({"v":1,"id":1,"request":"login","multiple":0,"node":{"kind":"node","values":{}}})",
            R"({"v":1,"id":1,"request":"login","multiple":false,"node":[]})",
            R"({"v":1,"id":1,"request":"login","multiple":false,"node":{"kind":"node"}})",
            R"({"v":1,"id":1,"request":"login","multiple":false,"node":{"kind":"node","values":[]}})",
            R"({"v":1,"id":1,"request":"login","multiple":false,"node":{"kind":"iface","values":{}}})",
            R"({"v":1,"id":1,"request":"login","multiple":false,"node":{"kind":"x","values":{}}})",
            R"({"v":1,"id":1,"request":"login","multiple":false,"node":{"kind":"node","values":{"node.tpgt":1}}})",
            R"({"v":1,"id":1,"request":"login","multiple":false,"node":{"kind":"node","values":{"node.tpgt":"x"}}})",
            R"({"v":1,"id":1,"request":"login","multiple":false,"node":{"kind":"node","values":{"a b":"x"}}})",
            R"({"v":1,"id":1,"request":"login","multiple":false,"node":{"kind":"node","values":{"node.name":"a\nb"}}})",
            R"({"v":1,"id":1,"request":"login","multiple":false,"node":{"kind":"node","values":{"node.name":{"hex":"0x0a"}}}})",
            R"({"v":1,"id":1,"request":"login","multiple":false,"node":{"kind":"node","values":{"node.name":{"hex":"zz"}}}})",
            R"({"v":1,"id":1,"request":"discover","discovery":{"kind":"node","values":{}},"ifaces":[]})",
            R"({"v":1,"id":1,"request":"discover","discovery":{"kind":"send_targets","values":{}},"ifaces":{}})",
            R"({"v":1,"id":1,"request":"discover","discovery":{"kind":"send_targets","values":{}},"ifaces":[1]})",
            R"({"v":1,"id":1,"request":"discover","discovery":{"kind":"send_targets","values":{}},"ifaces":[{"kind":"node","values":{}}]})",
        }) {
        CAPTURE(line);
        auto decoded = decode_request(line);
        REQUIRE_FALSE(decoded);
        CHECK_FALSE(decoded.error().detail.empty());
    }
}

TEST_CASE("a message that is cut anywhere is refused", "[ipc]") {
    for (const Request& request : samples::requests()) {
        std::string line = samples::line_of(1, request);
        for (std::size_t length = 0; length < line.size(); ++length) {
            REQUIRE_FALSE(decode_request(std::string_view(line).substr(0, length)));
        }
    }
    for (const Reply& reply : samples::replies()) {
        std::string line = samples::line_of(1, reply);
        for (std::size_t length = 0; length < line.size(); ++length) {
            REQUIRE_FALSE(decode_reply(std::string_view(line).substr(0, length)));
        }
    }
}

TEST_CASE("a message with any bytes changed is refused or read, and nothing else", "[ipc]") {
    std::mt19937 random(4711);
    std::vector<std::string> lines;
    for (const Request& request : samples::requests()) {
        lines.push_back(samples::line_of(1, request));
    }
    for (const Reply& reply : samples::replies()) {
        lines.push_back(samples::line_of(1, reply));
    }
    std::size_t refused = 0;
    for (int round = 0; round < 3000; ++round) {
        std::string line = lines[random() % lines.size()];
        for (unsigned changes = random() % 4 + 1; changes != 0; --changes) {
            line[random() % line.size()] = static_cast<char>(random());
        }
        bool read = decode_request(line).has_value() || decode_reply(line).has_value();
        refused += read ? 0 : 1;
        (void)id_of(line);
    }
    CHECK(refused > 0);
}

TEST_CASE("an event with anything wrong in it is refused, and one that is about nothing is read", "[ipc]") {
    const std::string whole = samples::line_of(9, Reply(samples::event()));
    REQUIRE(decode_reply(whole));
    const std::pair<std::string, std::string> wrong[]{
        {R"("sid":7)", R"("sid":-1)"},
        {R"("sid":7)", R"("sid":4294967296)"},
        {R"("sid":7)", R"("sid":"7")"},
        {R"("sid":7,)", ""},
        {R"("lun":0)", R"("lun":[])"},
        {R"("lost":18446744073709551615)", R"("lost":18446744073709551616)"},
        {R"("lost":18446744073709551615)", R"("lost":-1)"},
        {R"("event":"resized")", R"("event":null)"},
        {R"("time_us":1700000000123456)", R"("time_us":1e99)"},
        {R"("device":"/dev/ublkb0")", R"("device":{})"},
    };
    for (const auto& [from, to] : wrong) {
        std::string line = whole;
        const auto at = line.find(from);
        REQUIRE(at != std::string::npos);
        line.replace(at, from.size(), to);
        INFO(line);
        CHECK_FALSE(decode_reply(line));
    }
    std::string of_a_newer_daemon = whole;
    of_a_newer_daemon.replace(of_a_newer_daemon.find("resized"), 7, "renamed");
    auto read = decode_reply(of_a_newer_daemon);
    REQUIRE(read);
    CHECK(std::get<EventReply>(read->reply).event == "renamed");
    const auto nothing = decode_reply(samples::line_of(9, Reply(EventReply())));
    REQUIRE(nothing);
    CHECK_FALSE(std::get<EventReply>(nothing->reply).sid);
    CHECK_FALSE(std::get<EventReply>(nothing->reply).lun);
}

TEST_CASE("names of events are words that a query can have, and none is there twice", "[ipc]") {
    std::set<std::string_view> names;
    for (const EventRow& row : event_rows) {
        CHECK(row_of(row.event).name == row.name);
        CHECK(names.insert(row.name).second);
        CHECK(row.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") == std::string_view::npos);
        CHECK(row.level != Level::debug); // a monitor would not be told
        CHECK(row.meaning.size() > 10);
    }
}

TEST_CASE("lists that nest without end are refused before they are built", "[ipc]") {
    for (std::string open : {"[", "{\"a\":", "[{\"v\":"}) {
        std::string line = R"({"v":1,"id":1,"request":"info","x":)";
        for (int i = 0; i < 1000000; ++i) {
            line += open;
        }
        auto decoded = decode_request(line);
        REQUIRE_FALSE(decoded);
        CHECK(decoded.error().code == Errc::invalid);
    }
    CHECK(decode_request(R"({"v":1,"id":1,"request":"info","x":"[[[[[[[[[[[[[[[[[[[[[[[[\"[[[["})"));
}

TEST_CASE("a line that is too long is refused", "[ipc]") {
    std::string line = R"({"v":1,"id":1,"request":"info","x":")";
    line.append(base::limits::ipc_line_bytes_max, 'a');
    line += "\"}";
    CHECK_FALSE(decode_request(line));
}

TEST_CASE("the texts of the states are those that scripts look for", "[ipc]") {
    CHECK(text(ConnectionState::logged_in) == "LOGGED IN");
    CHECK(text(ConnectionState::transport_wait) == "TRANSPORT WAIT");
    CHECK(text(ConnectionState::unknown) == "Unknown");
    CHECK(text(SessionState::logged_in) == "LOGGED_IN");
    CHECK(text(SessionState::free) == "FREE");
    CHECK(text(InternalState::no_change) == "NO CHANGE");
    CHECK(text(InternalState::unknown) == "Unknown");
}

TEST_CASE("a histogram comes through a snapshot as it was, and what is no bucket is left out") {
    base::LatencyHistogram histogram;
    for (int us : {0, 7, 8, 9, 100, 101, 5'000, 200'000'000}) {
        histogram.add(std::chrono::microseconds(us));
    }
    KindSnapshot kind = snapshot(histogram.read(), 2, 4096);
    CHECK(kind.requests == 8);
    CHECK(kind.failures == 2);
    CHECK(kind.bytes == 4096);
    CHECK(latency_of(kind) == histogram.read());
    kind.latency_us = {{17, 5}, {16}, {16, 3, 1}, {}};
    CHECK(latency_of(kind).count() == 0);
}

} // namespace
} // namespace iscsi::ipc
