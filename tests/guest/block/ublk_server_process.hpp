// A server of a ublk device that can die: a child of the test. The data lies in memory that outlives it.
#pragma once

#include "ublk_bench.hpp"

#include <csignal>
#include <sys/mman.h>
#include <sys/prctl.h>

namespace iscsi::test {

inline constexpr auto answer_time = std::chrono::milliseconds(5);

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
            if (request.sink != nullptr) {
                request.sink->put(0, base::Bytes(data_).subspan(request.offset_bytes, request.length_bytes));
            } else if (request.verb == block::Verb::read) {
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

enum class ServerTask {
    make,      ///< a device, to the end of its start
    fetch,     ///< makes a device that somebody else may start: the kernel has its tags
    take_back, ///< a device, to the end of its recovery
};

/// What a child does; it has its own loop, pool and device.
class Child {
public:
    Child(const block::KernelDeviceRequest& request, base::MutableBytes data, int command_fd, int answer_fd)
        : request_(request), command_fd_(command_fd), answer_fd_(answer_fd),
          loop_(std::move(*ring::Loop::create(64, ring::Ring::SqeSize::wide))),
          pool_(std::move(*block::BufferPool::create(std::size_t{8} << 20))), disk_(*loop_, data) {}

    [[noreturn]] void run(ServerTask task) {
        auto ended = run_task(*loop_, serve(task));
        say(ended ? "end" : "error: " + ended.error().detail);
        ::_exit(ended ? 0 : 1);
    }

private:
    ring::Task<base::Result<void>> serve(ServerTask task) {
        auto control = block::UblkControl::open(*loop_);
        if (!control) {
            co_return base::fail(std::move(control.error()));
        }
        block::UblkDevice::Made made = base::fail(base::Errc::unknown);
        if (task == ServerTask::take_back) {
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
        if (task != ServerTask::fetch) {
            base::Result<void> started = co_await (*made)->start();
            if (!started) {
                co_return started;
            }
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
    ServerProcess(const block::KernelDeviceRequest& request, base::MutableBytes data, ServerTask task) {
        int commands[2];
        int answers[2];
        REQUIRE(::pipe2(commands, O_CLOEXEC) == 0);
        REQUIRE(::pipe2(answers, O_CLOEXEC) == 0);
        pid_ = ::fork();
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            Child(request, data, commands[0], answers[1]).run(task);
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
    pid_t pid() const { return pid_; }
    /// The kernel lets go of what it had on its own time.
    void begin_to_kill() const { ::kill(pid_, SIGKILL); }
    void kill() {
        if (pid_ > 0) {
            begin_to_kill();
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

} // namespace iscsi::test
