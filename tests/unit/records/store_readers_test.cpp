// Readers of the record database take no lock: what they find while others write.
#include "records/store.hpp"

#include "unit/records/temp_store.hpp"

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>
#include <thread>
#include <utility>

using namespace iscsi;
using namespace iscsi::records;
using namespace iscsi::records::test;

namespace {

const std::string t1 = "iqn.2001-04.com.example:t1";
const Portal portal_a{"10.0.0.1", 3260, 1};

} // namespace

TEST_CASE("a reader finds a record that moves under a tag while he looks", "[store]") {
    TempStore temp;
    Portal untagged{portal_a.address, portal_a.port, -1};
    REQUIRE(temp.store.write_node(new_node(t1, untagged)));
    NodeFilter filter;
    filter.target = t1;
    filter.portal = Portal{"an alias", portal_a.port, -1};
    // Asked after the directory was listed and before the record is read.
    bool moved = false;
    filter.same_host = [&](std::string_view, std::string_view) {
        if (!std::exchange(moved, true)) {
            REQUIRE(temp.store.write_node(new_node(t1, portal_a, "other")));
        }
        return true;
    };
    std::vector<std::string> lines = listing(temp.store, filter);
    REQUIRE(moved);
    CHECK(std::ranges::count(lines, portal_text(portal_a) + " " + t1 + " default") == 1);
    CHECK(std::ranges::count(lines, portal_text(portal_a) + " " + t1 + " other") == 1);
    CHECK(lines.size() == 2);
}

TEST_CASE("a reader who looks twice neither says a thing twice nor takes two records for one", "[store]") {
    TempStore temp;
    const Portal twin{portal_a.address, portal_a.port, 2};
    const Portal behind{"10.0.0.9", portal_a.port, 1};
    REQUIRE(temp.store.write_node(new_node(t1, portal_a)));
    REQUIRE(temp.store.write_node(new_node(t1, behind)));
    const std::string place = temp.db("nodes/" + t1 + "/10.0.0.1,3260,2");
    std::filesystem::create_directory(place);
    write_file(place + "/default", file_text(new_node(t1, twin)));
    write_file(temp.db("nodes/" + t1 + "/no portal"), "");
    // In the first look it is listed, and gone when it is opened.
    int calls = 0;
    NodeFilter filter;
    filter.target = t1;
    filter.portal = Portal{"an alias", portal_a.port, -1};
    filter.same_host = [&](std::string_view have, std::string_view) {
        ++calls;
        if (calls == 3) {
            std::filesystem::rename(place, temp.db("aside"));
        } else if (calls == 4) {
            CHECK(have == behind.address);
            std::filesystem::rename(temp.db("aside"), place);
        }
        return true;
    };
    Warnings warnings;
    auto found = temp.store.nodes(filter, warnings);
    REQUIRE(found);
    CHECK(calls > 6);
    std::vector<std::string> tags;
    for (const Record& record : *found) {
        tags.push_back(record.text(Key::conn_address) + "," + record.text(Key::node_tpgt));
    }
    std::ranges::sort(tags);
    CHECK(tags == std::vector<std::string>{"10.0.0.1,1", "10.0.0.1,2", "10.0.0.9,1"});
    REQUIRE(warnings.size() == 1);
    CHECK(warnings[0].find("not a portal") != std::string::npos);
}

TEST_CASE("a reader of one record does not miss it while it moves under a tag", "[store]") {
    TempStore temp;
    Portal untagged{portal_a.address, portal_a.port, -1};
    std::atomic<unsigned> phase = 0; // odd: the record is there, wherever
    std::atomic<int> misses = 0;
    std::atomic<bool> done = false;
    std::thread reader([&] {
        Store own{Paths(temp.root.path()), std::chrono::seconds(20)};
        while (!done) {
            Warnings warnings;
            unsigned before = phase;
            bool found = own.node({t1, untagged, "default"}, warnings).has_value();
            misses += before % 2 == 1 && before == phase && !found ? 1 : 0;
        }
    });
    bool written = true;
    for (int i = 0; i < 60 && written; ++i) {
        written = temp.store.write_node(new_node(t1, untagged)).has_value();
        ++phase;
        written = written && temp.store.write_node(new_node(t1, portal_a, "other"));
        ++phase;
        written = written && temp.store.remove_node({t1, portal_a, "default"}) &&
                  temp.store.remove_node({t1, portal_a, "other"});
    }
    done = true;
    reader.join();
    CHECK(written);
    CHECK(misses == 0);
}
