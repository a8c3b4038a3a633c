#include "records/fields.hpp"
#include "records/text.hpp"

#include "unit/records/temp_store.hpp"

#include <catch2/catch.hpp>
#include <set>

using namespace iscsi;
using records::Field;
using records::Key;
using records::RecordKind;

namespace {

constexpr RecordKind kinds[] = {RecordKind::node, RecordKind::send_targets, RecordKind::isns,
                                RecordKind::iface, RecordKind::daemon};

std::string shipped_config() {
    return records::test::read_back(
        (std::filesystem::path(__FILE__).parent_path() / "../../../etc/iscsid.conf").string());
}

base::Errc refused(Key key, std::string_view value) {
    auto checked = records::checked_value(records::field(key), value);
    return checked ? base::Errc{} : checked.error().code;
}

} // namespace

TEST_CASE("every default in the table is a value that the table allows", "[records]") {
    for (const Field& row : records::fields()) {
        INFO(row.name);
        CHECK(records::checked_value(row, row.compiled_default) == std::string(row.compiled_default));
        if (!row.shipped.empty()) {
            CHECK(records::checked_value(row, row.shipped) == std::string(row.shipped));
        }
    }
}

TEST_CASE("a key is found by its name in the records it applies to and in no others", "[records]") {
    for (RecordKind kind : kinds) {
        std::set<std::string_view> names;
        for (const Field& row : records::fields()) {
            INFO(row.name);
            if (row.applies_to(kind)) {
                CHECK(names.insert(row.name).second);
                CHECK(records::find_field(kind, row.name) == &row);
            } else {
                CHECK(records::find_field(kind, row.name) == nullptr);
            }
        }
    }
    CHECK(records::find_field(RecordKind::node, "node.transport_name")->key == Key::iface_transport_name);
    CHECK(records::find_field(RecordKind::node, "Node.name") == nullptr);
}

TEST_CASE("numbers out of range, with trailing text or not a power of two are refused", "[records]") {
    CHECK(refused(Key::session_cmds_max, "abc") == base::Errc::invalid);
    CHECK(refused(Key::session_cmds_max, "") == base::Errc::invalid);
    CHECK(refused(Key::session_cmds_max, "128x") == base::Errc::invalid);
    CHECK(refused(Key::session_cmds_max, "100") == base::Errc::invalid);
    CHECK(refused(Key::session_cmds_max, "4096") == base::Errc::invalid);
    CHECK(refused(Key::session_cmds_max, "0") == base::Errc::invalid);
    CHECK(refused(Key::session_queue_depth, "1025") == base::Errc::invalid);
    CHECK(refused(Key::session_queue_depth, "99999999999999999999") == base::Errc::invalid);
    CHECK(refused(Key::session_queue_depth, "-1") == base::Errc::invalid);
    CHECK(refused(Key::conn_max_xmit_data_segment_length, "511") == base::Errc::invalid);
    CHECK(records::checked_value(records::field(Key::conn_max_xmit_data_segment_length), "0") ==
          std::string("0"));
    CHECK(records::checked_value(records::field(Key::session_cmds_max), "0064") == std::string("64"));
    CHECK(records::checked_value(records::field(Key::session_xmit_thread_priority), "-20") ==
          std::string("-20"));
    CHECK(records::checked_value(records::field(Key::session_replacement_timeout), "-1") ==
          std::string("-1"));
}

TEST_CASE("choices and lists take exactly their words", "[records]") {
    CHECK(refused(Key::node_startup, "Automatic") == base::Errc::invalid);
    CHECK(refused(Key::node_leading_login, "yes") == base::Errc::invalid);
    CHECK(refused(Key::conn_header_digest, "CRC32C, None") == base::Errc::invalid);
    CHECK(refused(Key::session_chap_algs, "MD5,MD5") == base::Errc::invalid);
    CHECK(refused(Key::session_chap_algs, "MD5,") == base::Errc::invalid);
    CHECK(refused(Key::session_chap_algs, "MD4") == base::Errc::invalid);
    CHECK(records::checked_value(records::field(Key::conn_header_digest), "CRC32C,None") ==
          std::string("CRC32C,None"));
    CHECK(records::checked_value(records::field(Key::session_chap_algs), "SHA3-256, MD5") ==
          std::string("SHA3-256,MD5"));
}

TEST_CASE("a value that could break a line of the file is refused and a secret is not repeated",
          "[records]") {
    for (std::string_view bad : {std::string_view("a\nnode.startup = automatic"), std::string_view("a\0b", 3),
                                 std::string_view("a\rb"), std::string_view(" a"), std::string_view("a ")}) {
        auto checked = records::checked_value(records::field(Key::session_password), bad);
        REQUIRE_FALSE(checked);
        CHECK(checked.error().code == base::Errc::invalid);
        CHECK(checked.error().detail.find('\n') == std::string::npos);
        CHECK(checked.error().detail.find("automatic") == std::string::npos);
    }
    CHECK(refused(Key::session_password, std::string(256, 'x')) == base::Errc::invalid);
    CHECK(records::checked_value(records::field(Key::session_password), std::string(255, 'x')));
}

TEST_CASE("the shipped iscsid.conf sets the shipped values and nothing else", "[records]") {
    records::Warnings warnings;
    std::string text = shipped_config();
    std::set<std::string> seen;
    records::for_each_line(text, "iscsid.conf", warnings, [&](const records::Line& line) {
        INFO(line.key);
        const Field* row = nullptr;
        for (RecordKind kind : kinds) {
            row = row == nullptr ? records::find_field(kind, line.key) : row;
        }
        REQUIRE(row != nullptr);
        CHECK(line.value == row->shipped);
        CHECK(seen.insert(std::string(line.key)).second);
    });
    CHECK(warnings.empty());
    for (const Field& row : records::fields()) {
        INFO(row.name);
        CHECK((seen.count(std::string(row.name)) == 1) == !row.shipped.empty());
    }
}

TEST_CASE("the shipped iscsid.conf names every key that can be set there", "[records]") {
    std::string text = "\n" + shipped_config();
    for (const Field& row : records::fields()) {
        bool is_iface = row.applies_to(RecordKind::iface);
        if (is_iface || row.has(records::read_only) || row.has(records::hidden)) {
            continue;
        }
        INFO(row.name);
        bool set = text.find("\n" + std::string(row.name) + " = ") != std::string::npos;
        bool commented = text.find("\n#" + std::string(row.name) + " = ") != std::string::npos;
        CHECK((set || commented));
        if (!set && row.type != records::Type::text) {
            CHECK(text.find("\n#" + std::string(row.name) + " = " + std::string(row.compiled_default) +
                            "\n") != std::string::npos);
        }
    }
}

TEST_CASE("what a value may be is told for every type", "[records]") {
    using records::allowed_text;
    using records::field;
    CHECK(allowed_text(field(Key::session_cmds_max)) == "a power of two from 2 to 2048");
    CHECK(allowed_text(field(Key::conn_max_xmit_data_segment_length)) ==
          "0 or a number from 512 to 16777215");
    CHECK(allowed_text(field(Key::node_leading_login)) == "Yes or No");
    CHECK(allowed_text(field(Key::session_authmethod)) == "None or CHAP");
    CHECK(allowed_text(field(Key::session_chap_algs)) ==
          "a list without repetition of MD5, SHA1, SHA256 or SHA3-256");
    CHECK(allowed_text(field(Key::session_username)) ==
          "text of at most 255 bytes, without blanks at its ends");
}
