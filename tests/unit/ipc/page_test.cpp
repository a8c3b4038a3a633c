// The list of sessions in pages: nothing is left out and nothing is on two of them, whatever changes
// meanwhile.
#include "base/limits.hpp"
#include "ipc/json_tree.hpp"
#include "ipc/page.hpp"
#include "unit/ipc/samples.hpp"

#include <catch2/catch.hpp>
#include <map>
#include <set>

namespace iscsi::ipc {
namespace {

using SessionMap = std::map<std::uint32_t, SessionSnapshot>;
using Units = std::set<std::pair<std::uint32_t, std::uint64_t>>;

SessionSnapshot with_units(std::uint32_t sid, std::size_t count) {
    SessionSnapshot session;
    session.sid = sid;
    for (std::size_t i = count; i > 0; --i) { // the last one first: the daemon's order is not the numbers'
        session.luns.emplace_back().number = i - 1;
    }
    return session;
}

/// As the daemon fills it.
SessionsReply page_of(const SessionMap& sessions, const ListPlace& after) {
    SessionsReply reply;
    ListPage page(after);
    for (const auto& [sid, session] : sessions) {
        if (page.is_full()) {
            break;
        }
        SessionSnapshot copy = session;
        if (!page.is_past(sid) && page.take(copy)) {
            reply.sessions.push_back(std::move(copy));
        }
    }
    if (page.is_full()) {
        reply.next = page.end();
    }
    return reply;
}

Units units_of(const std::vector<SessionSnapshot>& sessions) {
    Units units;
    for (const SessionSnapshot& session : sessions) {
        for (const AttachedLun& lun : session.luns) {
            CHECK(units.emplace(session.sid, lun.number).second);
        }
    }
    return units;
}

struct Read {
    std::vector<SessionSnapshot> all;
    std::size_t pages = 0;
};

/// `between` is called behind each page.
template <class Between>
Read read_all(SessionMap& sessions, Between between) {
    Read read;
    ListPlace after;
    for (bool has_more = true; has_more; between(read.pages)) {
        auto more = append_page(read.all, page_of(sessions, after), after);
        REQUIRE(more);
        has_more = *more;
        REQUIRE(++read.pages < 1000);
    }
    return read;
}

Read read_all(SessionMap& sessions) {
    return read_all(sessions, [](std::size_t) {});
}

} // namespace

TEST_CASE("a short list is one page", "[ipc]") {
    SessionMap sessions{{3, with_units(3, 2)}, {5, with_units(5, 0)}};
    const Read read = read_all(sessions);
    CHECK(read.pages == 1);
    REQUIRE(read.all.size() == 2);
    CHECK(units_of(read.all) == Units{{3, 0}, {3, 1}});
    SessionMap none;
    CHECK(read_all(none).all.empty());
}

TEST_CASE("a session with more units than a page has is on several, and comes out whole", "[ipc]") {
    for (std::size_t count : {page_units_max - 1, page_units_max, page_units_max + 1, 5 * page_units_max}) {
        SessionMap sessions{{1, with_units(1, 3)}, {2, with_units(2, count)}, {9, with_units(9, 4)}};
        sessions[2].absent.resize(20);
        const Read read = read_all(sessions);
        REQUIRE(read.all.size() == 3);
        CHECK(units_of(read.all).size() == count + 7);
        CHECK(read.all[1].absent.size() == 20);
        CHECK(std::ranges::is_sorted(read.all[1].luns, {}, &AttachedLun::number));
    }
}

TEST_CASE("sessions without units, and units that are not shown, fill pages too", "[ipc]") {
    SessionMap sessions;
    for (std::uint32_t sid = 1; sid <= 3 * page_units_max; ++sid) {
        sessions[sid].sid = sid;
    }
    CHECK(read_all(sessions).all.size() == 3 * page_units_max);
    for (std::uint32_t sid = 1; sid <= 3; ++sid) {
        sessions[sid].absent.resize(page_units_max * page_absent_a_unit);
        sessions[sid].luns.emplace_back().number = 0;
    }
    const Read read = read_all(sessions);
    CHECK(read.all.size() == 3 * page_units_max);
    CHECK(units_of(read.all) == Units{{1, 0}, {2, 0}, {3, 0}});
    CHECK(read.pages >= 6);
}

TEST_CASE("what changes between two pages disturbs nothing else", "[ipc]") {
    SessionMap sessions{{1, with_units(1, 2 * page_units_max)}, {2, with_units(2, 2 * page_units_max)}};
    const Read read = read_all(sessions, [&](std::size_t pages) {
        if (pages == 1) { // within session 1: a unit that was told of goes, one that was not, and one comes
            std::erase_if(sessions[1].luns, [](const AttachedLun& lun) {
                return lun.number == 4 || lun.number == page_units_max + 5;
            });
            sessions[1].luns.emplace_back().number = 10 * page_units_max;
        }
        if (pages == 3) { // all that was to come of it
            sessions.erase(2);
            sessions[3] = with_units(3, 1);
        }
    });
    const Units units = units_of(read.all);
    CHECK(units.contains({1, 4}));
    CHECK_FALSE(units.contains({1, page_units_max + 5}));
    CHECK(units.contains({1, 10 * page_units_max}));
    CHECK(units.contains({3, 0}));
    CHECK(read.all.size() == 3);
}

TEST_CASE("a list that leads back is no list", "[ipc]") {
    std::vector<SessionSnapshot> all;
    ListPlace after{5, 9};
    for (const ListPlace& next : {ListPlace{5, 9}, ListPlace{5, 8}, ListPlace{4, {}}}) {
        CHECK_FALSE(append_page(all, SessionsReply{{}, next}, after));
        CHECK(after == ListPlace{5, 9});
    }
    for (const ListPlace& next : {ListPlace{5, 10}, ListPlace{5, {}}, ListPlace{6, 0}}) {
        CHECK(append_page(all, SessionsReply{{}, next}, after).value());
        CHECK(after == next);
    }
}

TEST_CASE("a page of the busiest units is a line that the socket takes", "[ipc]") {
    SessionsReply reply;
    SessionSnapshot session = samples::session();
    session.luns.assign(page_units_max, samples::lun());
    session.absent.assign(page_units_max * page_absent_a_unit, {UINT64_MAX, std::string(200, 'x')});
    KindSnapshot kind{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, {}};
    for (std::size_t bucket = 0; bucket < base::latency::buckets; ++bucket) {
        kind.latency_us.push_back({base::latency::lowest_us(bucket), 1'000'000'000'000});
    }
    for (AttachedLun& lun : session.luns) {
        lun.io = IoSnapshot{kind, kind, kind, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    }
    reply.sessions.push_back(std::move(session));
    reply.next = ListPlace{1, 7};
    const std::string line = encode(1, Reply(reply));
    CHECK(line.size() < base::limits::ipc_line_bytes_max);
    CHECK(decode_reply(std::string_view(line).substr(0, line.size() - 1)));
    CHECK(JsonTree::parse(fmt::format("[{},{}]", line, line), 64)); // half of the values that a line may have
}

} // namespace iscsi::ipc
