// What is left of a record's values in memory.
#include "records/record.hpp"
#include "records/text.hpp"
#include "support/heap_watch.hpp"

#include <catch2/catch.hpp>
#include <optional>
#include <vector>

using iscsi::records::Key;
using iscsi::records::Record;
using iscsi::records::RecordKind;
using iscsi::test::needle;
using Watch = iscsi::test::HeapWatch;

namespace {

// One that fits into a std::string, and one that needs memory of its own.
constexpr const char* brief = "qZ7-short-one";
constexpr const char* lengthy = "qZ7 a secret of more than thirty-two octets";

Record with_secret() {
    Record record(RecordKind::node);
    REQUIRE(record.set(Key::session_password, needle.text));
    REQUIRE(record.set("node.session.auth.password_in", needle.text));
    return record;
}

} // namespace

TEST_CASE("a record leaves no secret in memory, however it was copied, moved or changed",
          "[records][secret][CHAP-11]") {
    Watch watch(GENERATE(brief, lengthy));
    {
        Record first = with_secret();
        Record copy(first);
        Record moved(std::move(copy));
        Record assigned(RecordKind::node);
        assigned = moved;
        assigned = with_secret();
        copy = std::move(moved);
        std::vector<Record> many(3, first);
        many.push_back(copy);
        many.erase(many.begin());
        std::optional<Record> kept(first);
        kept = copy;
        REQUIRE(kept->text(Key::session_password_in) == needle.text);
        kept.reset();
        REQUIRE(first.set(Key::session_password, "another one, of forty octets or some more"));
        REQUIRE(first.set(Key::session_username, "a value before them all, so that they move"));
        REQUIRE(first.set(Key::session_password_in, ""));
        REQUIRE(copy.text(Key::session_password) == needle.text);
    }
    CHECK(Watch::found() == 0);
}

TEST_CASE("what a record cannot use or does not know is not left in memory either",
          "[records][secret][CHAP-11]") {
    Watch watch(GENERATE(brief, lengthy));
    const char* refused = needle.text == brief
                              ? "qZ7-short-one\x01"
                              : "qZ7 a secret of more than thirty-two octets, and a control character\x01";
    {
        Record record(RecordKind::node);
        REQUIRE_FALSE(record.take("node.session.auth.password", refused));
        REQUIRE(record.take("node.session.auth.password_of_tomorrow", needle.text));
        for (int i = 0; i < 40; ++i) {
            REQUIRE(record.take("x." + std::to_string(i), needle.text));
        }
        Record copy = record;
        REQUIRE(copy.set(Key::session_password, "another one"));
        REQUIRE(copy.set("node.session.auth.password_of_tomorrow", ""));
        REQUIRE(record.refused(Key::session_password) != nullptr);
        REQUIRE(record.unknown().size() == 41);
    }
    CHECK(Watch::found() == 0);
}
