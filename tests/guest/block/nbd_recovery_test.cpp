// What becomes of I/O when the daemon that serves an nbd device is killed, when its socket dies, when its
// target is slow, and when somebody else disconnects it.
#include "nbd_bench.hpp"

#include <optional>
#include <sys/resource.h>
#include <sys/socket.h>

using namespace iscsi;
using test::Beside;
using test::Load;
using test::NbdDaemon;
using test::NbdDisk;
using test::SharedDisk;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t disk_bytes = std::size_t{64} << 20;
/// What our udev rule sets.
constexpr auto io_timeout = 5s;
/// To save time.
constexpr auto short_timeout = 2s;

void set_io_timeout(const std::string& name, std::chrono::milliseconds timeout) {
    std::ofstream("/sys/block/" + name + "/queue/io_timeout") << timeout.count();
}

std::string writes(const std::string& name, int count) {
    return fmt::format(
        "fio --name=held --filename=/dev/{} --ioengine=libaio --direct=1 --rw=randwrite --bs=4k "
        "--iodepth=32 --number_ios={} --minimal >/dev/null",
        name, count);
}

/// Shuts down the one connected Unix stream that this process has: our end of a device's socket.
bool break_link() {
    for (int fd = 3; fd < 256; ++fd) {
        int domain = 0;
        socklen_t length = sizeof domain;
        sockaddr_storage peer{};
        socklen_t peer_length = sizeof peer;
        if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX &&
            ::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_length) == 0) {
            return ::shutdown(fd, SHUT_RDWR) == 0;
        }
    }
    return false;
}

/// While it lives this process can open nothing, so that no socket can be replaced.
class NoNewFiles {
public:
    NoNewFiles() {
        REQUIRE(::getrlimit(RLIMIT_NOFILE, &usual_) == 0);
        rlimit few = usual_;
        few.rlim_cur = 3;
        REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
    }
    NoNewFiles(const NoNewFiles&) = delete;
    NoNewFiles& operator=(const NoNewFiles&) = delete;
    ~NoNewFiles() { ::setrlimit(RLIMIT_NOFILE, &usual_); }

private:
    rlimit usual_{};
};

} // namespace

TEST_CASE("nbd: a daemon is killed ten times under load, and no I/O fails or is lost", "[nbd-recovery]") {
    SharedDisk disk(disk_bytes);
    const auto request = test::disk_request(disk_bytes);
    auto daemon = std::make_unique<NbdDaemon>(disk, request, false);
    const std::string name = daemon->name;
    REQUIRE(name.starts_with("nbd"));
    set_io_timeout(name, short_timeout);
    Load load("/dev/" + name);
    for (int round = 0; round < 10; ++round) {
        const unsigned before = disk.board().writes;
        REQUIRE(test::eventually([&] { return disk.board().writes > before + 200; }));
        daemon.reset();
        daemon = std::make_unique<NbdDaemon>(disk, request, true);
        INFO(daemon->name);
        REQUIRE(daemon->name == name);
    }
    CHECK_FALSE(load.done());
    CHECK(load.finish());
}

TEST_CASE("nbd: what was in progress when the daemon died is asked for again soon after", "[nbd-recovery]") {
    std::unique_ptr<Beside> fio; // ends after the device, whatever fails
    SharedDisk disk(disk_bytes);
    const auto request = test::disk_request(disk_bytes);
    auto daemon = std::make_unique<NbdDaemon>(disk, request, false);
    const std::string name = daemon->name;
    REQUIRE(name.starts_with("nbd"));
    set_io_timeout(name, io_timeout);
    disk.board().hold = true;
    fio = std::make_unique<Beside>(writes(name, 32));
    REQUIRE(test::eventually([&] { return disk.board().writes > 0; }));
    ::sleep(1);
    daemon.reset();
    disk.board().hold = false;
    const auto begun = ring::monotonic_now();
    daemon = std::make_unique<NbdDaemon>(disk, request, true);
    CHECK(fio->status() == 0);
    CHECK(ring::monotonic_now() - begun < io_timeout + 5s); // the kernel rounds; its own is 30 s
}

TEST_CASE("nbd: a slow target fails nothing and is asked only once", "[nbd-recovery]") {
    std::unique_ptr<Beside> fio; // ends after the device, whatever fails
    SharedDisk disk(disk_bytes);
    NbdDaemon daemon(disk, test::disk_request(disk_bytes), false);
    REQUIRE(daemon.name.starts_with("nbd"));
    set_io_timeout(daemon.name, io_timeout);
    REQUIRE(test::shell(writes(daemon.name, 1)) == 0); // the kernel has looked for partitions
    const unsigned before = disk.board().writes;
    disk.board().hold = true;
    fio = std::make_unique<Beside>(writes(daemon.name, 32));
    REQUIRE(test::eventually([&] { return disk.board().writes == before + 32; }));
    ::sleep(12);
    CHECK(disk.board().writes == before + 32);
    CHECK_FALSE(fio->done());
    disk.board().hold = false;
    CHECK(fio->status() == 0);
    CHECK(disk.board().writes == before + 32);
}

TEST_CASE("nbd: a device whose daemon does not return fails its I/O after the time it was given",
          "[nbd-recovery]") {
    SharedDisk disk(disk_bytes);
    auto request = test::disk_request(disk_bytes);
    request.abandoned_timeout = 3s;
    auto daemon = std::make_unique<NbdDaemon>(disk, request, false);
    const std::string name = daemon->name;
    REQUIRE(name.starts_with("nbd"));
    REQUIRE(test::shell(writes(name, 1)) == 0);
    daemon.reset();
    const auto begun = ring::monotonic_now();
    CHECK(test::shell(writes(name, 1)) != 0);
    CHECK(ring::monotonic_now() - begun > 2s);
    CHECK(ring::monotonic_now() - begun < 20s);
    // And a daemon that is late revives it.
    daemon = std::make_unique<NbdDaemon>(disk, request, true);
    REQUIRE(daemon->name == name);
    CHECK(test::shell(writes(name, 32)) == 0);
}

TEST_CASE("nbd: a socket that dies under load is replaced, and no I/O fails or is lost", "[nbd-recovery]") {
    NbdDisk disk(test::disk_request(disk_bytes));
    set_io_timeout(disk.name(), short_timeout);
    Load load(disk.path());
    for (int round = 0; round < 4; ++round) {
        const std::size_t lines = test::kernel_lines("reconnected socket");
        const auto requests = [&] { return disk.count(block::Verb::read) + disk.count(block::Verb::write); };
        const std::size_t before = requests();
        REQUIRE(disk.turn_until([&] { return requests() > before + 200; }));
        REQUIRE(disk.server.run(break_link));
        REQUIRE(disk.turn_until([&] { return test::kernel_lines("reconnected socket") > lines; }));
    }
    CHECK_FALSE(load.done());
    load.stop();
    REQUIRE(disk.turn_until([&] { return load.done(); }));
    CHECK(load.finish());
    CHECK_FALSE(disk.nbd().is_lost());
}

TEST_CASE("nbd: a socket is replaced as soon as that can be done, however often it could not",
          "[nbd-recovery]") {
    NbdDisk disk(test::disk_request(disk_bytes));
    set_io_timeout(disk.name(), short_timeout);
    REQUIRE(test::shell(writes(disk.name(), 1)) == 0);
    std::optional<NoNewFiles> no_new_files(std::in_place);
    const bool broken = disk.server.run(break_link);
    const auto until = ring::monotonic_now() + 3s;
    disk.turn_until([&] { return ring::monotonic_now() > until; });
    const bool mended = disk.server.run(break_link);
    no_new_files.reset();
    REQUIRE(broken);
    CHECK_FALSE(disk.nbd().is_lost());
    CHECK_FALSE(mended);
    Beside fio(writes(disk.name(), 8));
    REQUIRE(disk.turn_until([&] { return fio.done(); }));
    CHECK(fio.status() == 0);
}

TEST_CASE("nbd: a socket that cannot be replaced does not keep a device from being removed",
          "[nbd-recovery]") {
    NbdDisk disk(test::disk_request(disk_bytes));
    REQUIRE(test::shell(writes(disk.name(), 1)) == 0);
    std::optional<NoNewFiles> no_new_files(std::in_place);
    const bool broken = disk.server.run(break_link);
    const auto until = ring::monotonic_now() + 500ms;
    disk.turn_until([&] { return ring::monotonic_now() > until; });
    no_new_files.reset();
    REQUIRE(broken);
    const std::string name = disk.name();
    disk.remove();
    CHECK(test::eventually([&] { return test::sysfs(name, "size").empty(); }));
}

TEST_CASE("nbd: a write that the handler still has when its socket dies cannot land behind a newer one",
          "[nbd-recovery]") {
    std::unique_ptr<Beside> fio; // ends after the device, whatever fails
    NbdDisk disk(test::disk_request(disk_bytes));
    set_io_timeout(disk.name(), short_timeout);
    REQUIRE(test::shell(writes(disk.name(), 1)) == 0);
    disk.hold_writes();
    fio = std::make_unique<Beside>(writes(disk.name(), 8));
    REQUIRE(test::eventually([&] { return disk.held() == 8; }));
    const std::size_t asked = disk.count(block::Verb::write);
    REQUIRE(disk.server.run(break_link));
    const auto until = ring::monotonic_now() + short_timeout + 3s;
    disk.turn_until([&] { return ring::monotonic_now() > until; });
    CHECK(disk.count(block::Verb::write) == asked);
    disk.let_go();
    REQUIRE(disk.turn_until([&] { return fio->done(); }));
    CHECK(fio->status() == 0);
    CHECK(disk.count(block::Verb::write) == asked + 8);
}

TEST_CASE("nbd: a device that somebody else disconnects is reported lost", "[nbd-recovery]") {
    NbdDisk disk(test::disk_request(disk_bytes));
    std::string why;
    disk.nbd().set_on_lost([&why](const base::Error& error) { why = error.message(); });
    auto netlink = block::NbdNetlink::open();
    REQUIRE(netlink);
    REQUIRE(netlink->disconnect(test::index_of(disk.name())));
    REQUIRE(disk.turn_until([&] { return disk.nbd().is_lost(); }));
    CHECK(why.find(disk.name()) != std::string::npos);
}

TEST_CASE("nbd: a device that was never made, or is served by a living daemon, is not taken",
          "[nbd-recovery]") {
    auto loop = std::move(*ring::Loop::create(64));
    const auto unknown = test::disk_request(disk_bytes);
    auto nothing = test::run_task(*loop, block::NbdDevice::take_back(*loop, unknown));
    REQUIRE_FALSE(nothing);
    CHECK(nothing.error().code == base::Errc::not_found);

    const auto request = test::disk_request(disk_bytes);
    NbdDisk disk(request);
    auto taken = test::run_task(*loop, block::NbdDevice::take_back(*loop, request));
    REQUIRE(taken);
    test::MemoryBlock memory(disk_bytes);
    test::UblkServer server(std::size_t{1} << 20);
    server.serve(**taken, memory);
    auto started = test::run_task(*loop, (*taken)->start());
    REQUIRE_FALSE(started);
    CHECK(started.error().code == base::Errc::busy);
    CHECK(test::shell(writes(disk.name(), 32)) == 0);
    server.close();
}
