// Many node records in one call: what becomes of each, and of those that come into use meanwhile. What a
// crash leaves of it: tests/store.
#include "records/store.hpp"
#include "records/store_database.hpp"

#include "unit/records/temp_store.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <span>

using namespace iscsi;
using namespace iscsi::records;
using namespace iscsi::records::test;

namespace {

const Portal portal{"10.0.0.1", 3260, 1};
constexpr std::size_t many = 2 * batch_records_max + 3;

NodeId id_of(std::size_t number) {
    return {"iqn.2001-04.com.example:t" + std::to_string(1000 + number), portal, "default"};
}

std::vector<NodeId> ids_of(std::size_t count) {
    std::vector<NodeId> ids;
    for (std::size_t i = 0; i < count; ++i) {
        ids.push_back(id_of(i));
    }
    return ids;
}

DiscoveryUpdate answer(const std::vector<NodeId>& ids) {
    DiscoveryUpdate update;
    update.source = {"10.0.0.9", 3260, tpgt_unknown};
    update.ifaces = {*make_iface("default")};
    for (const NodeId& id : ids) {
        update.found.push_back({id.target, id.portal, id.iface});
    }
    return update;
}

struct Outcomes {
    Told teller() {
        return [this](const NodeId& id, const base::Result<void>& done) {
            ids.push_back(id);
            outcomes.push_back(done ? base::Errc() : done.error().code);
        };
    }
    std::size_t count(base::Errc code) const {
        return static_cast<std::size_t>(std::ranges::count(outcomes, code));
    }
    std::vector<NodeId> ids;
    std::vector<base::Errc> outcomes;
};

struct Many : TempStore {
    explicit Many(std::size_t count) : ids(ids_of(count)) {
        auto changes = store.apply_discovery(answer(ids), Config{});
        REQUIRE(changes);
        REQUIRE(changes->added == ids);
    }

    Outcomes update(const std::vector<NodeId>& which, const Change& change) const {
        Outcomes told;
        store.update_nodes(which, change, told.teller());
        return told;
    }
    Outcomes remove(const std::vector<NodeId>& which, const InUse& in_use = {}) const {
        Outcomes told;
        store.remove_nodes(which, in_use, told.teller());
        return told;
    }
    std::size_t count_automatic() const {
        Warnings warnings;
        auto nodes = store.nodes({}, warnings);
        REQUIRE(nodes);
        CHECK(warnings.empty());
        return static_cast<std::size_t>(std::ranges::count_if(
            *nodes, [](const Record& node) { return node.text(Key::node_startup) == "automatic"; }));
    }

    std::vector<NodeId> ids;
};

base::Result<void> make_automatic(Record& record) {
    return record.set(Key::node_startup, "automatic");
}

} // namespace

TEST_CASE("more records than a batch has are made, changed and removed, and each is told of in order",
          "[store]") {
    Many temp(many);
    CHECK(listing(temp.store).size() == many);
    CHECK(std::distance(fs::directory_iterator(temp.db("send_targets/10.0.0.9,3260")), {}) ==
          static_cast<std::ptrdiff_t>(many));
    Outcomes updated = temp.update(temp.ids, make_automatic);
    CHECK(updated.ids == temp.ids);
    CHECK(updated.count(base::Errc()) == many);
    CHECK(temp.count_automatic() == many);
    Outcomes removed = temp.remove(temp.ids);
    CHECK(removed.ids == temp.ids);
    CHECK(removed.count(base::Errc()) == many);
    CHECK(fs::is_empty(temp.db("nodes")));
    CHECK(fs::is_empty(temp.db("send_targets/10.0.0.9,3260")));
    CHECK_FALSE(fs::exists(temp.db(".changes")));
}

TEST_CASE("who is told of records does not keep others from the database", "[store]") {
    Many temp(batch_records_max + 1);
    std::size_t written = 0;
    auto write_another = [&](const NodeId&, const base::Result<void>&) {
        written +=
            temp.store.write_node(new_node("iqn.2001-04.com.example:another", portal)).has_value() ? 1 : 0;
    };
    temp.store.update_nodes(std::span(temp.ids).last(2), make_automatic, write_another);
    CHECK(written == 2);
    temp.store.remove_nodes(std::span(temp.ids).last(2), {}, write_another);
    CHECK(written == 4);
}

TEST_CASE("of many records those that cannot be changed do not keep the others from it", "[store]") {
    Many temp(5);
    std::vector<NodeId> ids = temp.ids;
    ids[1] = id_of(77);
    Outcomes updated = temp.update(ids, [&](Record& record) {
        return node_id(record) == ids[3] ? base::fail(base::Errc::invalid) : make_automatic(record);
    });
    CHECK(updated.ids == ids);
    CHECK(updated.outcomes[1] == base::Errc::not_found);
    CHECK(updated.outcomes[3] == base::Errc::invalid);
    CHECK(updated.count(base::Errc()) == 3);
    CHECK(temp.count_automatic() == 3);
    Outcomes removed = temp.remove(ids, [&](const NodeId& id) { return id == ids[2]; });
    CHECK(removed.ids == ids);
    CHECK(removed.outcomes[1] == base::Errc::not_found);
    CHECK(removed.outcomes[2] == base::Errc::session_exists);
    CHECK(removed.count(base::Errc()) == 3);
    CHECK(listing(temp.store).size() == 2);
}

TEST_CASE("a record that is named twice is changed twice", "[store]") {
    Many temp(2);
    int times = 0;
    const std::vector<NodeId> twice{temp.ids[0], temp.ids[1], temp.ids[0]};
    Outcomes updated = temp.update(twice, [&](Record& record) {
        return record.set(Key::session_replacement_timeout, std::to_string(300 + ++times));
    });
    CHECK(updated.count(base::Errc()) == 3);
    Outcomes removed = temp.remove(twice);
    CHECK(removed.outcomes[0] == base::Errc());
    CHECK(removed.outcomes[1] == base::Errc());
    CHECK(listing(temp.store).empty());
}

TEST_CASE("a record that comes into use while it is removed is put back as it was", "[store]") {
    Many temp(4);
    REQUIRE(temp.update(temp.ids, make_automatic).count(base::Errc()) == 4);
    const std::string before = tree(temp.db(""));
    const std::string file = temp.db("nodes/" + temp.ids[2].target + "/10.0.0.1,3260,1/default");
    const std::string content = read_back(file);
    for (std::size_t count : {std::size_t{4}, std::size_t{1}}) {
        std::vector<NodeId> ids(temp.ids.begin() + 2, temp.ids.begin() + 3);
        ids = count == 1 ? ids : temp.ids;
        // A session begins, and then looks for its record.
        bool was_gone = false;
        Outcomes removed = temp.remove(ids, [&](const NodeId& id) {
            was_gone = was_gone || (id == temp.ids[2] && !fs::exists(file));
            return id == temp.ids[2] && was_gone;
        });
        CHECK(was_gone);
        CHECK(removed.count(base::Errc::session_exists) == 1);
        CHECK(removed.count(base::Errc()) == count - 1);
        CHECK(read_back(file) == content);
        REQUIRE(temp.store.apply_discovery(answer(temp.ids), Config{}));
        CHECK(tree(temp.db("")) == before);
    }
}

TEST_CASE("what a discovery removes and comes into use meanwhile is spared", "[store]") {
    Many temp(4);
    DiscoveryUpdate nothing_more = answer({});
    nothing_more.all_answered = true;
    std::map<std::string, int> asked;
    nothing_more.in_use = [&](const NodeId& id) {
        ++asked[id.target];
        return id == temp.ids[1] && asked[id.target] > 2; // when it is gone
    };
    auto changes = temp.store.apply_discovery(nothing_more, Config{});
    REQUIRE(changes);
    CHECK(changes->spared == std::vector{temp.ids[1]});
    CHECK(changes->removed == std::vector{temp.ids[0], temp.ids[2], temp.ids[3]});
    CHECK(listing(temp.store).size() == 1);
    CHECK(temp.store.discovered(RecordKind::send_targets, nothing_more.source) == std::vector{temp.ids[1]});
    CHECK(fs::is_symlink(
        temp.db("send_targets/10.0.0.9,3260/" + temp.ids[1].target + ",10.0.0.1,3260,1,default")));
}

TEST_CASE("a batch that fails is gone through one by one", "[store]") {
    Many temp(4);
    // No link can be made or taken away of those that are static.
    REQUIRE(temp.store.write_node(new_node(temp.ids[1].target, portal)));
    fs::remove_all(temp.db("static"));
    write_file(temp.db("static"), "");
    Outcomes updated = temp.update(temp.ids, make_automatic);
    CHECK(updated.count(base::Errc()) == 3);
    CHECK(updated.outcomes[1] != base::Errc());
    CHECK(temp.count_automatic() >= 3);
    fs::remove(temp.db("static"));
    CHECK(temp.update(temp.ids, make_automatic).count(base::Errc()) == 4);
    CHECK(temp.count_automatic() == 4);
    CHECK_FALSE(fs::exists(temp.db(".changes")));
}

TEST_CASE("a note of a batch may say anything, and goes", "[store]") {
    Many temp(3);
    const std::string before = tree(temp.db(""));
    for (const std::string& text :
         {std::string(), std::string("\n\n"), std::string("nodes/../../x/y\nifaces/x\n//\nnodes/a/b/c"),
          std::string("nodes/a/10.0.0.1,3260,1/i//nodes/b"), std::string(3, '\0'),
          std::string(100000, 'x')}) {
        write_file(temp.db(".changes"), text);
        CHECK(temp.update(temp.ids, make_automatic).count(base::Errc()) == 3);
        CHECK(tree(temp.db("")) == before);
    }
    fs::create_symlink("/etc/hostname", temp.db(".changes")); // nobody's note
    CHECK(temp.update(temp.ids, [](Record& record) { return record.set(Key::node_startup, "manual"); })
              .count(base::Errc()) == 3);
    CHECK(temp.count_automatic() == 0);
}
