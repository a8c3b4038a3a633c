#include "base/wiped.hpp"
#include "ipc/line_buffer.hpp"
#include "support/heap_watch.hpp"
#include "unit/ipc/samples.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>
#include <vector>

namespace iscsi::ipc {
namespace {

std::vector<std::string> take_all(LineBuffer& buffer) {
    std::vector<std::string> lines;
    for (;;) {
        auto line = buffer.next();
        REQUIRE(line);
        if (!*line) {
            return lines;
        }
        lines.push_back(**line);
    }
}

TEST_CASE("lines come out as they went in, however the stream is cut", "[ipc]") {
    const std::vector<std::string> lines{"one", "", "three three", std::string(1000, 'x'), "last"};
    std::string stream;
    for (const std::string& line : lines) {
        stream += line + '\n';
    }
    SECTION("whole") {
        LineBuffer buffer;
        buffer.append(stream);
        CHECK(take_all(buffer) == lines);
        CHECK(buffer.size() == 0);
    }
    SECTION("byte by byte") {
        LineBuffer buffer;
        std::vector<std::string> got;
        for (char c : stream) {
            buffer.append({&c, 1});
            for (std::string& line : take_all(buffer)) {
                got.push_back(std::move(line));
            }
        }
        CHECK(got == lines);
    }
    SECTION("at random places") {
        std::mt19937 random(1);
        for (int round = 0; round < 200; ++round) {
            LineBuffer buffer;
            std::vector<std::string> got;
            for (std::string_view rest = stream; !rest.empty();) {
                std::size_t n = std::min<std::size_t>(random() % 40, rest.size());
                buffer.append(rest.substr(0, n));
                rest.remove_prefix(n);
                for (std::string& line : take_all(buffer)) {
                    got.push_back(std::move(line));
                }
            }
            REQUIRE(got == lines);
        }
    }
}

TEST_CASE("what has no newline yet is kept", "[ipc]") {
    LineBuffer buffer;
    buffer.append("abc");
    CHECK(take_all(buffer).empty());
    CHECK(buffer.size() == 3);
    buffer.append("d\nef");
    CHECK(take_all(buffer) == std::vector<std::string>{"abcd"});
    CHECK(buffer.size() == 2);
}

TEST_CASE("a line that was taken out is not left in the buffer", "[ipc][secret][CHAP-11]") {
    test::HeapWatch watch("a secret of some length");
    const std::string beside =
        GENERATE(as<std::string>(), "", "more", "a line that is longer than the other\n");
    {
        LineBuffer buffer;
        // Room for all, so that no block is outgrown with the secret in it: the daemon's heap is wiped.
        buffer.append(std::string(200, 'x') + "\n");
        take_all(buffer);
        buffer.append("before\n");
        buffer.append(test::needle.text);
        buffer.append("\n" + beside);
        for (auto line = buffer.next(); line && *line; line = buffer.next()) {
            base::wipe(**line); // it is whoever's who took it
        }
        buffer.append("rest\n");
    }
    CHECK(test::HeapWatch::found() == 0);
}

TEST_CASE("a line of exactly the bound is taken, one more byte ends it for good", "[ipc]") {
    LineBuffer buffer(5);
    buffer.append("12345\n12345");
    CHECK(take_all(buffer) == std::vector<std::string>{"12345"});
    buffer.append("6");
    CHECK_FALSE(buffer.next());
    buffer.append("\nok\n");
    CHECK_FALSE(buffer.next());
}

TEST_CASE("an empty append changes nothing", "[ipc]") {
    LineBuffer buffer(5);
    buffer.append("");
    CHECK(take_all(buffer).empty());
}

TEST_CASE("the keys of a login are read with memory for those alone that are no defaults", "[ipc]") {
    const Login login{samples::node(), true};
    const std::string line = samples::line_of(1, login);
    const std::size_t keys = static_cast<std::size_t>(std::ranges::count(line, ':'));
    CHECK(keys > 80);
    const std::size_t before = test::allocations;
    const auto decoded = decode_request(line);
    const std::size_t taken = test::allocations - before;
    REQUIRE(decoded);
    CHECK(std::get<Login>(decoded->request).node == login.node);
    CHECK(taken < 30);
}

} // namespace
} // namespace iscsi::ipc
