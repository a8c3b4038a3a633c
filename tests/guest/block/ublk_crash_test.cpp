// A ublk device whose server dies: the kernel keeps it and what was asked of it, another process takes it
// back.
#include "ublk_server_process.hpp"

#include <cerrno>
#include <thread>

using namespace iscsi;

namespace {

using test::ServerProcess;
using test::ServerTask;
using test::SharedBytes;

constexpr std::size_t disk_bytes = std::size_t{16} << 20;

/// The descriptor of `path` that this process has is one of memory from here on: ublk's commands are refused
/// on it.
void put_memory_in_place_of(const std::string& path) {
    const int memory = ::memfd_create("tags", MFD_CLOEXEC);
    REQUIRE(memory >= 0);
    REQUIRE(::ftruncate(memory, 1 << 20) == 0);
    int replaced = 0;
    for (int fd = 3; fd < 256; ++fd) {
        std::error_code none;
        if (std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", fd), none) == path) {
            REQUIRE(::dup2(memory, fd) == fd);
            ++replaced;
        }
    }
    CHECK(replaced == 1);
    ::close(memory);
}

/// Takes the device back in this process and removes it. False: it had never been started, and is gone.
bool take_back_and_remove(const block::KernelDeviceRequest& request, base::MutableBytes data) {
    test::UblkBench bench;
    auto taken = bench.run(block::UblkDevice::take_back(*bench.control, request));
    for (int more = 20; more > 0 && !taken && taken.error().code == base::Errc::busy; --more) {
        ::usleep(100'000); // the server before may not have let go of it
        taken = bench.run(block::UblkDevice::take_back(*bench.control, request));
    }
    INFO((taken ? "" : taken.error().detail));
    if (!taken && taken.error().code == base::Errc::not_found) {
        return false;
    }
    REQUIRE(taken);
    test::MemoryBlock memory(data.size());
    std::copy(data.begin(), data.end(), memory.data.begin());
    test::UblkServer server(std::size_t{4} << 20);
    memory.complete = [&](block::Request& r, int error) { server.queue->complete(r, error); };
    server.serve(**taken, memory);
    CHECK(bench.run((*taken)->start()));
    CHECK(bench.run((*taken)->remove()));
    server.close();
    return true;
}

} // namespace

TEST_CASE("servers are killed twenty times under a verifying load, and it sees no error", "[ublk][crash]") {
    const block::KernelDeviceRequest request = test::disk_request(disk_bytes);
    SharedBytes data(disk_bytes);
    auto server = std::make_unique<ServerProcess>(request, data.bytes(), ServerTask::make);
    const std::string name = server->hear();
    REQUIRE(name.starts_with("ublkb"));
    test::settle(name, request.depth);
    ::unlink("/run/stop");
    const std::string once =
        test::fio_verify("/dev/" + name, "--rw=randwrite --bsrange=4k-64k --iodepth=32 --size=8m");
    const pid_t load = ::fork();
    if (load == 0) {
        const std::string loop = "while [ ! -e /run/stop ]; do " + once + " || exit 1; done";
        ::execl("/bin/sh", "sh", "-c", loop.c_str(), nullptr);
        ::_exit(127);
    }
    for (useconds_t round = 0; round < 20; ++round) {
        ::usleep(100'000 + round * 17'000 % 230'000);
        server->kill();
        const base::TimePoint killed = ring::monotonic_now();
        server = std::make_unique<ServerProcess>(request, data.bytes(), ServerTask::take_back);
        CHECK(server->hear() == name);
        // With all of its tags in a server's hands the kernel would notice after 30 s.
        CHECK(ring::monotonic_now() - killed < std::chrono::seconds(10));
    }
    std::ofstream("/run/stop") << "stop";
    int status = -1;
    REQUIRE(::waitpid(load, &status, 0) == load);
    CHECK(status == 0);
    server->kill();
    CHECK(take_back_and_remove(request, data.bytes()));
}

TEST_CASE("a kernel that refuses the tags of a device that is taken back is no reason to die",
          "[ublk][crash]") {
    const block::KernelDeviceRequest request = test::disk_request(disk_bytes);
    SharedBytes data(disk_bytes);
    ServerProcess first(request, data.bytes(), ServerTask::make);
    const std::string name = first.hear();
    REQUIRE(name.starts_with("ublkb"));
    test::settle(name, request.depth);
    first.kill();
    {
        test::UblkBench bench;
        auto taken = bench.run(block::UblkDevice::take_back(*bench.control, request));
        REQUIRE(taken);
        put_memory_in_place_of("/dev/ublkc" + name.substr(5));
        test::MemoryBlock memory(disk_bytes);
        test::UblkServer server(std::size_t{4} << 20);
        server.serve(**taken, memory);
        auto started = bench.run((*taken)->start());
        REQUIRE_FALSE(started);
        CHECK(started.error().detail.find("FETCH_REQ") != std::string::npos);
        server.close();
    }
    CHECK(take_back_and_remove(request, data.bytes()));
}

TEST_CASE("a device whose start meets the end of its server is there, or is gone", "[ublk-start]") {
    test::UblkBench bench;
    SharedBytes data(disk_bytes);
    int started = 0;
    int refused = 0;
    // Towards the moment at which the one becomes the other.
    base::Duration late = std::chrono::milliseconds(5);
    for (int round = 0; round < 60; ++round) {
        const block::KernelDeviceRequest request = test::disk_request(disk_bytes);
        ServerProcess server(request, data.bytes(), ServerTask::fetch);
        const std::string name = server.hear();
        REQUIRE(name.starts_with("ublkb"));
        const auto number = static_cast<std::uint32_t>(std::stoul(name.substr(5)));
        server.begin_to_kill();
        std::this_thread::sleep_for(late);
        const base::TimePoint soon = ring::monotonic_now() + std::chrono::milliseconds(200);
        const bool is_started = bench.run(bench.control->start_device(number, server.pid(), soon)) == 0;
        (is_started ? started : refused) += 1;
        late = late * (is_started ? 11 : 9) / 10;
        server.kill();
        CHECK(take_back_and_remove(request, data.bytes()) == is_started);
        REQUIRE(test::eventually([] { return test::ublk_devices() == 0; }));
    }
    CHECK(started > 0);
    CHECK(refused > 0);
}

TEST_CASE("a device that is given up keeps what was asked of it for the next server", "[ublk][crash]") {
    const block::KernelDeviceRequest request = test::disk_request(disk_bytes);
    SharedBytes data(disk_bytes);
    std::fill(data.bytes().begin(), data.bytes().end(), std::byte{0x5a});
    ServerProcess first(request, data.bytes(), ServerTask::make);
    const std::string name = first.hear();
    REQUIRE(name.starts_with("ublkb"));
    test::settle(name, request.depth);
    first.tell('h');
    REQUIRE(first.hear() == "holds");
    int read = -1;
    std::thread reader([&] {
        test::File file("/dev/" + name, O_RDONLY | O_DIRECT);
        test::Aligned got(4096);
        const bool whole = ::pread(file.fd, got.data(), got.size(), 4096) == 4096;
        read = whole && got.all(0x5a) ? 0 : errno;
    });
    first.tell('c');
    CHECK(first.hear() == "end");
    CHECK(first.wait() == 0);
    {
        ServerProcess second(request, data.bytes(), ServerTask::take_back);
        CHECK(second.hear() == name);
        reader.join();
        CHECK(read == 0);
    }
    CHECK(take_back_and_remove(request, data.bytes()));
}
