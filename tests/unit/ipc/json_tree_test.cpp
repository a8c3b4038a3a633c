// What JsonTree takes for JSON, and what it finds in it, beside nlohmann's library.
#include "base/text.hpp"
#include "ipc/json.hpp"
#include "unit/ipc/samples.hpp"

#include <catch2/catch.hpp>
#include <limits>
#include <random>

namespace iscsi::ipc {
namespace {

constexpr std::size_t deep = 64;

/// The tree as the library would have read it.
Json as_library(const JsonValue& value) {
    if (value.is_object() || value.is_list()) {
        Json all = value.is_object() ? Json::object() : Json::array();
        value.each([&](std::string_view name, const JsonValue& one) {
            (value.is_object() ? all[std::string(name)] : all.emplace_back()) = as_library(one);
            return true;
        });
        return all;
    }
    if (value.is_text()) {
        return std::string(value.text());
    }
    if (value.is_null()) {
        return nullptr;
    }
    if (const auto boolean = value.boolean()) {
        return *boolean;
    }
    REQUIRE(value.is_number());
    if (const auto number = value.unsigned_number()) {
        return *number;
    }
    if (const auto number = value.negative_number()) {
        return *number;
    }
    return "a number that fits no 64 bits";
}

/// The library's, with numbers as above.
Json without_floats(Json json) {
    if (json.is_number_float()) {
        return "a number that fits no 64 bits";
    }
    for (auto& one : json) {
        if (one.is_structured() || one.is_number_float()) {
            one = without_floats(one);
        }
    }
    return json;
}

bool is_read(std::string_view text) {
    return JsonTree::parse(text, deep).has_value();
}

/// Both take it and understand the same, or neither does.
void compare(const std::string& text) {
    const Json library = Json::parse(text, nullptr, false);
    const auto tree = JsonTree::parse(text, deep);
    if (tree.has_value() == library.is_discarded()) {
        FAIL("read: " << tree.has_value() << ", by the library: " << !library.is_discarded() << ": " << text);
    }
    if (tree && as_library(tree->root()) != without_floats(library)) {
        FAIL("understood otherwise: " << text);
    }
}

/// With '~' between them.
constexpr std::string_view texts =
    "{}~[]~ [ 1 , 2 ]\n~0~-0~-1~01~-~+1~1.~.5~1.5~1e5~1E+5~1e~18446744073709551615~"
    "18446744073709551616~-9223372036854775808~-9223372036854775809~true~false~null~tru~nul~~ ~"
    "\"\"~\"a~[1,]~[,1]~[1 2]~{\"a\":1,}~{\"a\"}~{\"a\" : [ {\"b\":null} ]}~{a:1}~{\"a\":1}{~"
    "{\"a\":1,\"a\":2}~[[],{},[[]]]~\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"~"
    "\"\\u0041\\u00e4\\u20ac\\ud83d\\ude00\\u0000\"~\"\\ud83d\"~\"\\ude00\"~\"\\ud83d\\u0041\"~"
    "\"\\u12g4\"~\"\\u12\"~\"\\x\"~\"\\\"~\"\x7f\"~\"\x1f\"~\"\n\"~\"\xc3\xa4\"~\"\xe2\x82\xac\"~"
    "\"\xf0\x9f\x98\x80\"~\"\xc0\x80\"~\"\xe0\x80\x80\"~\"\xed\xa0\x80\"~\"\xf4\x90\x80\x80\"~"
    "\"\xf5\x80\x80\x80\"~\"\xf0\x80\x80\x80\"~\"\xc3\"~\"\x80\"~\"\xe2\x82\"~\xc3\xa4~'a'~[1]//~"
    "{\"a\":1}x";

TEST_CASE("JSON is what the library takes for it, and means the same", "[ipc]") {
    for (std::string_view text : base::split(texts, '~')) {
        compare(std::string(text));
    }
}

TEST_CASE("a message with bytes changed is JSON where the library says so, and means the same", "[ipc]") {
    std::mt19937 random(2026);
    std::vector<std::string> lines;
    for (const Request& request : samples::requests()) {
        lines.push_back(samples::line_of(1, request));
    }
    for (const Reply& reply : samples::replies()) {
        lines.push_back(samples::line_of(1, reply));
    }
    constexpr std::string_view pieces = "0123456789-+.\"{}[],:\\/ ntfau\x7f\xc3\xa4";
    for (int round = 0; round < 3000; ++round) {
        std::string line = lines[random() % lines.size()];
        line.pop_back(); // its end of line
        for (std::size_t changes = random() % 3 + 1; changes != 0; --changes) {
            line[random() % line.size()] = pieces[random() % pieces.size()];
        }
        compare(line);
    }
}

TEST_CASE("a tree is as deep as it may be and no deeper, and finds what was said last", "[ipc]") {
    CHECK(JsonTree::parse("[[[]]]", 3));
    CHECK_FALSE(JsonTree::parse("[[[]]]", 2));
    CHECK(JsonTree::parse("[[],[],{}]", 2));
    CHECK_FALSE(is_read(std::string(100000, '[')));

    const auto tree = JsonTree::parse(R"({"a":[1,{"b":2}],"b":3, "b" : {"c":[ ]} })", deep);
    REQUIRE(tree);
    CHECK(tree->root().find("b").spelling() == R"({"c":[ ]})");
    CHECK_FALSE(tree->root().find("c"));
    CHECK(tree->root().find("a").is_list());
}

TEST_CASE("a text has so many values and no more", "[ipc]") {
    const auto zeros = [](std::size_t count) {
        std::string text = "[0";
        for (std::size_t i = 1; i < count; ++i) {
            text += ",0";
        }
        return text + "]";
    };
    CHECK(is_read(zeros(JsonTree::values_max - 1))); // and the list
    CHECK_FALSE(is_read(zeros(JsonTree::values_max)));
    CHECK_FALSE(is_read(zeros(4 * JsonTree::values_max)));
}

} // namespace
} // namespace iscsi::ipc
