// What users ask of a unit is told to who asks for it: the daemon as a whole, with a user of the export.
#include "control/nbd_user.hpp"
#include "control/units_bench.hpp"

using namespace iscsi;
using namespace iscsi::scripted;
using namespace iscsi::test;

namespace {

ipc::AttachedLun lun_of(UnitsBench& bench, const ipc::Sessions& request) {
    const ipc::Reply listed = bench.ask(request);
    return std::get<ipc::SessionsReply>(listed).sessions.at(0).luns.at(0);
}

} // namespace

TEST_CASE("a list of sessions has the numbers of each unit when it is asked for them, and not else") {
    UnitsBench bench(disks({0}));
    NbdUser user(bench, bench.log_in().luns.at(0).uri);
    for (NbdUser::Type type : {NbdUser::Type::read, NbdUser::Type::write, NbdUser::Type::write}) {
        REQUIRE(user.execute(type) == 0);
    }
    CHECK_FALSE(lun_of(bench, ipc::Sessions()).io);
    const std::optional<ipc::IoSnapshot> io = lun_of(bench, ipc::Sessions{true}).io;
    REQUIRE(io);
    CHECK(io->read.requests == 1);
    CHECK(io->read.bytes == 512);
    CHECK(io->write.requests == 2);
    CHECK(io->write.bytes == 1024);
    CHECK(ipc::latency_of(io->write).count() == 2);
    CHECK(io->other.requests == 0);
    CHECK(io->in_hand == 0);
}

TEST_CASE("a page of the list has the numbers, too, and says where the next one begins") {
    UnitsBench bench(disks({0}));
    bench.log_in();
    CHECK(lun_of(bench, ipc::Sessions{true, ipc::ListPlace()}).io);
    CHECK_FALSE(lun_of(bench, ipc::Sessions{false, ipc::ListPlace()}).io);
    const ipc::Reply all = bench.ask(ipc::Sessions{true, ipc::ListPlace()});
    CHECK_FALSE(std::get<ipc::SessionsReply>(all).next);
    const std::uint32_t sid = std::get<ipc::SessionsReply>(all).sessions.at(0).sid;
    const ipc::Reply behind = bench.ask(ipc::Sessions{true, ipc::ListPlace{sid, {}}});
    CHECK(std::get<ipc::SessionsReply>(behind).sessions.empty());
}
