// What a change of an nbd device's size leaves behind when its helper, its daemon or its target fails.
#include "nbd_bench.hpp"

#include "block/nbd_resize.hpp"

#include <csignal>
#include <sys/utsname.h>

using namespace iscsi;
using test::Beside;
using test::NbdDaemon;
using test::NbdDisk;
using test::SharedDisk;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t disk_bytes = std::size_t{64} << 20;
constexpr auto own_dead_timeout = 120s;

/// Linux 6.9 and later wait for the requests in progress.
bool holds_requests_up() {
    utsname names{};
    return ::uname(&names) == 0 && std::string(names.release).substr(0, 4) != "6.1.";
}

std::string mark_of(const block::KernelDeviceRequest& request) {
    return fmt::format("iscsid-{:016x}", request.cookie);
}

bool is_settled(const std::string& name) {
    return test::request_limit(name) == "0" && test::sysfs(name, "queue/io_timeout") == "5000";
}

/// What a helper that is killed in the middle leaves.
void limit_requests(const std::string& name, const block::KernelDeviceRequest& request) {
    auto netlink = block::NbdNetlink::open();
    REQUIRE(netlink);
    REQUIRE(netlink->set_timeouts(test::index_of(name), mark_of(request), block::nbd_resize_request_time_max,
                                  5s));
    REQUIRE(test::request_limit(name) != "0");
}

std::string write_one(const std::string& path) {
    return "dd if=/dev/zero of=" + path + " bs=4k count=1 seek=8 oflag=direct 2>/dev/null";
}

/// A procedure that goes on while the test does something else on its loop.
class Begun {
public:
    explicit Begun(ring::Task<base::Result<void>> task) : task_(std::move(task)) {
        task_.start([](void* flag) { *static_cast<bool*>(flag) = true; }, &done_);
    }
    bool done() const { return done_; }
    base::Result<void> result() { return task_.result(); }

private:
    ring::Task<base::Result<void>> task_;
    bool done_ = false;
};

/// A disk with a write in progress, which is held, and a change of its size, which waits for that write.
struct Resizing {
    Resizing() {
        REQUIRE(test::shell(write_one(disk.path())) == 0); // the kernel has looked for partitions
        disk.hold_writes();
        writer = std::make_unique<Beside>(write_one(disk.path()));
        REQUIRE(test::eventually([&] { return disk.held() > 0; }));
        resize(disk_bytes / 2);
        REQUIRE(disk.turn_until([&] { return test::device_helpers().size() == 1; }));
        turn(1s);
        CHECK_FALSE(resizes.front()->done());
    }
    void resize(std::uint64_t bytes) {
        request.attributes.size_bytes = bytes;
        resizes.push_back(std::make_unique<Begun>(disk.device->resize(request.attributes)));
    }
    void turn(base::Duration time) {
        const auto until = ring::monotonic_now() + time;
        disk.turn_until([&] { return ring::monotonic_now() > until; });
    }
    void let_go() {
        disk.let_go();
        REQUIRE(disk.turn_until([&] { return resizes.back()->done() && writer->done(); }));
        CHECK(writer->status() == 0);
    }

    std::unique_ptr<Beside> writer; // ends after the device, whatever fails
    block::KernelDeviceRequest request = test::disk_request(disk_bytes);
    NbdDisk disk{request};
    std::vector<std::unique_ptr<Begun>> resizes;
};

} // namespace

TEST_CASE("nbd: with the new size the kernel takes the limit of requests away by itself", "[nbd-resize]") {
    const auto request = test::disk_request(disk_bytes);
    NbdDisk disk(request);
    limit_requests(disk.name(), request);
    auto netlink = block::NbdNetlink::open();
    REQUIRE(netlink);
    REQUIRE(netlink->resize(test::index_of(disk.name()), mark_of(request), disk_bytes / 2, own_dead_timeout));
    CHECK(test::request_limit(disk.name()) == "0");
    CHECK(test::sysfs(disk.name(), "size") == std::to_string(disk_bytes / 2 / 512));
}

TEST_CASE("nbd: what a helper of the daemon before has left is put right by the next", "[nbd-resize]") {
    SharedDisk disk(disk_bytes);
    const auto request = test::disk_request(disk_bytes);
    auto daemon = std::make_unique<NbdDaemon>(disk, request, false);
    const std::string name = daemon->name;
    REQUIRE(name.starts_with("nbd"));
    REQUIRE(test::shell(write_one("/dev/" + name)) == 0);
    limit_requests(name, request);
    daemon.reset();
    daemon = std::make_unique<NbdDaemon>(disk, request, true);
    REQUIRE(daemon->name == name);
    CHECK(test::eventually([&] { return is_settled(name); }));
    CHECK(test::shell(write_one("/dev/" + name)) == 0);
}

TEST_CASE("nbd: what the administrator has set is left alone when a device is taken back", "[nbd-resize]") {
    SharedDisk disk(disk_bytes);
    const auto request = test::disk_request(disk_bytes);
    auto daemon = std::make_unique<NbdDaemon>(disk, request, false);
    const std::string interval = "/sys/block/" + daemon->name + "/queue/io_timeout";
    std::ofstream(interval) << 7000;
    daemon.reset();
    daemon = std::make_unique<NbdDaemon>(disk, request, true);
    ::sleep(3);
    CHECK(test::sysfs(daemon->name, "queue/io_timeout") == "7000");
}

TEST_CASE("nbd: what a helper has left that was killed is put right by its daemon", "[nbd-resize]") {
    if (!holds_requests_up()) {
        return; // there is no moment at which it could be killed
    }
    Resizing test;
    for (const pid_t helper : test::device_helpers()) {
        ::kill(helper, SIGKILL); // ends when it comes out of the kernel
    }
    test.let_go();
    CHECK_FALSE(test.resizes.front()->result());
    CHECK(test.disk.turn_until([&] { return is_settled(test.disk.name()); }));
    test.resize(disk_bytes / 2);
    REQUIRE(test.disk.turn_until([&] { return test.resizes.back()->done(); }));
    CHECK(test.resizes.back()->result());
    CHECK(is_settled(test.disk.name()));
}

TEST_CASE("nbd: of two new sizes for a device the second waits for the first", "[nbd-resize]") {
    if (!holds_requests_up()) {
        return;
    }
    Resizing test;
    test.resize(disk_bytes / 4);
    test.turn(1s);
    CHECK(test::device_helpers().size() == 1);
    test.let_go();
    for (const auto& resize : test.resizes) {
        CHECK(resize->result());
    }
    CHECK(test::sysfs(test.disk.name(), "size") == std::to_string(disk_bytes / 4 / 512));
    CHECK(is_settled(test.disk.name()));
}
