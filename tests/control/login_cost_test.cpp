// What a login costs, counted: a thousand of them come at once when a machine boots, and each trip, file and
// unit of memory is there a thousand times.
#include "control/units_bench.hpp"

#include <algorithm>
#include <set>
#include <sys/inotify.h>

using namespace iscsi;
using namespace iscsi::test;

namespace {

/// Names that files got in a directory since.
class Renames {
public:
    explicit Renames(const std::string& directory) : fd_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
        std::filesystem::create_directories(directory);
        REQUIRE(::inotify_add_watch(fd_, directory.c_str(), IN_MOVED_TO) >= 0);
    }
    Renames(const Renames&) = delete;
    Renames& operator=(const Renames&) = delete;
    ~Renames() { ::close(fd_); }

    std::size_t count() {
        alignas(inotify_event) char buffer[16384];
        const ssize_t bytes = ::read(fd_, buffer, sizeof buffer);
        for (ssize_t at = 0; at < bytes;) {
            ++count_;
            at += static_cast<ssize_t>(sizeof(inotify_event)) +
                  static_cast<ssize_t>(reinterpret_cast<const inotify_event*>(buffer + at)->len);
        }
        return count_;
    }

private:
    int fd_;
    std::size_t count_ = 0;
};

/// Commands that left together know of the same answers.
std::size_t trips(UnitsBench& bench) {
    std::set<std::uint64_t> known;
    for (const Pdu& pdu : bench.server.with([](Target& target) { return target.seen(scsi_command); })) {
        known.insert(pdu.get(field::exp_stat_sn));
    }
    return known.size();
}

} // namespace

TEST_CASE("a login asks for the list of units in one trip to the target, and for each in four") {
    const std::size_t units = GENERATE(1, 3);
    DiskConfig config = disks(units == 1 ? std::vector<std::uint8_t>{0} : std::vector<std::uint8_t>{0, 1, 2});
    UnitsBench bench(config);
    const ipc::LoginReply reply = bench.log_in();
    CHECK(reply.luns.size() == units);
    CHECK(trips(bench) == 1 + 4 * units);
    CHECK(bench.seen(command(inquiry)) > 2 * units);
    CHECK(bench.seen(command(mode_sense)) == 2 * units);
}

TEST_CASE("a login whose devices end with the daemon writes its file in /run once, a logout once more") {
    UnitsBench bench(disks({0}));
    Renames written(bench.fixture.daemon->paths().sessions_dir());
    const ipc::LoginReply reply = bench.log_in();
    CHECK(written.count() == 1);
    CHECK(std::holds_alternative<ipc::Done>(bench.ask(ipc::Logout{reply.sid})));
    CHECK(written.count() == 2); // that it ends, before it does
}
