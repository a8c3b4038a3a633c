// What the ublk tests in the guest share: a disk in memory behind a ublk device, served by a thread of its
// own, with control on the test's thread; and the plain users of a block device.
#pragma once

#include "block/device_helper.hpp"
#include "block/ublk_control.hpp"
#include "block/ublk_device.hpp"
#include "block/udev.hpp"
#include "ring/await.hpp"
#include "ring/loop.hpp"
#include "shard/shard.hpp"
#include "support/memory_block.hpp"
#include "support/run_task.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace iscsi::test {

/// Runs `work` on the thread of `loop`, which is another's; gives what it returns.
template <class Work>
auto run_on(ring::Loop& loop, Work work) {
    using Value = std::invoke_result_t<Work&>;
    struct Mail final : ring::Message {
        explicit Mail(Work& owner) : work(owner) {}
        void deliver() override {
            // The waiter, and with it this object, may go before set_value() has returned.
            const auto kept = done;
            if constexpr (std::is_void_v<Value>) {
                work();
                kept->set_value();
            } else {
                kept->set_value(work());
            }
        }
        Work& work;
        std::shared_ptr<std::promise<Value>> done = std::make_shared<std::promise<Value>>();
    };
    Mail mail(work);
    std::future<Value> result = mail.done->get_future();
    loop.post(mail);
    return result.get();
}

/// Control: a loop of the test's thread and the driver's commands.
struct UblkBench {
    UblkBench() {
        auto made = ring::Loop::create(64, ring::Ring::SqeSize::wide);
        REQUIRE(made);
        loop = std::move(*made);
        auto opened = block::UblkControl::open(*loop);
        REQUIRE(opened);
        control = std::move(*opened);
    }
    template <class T>
    T run(ring::Task<T> task) {
        return run_task(*loop, std::move(task));
    }
    std::uint64_t features() {
        std::uint64_t found = 0;
        REQUIRE(run(control->get_features(found)) == 0);
        return found;
    }

    std::unique_ptr<ring::Loop> loop;
    std::unique_ptr<block::UblkControl> control;
};

inline block::Attributes disk_attributes(std::size_t bytes) {
    block::Attributes attributes;
    attributes.size_bytes = bytes;
    attributes.volatile_cache = true;
    attributes.fua = true;
    attributes.max_request_bytes = 32U << 20;
    attributes.max_discard_bytes = 1U << 20;
    attributes.discard_granularity_bytes = 4096;
    attributes.max_write_zeroes_bytes = 1U << 20;
    return attributes;
}

inline block::KernelDeviceRequest disk_request(std::size_t bytes) {
    static std::uint64_t count = static_cast<std::uint64_t>(::getpid()) << 32;
    block::KernelDeviceRequest request;
    request.cookie = ++count;
    request.attributes = disk_attributes(bytes);
    return request;
}

/// A thread that serves one device at a time, as a shard does.
class UblkServer {
public:
    explicit UblkServer(std::size_t pool_bytes) {
        auto started = shard::Shard::start({0, pool_bytes});
        base::check(started.has_value(), "a shard starts");
        shard_ = std::move(*started);
    }

    void serve(block::BlockDevice& device, block::RequestHandler& handler) {
        auto made = run_on(shard_->loop(), [&] {
            return device.make_queue({shard_->loop(), shard_->pool(), handler});
        });
        REQUIRE(made);
        queue = std::move(*made);
    }
    void close() {
        const auto closed = std::make_shared<std::promise<void>>();
        run_on(shard_->loop(), [&] {
            queue->close([this, closed] {
                const auto kept = closed;
                queue.reset();
                kept->set_value();
            });
        });
        closed->get_future().get();
    }
    template <class Work>
    auto run(Work work) {
        return run_on(shard_->loop(), std::move(work));
    }
    std::size_t pool_claimed() {
        return run([this] { return shard_->pool().claimed(); });
    }

    std::unique_ptr<block::BlockQueue> queue;

private:
    std::unique_ptr<shard::Shard> shard_;
};

/// The kernel's schedulers reorder and cut; without udev nobody tells it not to.
inline void settle(const std::string& name, unsigned depth) {
    const std::string queue = "/sys/block/" + name + "/queue/";
    std::ofstream(queue + "scheduler") << "none";
    std::ofstream(queue + "nr_requests") << depth;
}

/// A disk in memory, shown as /dev/ublkbN from show() to destruction.
class UblkDisk {
public:
    static constexpr std::size_t default_bytes = std::size_t{64} << 20;

    static constexpr std::size_t default_pool_bytes = std::size_t{16} << 20;

    UblkDisk(UblkBench& control, const block::KernelDeviceRequest& request,
             std::size_t pool_bytes = default_pool_bytes)
        : bench(control), memory(request.attributes.size_bytes), server(pool_bytes) {
        make(request);
    }
    ~UblkDisk() {
        if (device) {
            remove();
        }
    }

    void show() {
        auto started = bench.run(device->start());
        INFO((started ? "" : started.error().detail));
        REQUIRE(started);
        settle(device->name(), depth_);
    }
    /// Stops and deletes it; requests that are held are ended.
    void remove() {
        let_go();
        CHECK(bench.run(device->remove()));
        server.close();
        device.reset();
    }
    void hold() {
        server.run([this] { memory.hold = true; });
    }
    void let_go() {
        server.run([this] {
            memory.hold = false;
            memory.release_all();
        });
    }
    const std::string& path() const { return device->path(); }
    std::size_t count(block::Verb verb) {
        return server.run([&] { return memory.count(verb); });
    }
    std::size_t held() {
        return server.run([this] { return memory.held(); });
    }

    UblkBench& bench;
    MemoryBlock memory;
    UblkServer server;
    std::unique_ptr<block::BlockDevice> device;

private:
    void make(const block::KernelDeviceRequest& request) {
        auto made = bench.run(block::UblkDevice::create(*bench.control, request));
        REQUIRE(made);
        device = std::move(*made);
        depth_ = request.depth;
        memory.complete = [this](block::Request& r, int error) { server.queue->complete(r, error); };
        server.serve(*device, memory);
    }

    unsigned depth_ = 0;
};

/// A disk that is there with the object.
struct ShownDisk : UblkDisk {
    explicit ShownDisk(UblkBench& control, const block::KernelDeviceRequest& request,
                       std::size_t pool_bytes = default_pool_bytes)
        : UblkDisk(control, request, pool_bytes) {
        show();
    }
};

/// Runs a shell command; its exit status.
inline int shell(const std::string& command) {
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

inline std::string fio_verify(const std::string& path, const std::string& options) {
    const std::string name = path.substr(path.rfind('/') + 1);
    return fmt::format("fio --name=verify --filename={} --ioengine=libaio --direct=1 --verify=crc32c "
                       "--verify_fatal=1 --randrepeat=0 --minimal {} >/run/fio.{} 2>&1 "
                       "|| {{ cat /run/fio.{}; false; }}",
                       path, options, name, name);
}

/// An open device, or a file.
class File {
public:
    File(const std::string& path, int flags) : fd(::open(path.c_str(), flags | O_CLOEXEC)) {}
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File() {
        if (fd >= 0) {
            ::close(fd);
        }
    }
    const int fd;
};

/// This process's descriptors of `path` lead elsewhere while this lives.
class Redirected {
public:
    Redirected(const std::string& path, const std::string& to, int flags) {
        const File other(to, flags);
        base::check(other.fd >= 0, "there is something else");
        for (int fd = 3; fd < 256; ++fd) {
            std::error_code none;
            if (std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", fd), none) == path) {
                kept_.emplace_back(fd, ::fcntl(fd, F_DUPFD_CLOEXEC, 256));
                ::dup2(other.fd, fd);
                ++count;
            }
        }
    }
    Redirected(const Redirected&) = delete;
    Redirected& operator=(const Redirected&) = delete;
    ~Redirected() {
        for (auto [fd, before] : kept_) {
            ::dup3(before, fd, O_CLOEXEC);
            ::close(before);
        }
    }
    std::size_t count = 0;

private:
    std::vector<std::pair<int, int>> kept_;
};

/// Memory for direct I/O.
class Aligned {
public:
    explicit Aligned(std::size_t bytes, int fill = 0)
        : bytes_(bytes), data_(std::aligned_alloc(4096, bytes)) {
        base::check(data_ != nullptr, "there is memory");
        std::memset(data_, fill, bytes);
    }
    Aligned(const Aligned&) = delete;
    Aligned& operator=(const Aligned&) = delete;
    ~Aligned() { std::free(data_); }

    void* data() { return data_; }
    std::size_t size() const { return bytes_; }
    bool all(int value) const {
        const auto* bytes = static_cast<const unsigned char*>(data_);
        return std::all_of(bytes, bytes + bytes_, [&](unsigned char b) { return b == value; });
    }

private:
    std::size_t bytes_;
    void* data_;
};

/// Waits for what another thread or the kernel brings about; false after 30 s.
template <class Condition>
bool eventually(Condition condition) {
    for (int round = 0; round < 3000; ++round) {
        if (condition()) {
            return true;
        }
        ::usleep(10'000);
    }
    return false;
}

/// The device helpers of this process that live.
inline std::vector<pid_t> device_helpers() {
    std::vector<pid_t> out;
    std::ifstream children(fmt::format("/proc/self/task/{}/children", ::getpid()));
    for (pid_t pid = 0; children >> pid;) {
        std::string line;
        std::ifstream file(fmt::format("/proc/{}/cmdline", pid));
        std::getline(file, line);
        if (line.find(block::device_helper_word) != std::string::npos) {
            out.push_back(pid);
        }
    }
    return out;
}

inline std::size_t ublk_devices() {
    std::error_code none;
    std::size_t count = 0;
    for (std::filesystem::directory_iterator at("/sys/class/ublk-char", none), end; at != end; ++at) {
        ++count;
    }
    return count;
}

} // namespace iscsi::test
