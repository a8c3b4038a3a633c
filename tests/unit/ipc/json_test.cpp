// What JsonWriter writes is what text_of() makes of the same object: a state file's checksum is taken over
// the one when it is written, and over the other when it is read.
#include "ipc/json.hpp"
#include "unit/ipc/samples.hpp"

#include <catch2/catch.hpp>
#include <cstdint>
#include <limits>

namespace iscsi::ipc {
namespace {

struct Inner {
    std::string text;
    bool is_set = false;
};

struct Outer {
    std::string zebra;
    std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    std::int64_t least = std::numeric_limits<std::int64_t>::min();
    std::vector<Inner> inners;
    std::vector<int> none;
    std::optional<Inner> empty;
    std::bitset<16> bits;
};

template <class F, class T>
requires std::same_as<std::remove_const_t<T>, Inner>
void describe(F& member, T& inner) {
    member("text", inner.text);
    member("is_set", inner.is_set);
}

template <class F, class T>
requires std::same_as<std::remove_const_t<T>, Outer>
void describe(F& member, T& outer) {
    member("zebra", outer.zebra);
    member("most", outer.most);
    member("least", outer.least);
    member("inners", outer.inners);
    member("none", outer.none);
    member("empty", outer.empty);
    member("bits", outer.bits);
    member.hex("cookie", outer.most, 16);
}

template <class T>
std::string written(const T& value) {
    JsonWriter writer;
    describe(writer, value);
    return writer.text();
}

TEST_CASE("members are written in the order of their names", "[ipc]") {
    Outer outer;
    outer.zebra = "stripes";
    outer.inners = {{"one", true}, {"two", false}};
    outer.bits.set(3).set(15);
    CHECK(written(outer) == R"({"bits":[3,15],"cookie":"ffffffffffffffff","empty":null,)"
                            R"("inners":[{"is_set":true,"text":"one"},{"is_set":false,"text":"two"}],)"
                            R"("least":-9223372036854775808,"most":18446744073709551615,"none":[],)"
                            R"("zebra":"stripes"})");
}

TEST_CASE("any text is written as the library writes it", "[ipc]") {
    Outer outer;
    std::string every_byte;
    for (int byte = 0; byte < 256; ++byte) {
        every_byte += static_cast<char>(byte);
    }
    for (const std::string& text : {std::string(), std::string("plain ~"), std::string("a\"b\\c"), every_byte,
                                    std::string("\xc3\xa4\xe2\x82\xac"), std::string("\x7f\n\t\x01")}) {
        outer.zebra = text;
        outer.inners = {{text, true}};
        const std::string line = written(outer);
        const Json read = Json::parse(line, nullptr, false);
        REQUIRE(read.is_object());
        CHECK(text_of(read) == line);
        CHECK(read["zebra"] == Json::parse(text_of(Json(text))));
    }
}

TEST_CASE("a record is written as the library writes it, whatever its values are", "[ipc]") {
    records::Record node = samples::node();
    REQUIRE(node.set("aaa.of_another_version", "1"));
    for (std::string_view password : {"plain", "with \"quotes\" and \\", "p\xe4ss\xff"}) {
        REQUIRE(node.set(records::Key::session_password, password));
        JsonWriter writer;
        writer("node", node);
        const std::string line = writer.text();
        const Json read = Json::parse(line, nullptr, false);
        REQUIRE(read.is_object());
        CHECK(text_of(read) == line);
        records::Record back(records::RecordKind::iface);
        const auto tree = parse_object(line, line.size());
        REQUIRE(tree);
        CHECK(read_record(tree->root().find("node"), back).empty());
        CHECK(back.text(records::Key::session_password) == password);
        CHECK(back.unknown().size() == node.unknown().size());
    }
}

} // namespace
} // namespace iscsi::ipc
