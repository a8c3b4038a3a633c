// A ublk device whose server dies: the kernel keeps it and what was asked of it, another process takes it
// back. The servers are children of the test; the data lies in memory that outlives them.
#include "ublk_bench.hpp"

#include <cerrno>
#include <csignal>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <thread>

using namespace iscsi;

namespace {

constexpr std::size_t disk_bytes = std::size_t{16} << 20;
constexpr auto answer_time = std::chrono::milliseconds(5);

/// A disk whose answers take a while, so that a server that is killed has all the requests it may have.
/// Fails those that it holds when it is told to.
class SlowDisk final : public block::RequestHandler {
public:
    SlowDisk(ring::Loop& loop, base::MutableBytes data)
        : loop_(loop), data_(data), timer_(ring::Timer::to<&SlowDisk::answer>(loop.timers(), this)) {}

    void start(block::Request& request) override {
        request.next = first_;
        first_ = &request;
        ++held;
        if (!hold && !timer_.armed()) {
            timer_.arm(loop_.now() + answer_time);
        }
    }
    void fail_all(int error_number) {
        while (first_ != nullptr) {
            queue->complete(take(), error_number);
        }
    }

    block::BlockQueue* queue = nullptr;
    bool hold = false;
    std::size_t held = 0;

private:
    block::Request& take() {
        block::Request& request = *first_;
        first_ = request.next;
        --held;
        return request;
    }
    void answer() {
        while (first_ != nullptr) {
            block::Request& request = take();
            const auto at = data_.begin() + static_cast<std::ptrdiff_t>(request.offset_bytes);
            if (request.verb == block::Verb::read) {
                std::copy_n(at, request.data.size(), request.data.begin());
            } else if (request.verb == block::Verb::write) {
                std::copy(request.data.begin(), request.data.end(), at);
            } else if (request.verb != block::Verb::flush) {
                std::fill_n(at, request.length_bytes, std::byte{0});
            }
            queue->complete(request, 0);
        }
    }

    ring::Loop& loop_;
    base::MutableBytes data_;
    ring::Timer timer_;
    block::Request* first_ = nullptr;
};

/// What a child does; it has its own loop, pool and device.
class Child {
public:
    Child(const block::KernelDeviceRequest& request, base::MutableBytes data, int command_fd, int answer_fd)
        : request_(request), command_fd_(command_fd), answer_fd_(answer_fd),
          loop_(std::move(*ring::Loop::create(64, ring::Ring::SqeSize::wide))),
          pool_(std::move(*block::BufferPool::create(std::size_t{8} << 20))), disk_(*loop_, data) {}

    [[noreturn]] void run(bool again) {
        auto ended = test::run_task(*loop_, serve(again));
        say(ended ? "end" : "error: " + ended.error().detail);
        ::_exit(ended ? 0 : 1);
    }

private:
    ring::Task<base::Result<void>> serve(bool again) {
        auto control = block::UblkControl::open(*loop_);
        if (!control) {
            co_return base::fail(std::move(control.error()));
        }
        block::UblkDevice::Made made = base::fail(base::Errc::unknown);
        if (again) {
            made = co_await block::UblkDevice::take_back(**control, request_);
        } else {
            made = co_await block::UblkDevice::create(**control, request_);
        }
        if (!made) {
            co_return base::fail(std::move(made.error()));
        }
        auto queue = (*made)->make_queue({*loop_, *pool_, disk_});
        if (!queue) {
            co_return base::fail(std::move(queue.error()));
        }
        disk_.queue = queue->get();
        base::Result<void> started = co_await (*made)->start();
        if (!started) {
            co_return started;
        }
        say((*made)->name());
        co_await obey(**queue);
        co_return base::Result<void>();
    }

    /// "h": holds what comes; "c": gives the device up with what it holds.
    ring::Task<void> obey(block::BlockQueue& queue) {
        while (true) {
            char letter = 0;
            ring::OpWait command(*loop_);
            io_uring_prep_read(command.sqe(), command_fd_, &letter, 1, 0);
            const int n = co_await command;
            base::check(n == 1, "the test lives longer");
            if (letter == 'h') {
                disk_.hold = true;
                say("holds");
            } else {
                break;
            }
        }
        while (disk_.held == 0) {
            ring::Sleep pause(*loop_, ring::monotonic_now() + answer_time);
            co_await pause;
        }
        ring::Event closed;
        queue.close([&] { closed.set(); });
        disk_.fail_all(ENOLINK);
        co_await closed;
    }

    void say(const std::string& word) const {
        const std::string line = word + "\n";
        base::check(::write(answer_fd_, line.data(), line.size()) > 0, "the test listens");
    }

    block::KernelDeviceRequest request_;
    int command_fd_;
    int answer_fd_;
    std::unique_ptr<ring::Loop> loop_;
    std::unique_ptr<block::BufferPool> pool_;
    SlowDisk disk_;
};

/// A server in a process of its own.
class ServerProcess {
public:
    ServerProcess(const block::KernelDeviceRequest& request, base::MutableBytes data, bool again) {
        int commands[2];
        int answers[2];
        REQUIRE(::pipe2(commands, O_CLOEXEC) == 0);
        REQUIRE(::pipe2(answers, O_CLOEXEC) == 0);
        pid_ = ::fork();
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            Child(request, data, commands[0], answers[1]).run(again);
        }
        REQUIRE(pid_ > 0);
        ::close(commands[0]);
        ::close(answers[1]);
        command_fd_ = commands[1];
        answer_fd_ = answers[0];
    }
    ~ServerProcess() {
        kill();
        ::close(command_fd_);
        ::close(answer_fd_);
    }

    void tell(char letter) const { CHECK(::write(command_fd_, &letter, 1) == 1); }
    std::string hear() const {
        std::string line;
        char c = 0;
        while (::read(answer_fd_, &c, 1) == 1 && c != '\n') {
            line += c;
        }
        return line;
    }
    void kill() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            wait();
        }
    }
    int wait() {
        int status = 0;
        ::waitpid(pid_, &status, 0);
        pid_ = -1;
        return status;
    }

private:
    pid_t pid_ = -1;
    int command_fd_ = -1;
    int answer_fd_ = -1;
};

/// Memory that parent and children share.
class SharedBytes {
public:
    explicit SharedBytes(std::size_t bytes)
        : bytes_(static_cast<std::byte*>(
                     ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)),
                 bytes) {
        base::check(bytes_.data() != MAP_FAILED, "there is memory");
    }
    SharedBytes(const SharedBytes&) = delete;
    SharedBytes& operator=(const SharedBytes&) = delete;
    ~SharedBytes() { ::munmap(bytes_.data(), bytes_.size()); }
    base::MutableBytes bytes() const { return bytes_; }

private:
    base::MutableBytes bytes_;
};

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

/// Takes the device back in this process and removes it.
void take_back_and_remove(const block::KernelDeviceRequest& request, base::MutableBytes data) {
    test::UblkBench bench;
    auto taken = bench.run(block::UblkDevice::take_back(*bench.control, request));
    for (int more = 20; more > 0 && !taken && taken.error().code == base::Errc::busy; --more) {
        ::usleep(100'000); // the server before may not have let go of it
        taken = bench.run(block::UblkDevice::take_back(*bench.control, request));
    }
    INFO((taken ? "" : taken.error().detail));
    REQUIRE(taken);
    test::MemoryBlock memory(data.size());
    std::copy(data.begin(), data.end(), memory.data.begin());
    test::UblkServer server(std::size_t{4} << 20);
    memory.complete = [&](block::Request& r, int error) { server.queue->complete(r, error); };
    server.serve(**taken, memory);
    CHECK(bench.run((*taken)->start()));
    CHECK(bench.run((*taken)->remove()));
    server.close();
}

} // namespace

TEST_CASE("servers are killed twenty times under a verifying load, and it sees no error", "[ublk][crash]") {
    const block::KernelDeviceRequest request = test::disk_request(disk_bytes);
    SharedBytes data(disk_bytes);
    auto server = std::make_unique<ServerProcess>(request, data.bytes(), false);
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
        server = std::make_unique<ServerProcess>(request, data.bytes(), true);
        CHECK(server->hear() == name);
        // With all of its tags in a server's hands the kernel would notice after 30 s.
        CHECK(ring::monotonic_now() - killed < std::chrono::seconds(10));
    }
    std::ofstream("/run/stop") << "stop";
    int status = -1;
    REQUIRE(::waitpid(load, &status, 0) == load);
    CHECK(status == 0);
    server->kill();
    take_back_and_remove(request, data.bytes());
}

TEST_CASE("a kernel that refuses the tags of a device that is taken back is no reason to die",
          "[ublk][crash]") {
    const block::KernelDeviceRequest request = test::disk_request(disk_bytes);
    SharedBytes data(disk_bytes);
    ServerProcess first(request, data.bytes(), false);
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
    take_back_and_remove(request, data.bytes());
}

TEST_CASE("a device that is given up keeps what was asked of it for the next server", "[ublk][crash]") {
    const block::KernelDeviceRequest request = test::disk_request(disk_bytes);
    SharedBytes data(disk_bytes);
    std::fill(data.bytes().begin(), data.bytes().end(), std::byte{0x5a});
    ServerProcess first(request, data.bytes(), false);
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
        ServerProcess second(request, data.bytes(), true);
        CHECK(second.hear() == name);
        reader.join();
        CHECK(read == 0);
    }
    take_back_and_remove(request, data.bytes());
}
