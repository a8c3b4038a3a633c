// What the nbd tests in the guest share: a disk in memory behind /dev/nbdN, served by a thread of this
// process with control on the test's, or by a process of its own, which can be killed.
#pragma once

#include "block/nbd_device.hpp"
#include "block/nbd_netlink.hpp"
#include "ublk_bench.hpp"

#include <atomic>
#include <csignal>
#include <cstring>
#include <set>
#include <sys/mman.h>
#include <sys/stat.h>
#include <thread>

namespace iscsi::test {

/// The words of a sysfs attribute; "" when it is not there.
inline std::string sysfs(const std::string& name, const std::string& attribute) {
    std::ifstream file("/sys/block/" + name + "/" + attribute);
    std::string line;
    std::getline(file, line);
    return line;
}

/// nbd devices that have a sysfs attribute; all have "size".
inline std::size_t nbd_count(const std::string& attribute) {
    std::size_t count = 0;
    std::error_code none;
    for (std::filesystem::directory_iterator at("/sys/block", none), end; at != end; ++at) {
        const bool is_nbd = at->path().filename().string().starts_with("nbd");
        count += is_nbd && std::filesystem::exists(at->path() / attribute, none) ? 1 : 0;
    }
    return count;
}

/// How long the kernel lets a request of an nbd device take, in its ticks; 0 = for ever.
inline std::string request_limit(const std::string& name) {
    CHECK(shell("mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug") == 0);
    std::ifstream file("/sys/kernel/debug/nbd/" + name + "/timeout");
    std::string line;
    std::getline(file, line);
    return line;
}

inline std::uint32_t index_of(const std::string& name) {
    return static_cast<std::uint32_t>(std::stoul(name.substr(3)));
}

/// Lines of the kernel's log with `text` in them.
inline std::size_t kernel_lines(const std::string& text) {
    FILE* log = ::popen(("dmesg | grep -c -- '" + text + "'").c_str(), "r");
    unsigned long count = 0;
    const bool read = log != nullptr && std::fscanf(log, "%lu", &count) == 1;
    if (log != nullptr) {
        ::pclose(log);
    }
    return read ? count : 0;
}

/// A program that runs beside the test; its exit status when it is done.
class Beside {
public:
    explicit Beside(std::string command)
        : thread_([this, line = std::move(command)] {
              status_ = shell(line);
              done_ = true;
          }) {}
    ~Beside() {
        if (thread_.joinable()) {
            thread_.join();
        }
    }
    bool done() const { return done_; }
    int status() {
        thread_.join();
        return status_;
    }

private:
    std::atomic<bool> done_ = false;
    int status_ = -1;
    std::thread thread_;
};

/// Writes and verifies at depth 32 over and over, from its making to finish().
class Load {
public:
    explicit Load(const std::string& path)
        : fio_("rm -f /run/stop; until [ -e /run/stop ]; do " +
               fio_verify(path, "--rw=randwrite --bs=4k --iodepth=32 --size=8m --verify_backlog=256") +
               " || exit 1; done") {}
    /// For control's loop to be turned until then.
    void stop() { std::ofstream("/run/stop").put('\n'); }
    bool done() const { return fio_.done(); }
    bool finish() {
        stop();
        return fio_.status() == 0;
    }

private:
    Beside fio_;
};

/// A disk in memory of which writes can be held; what else udev or the kernel read goes on.
class WriteHolder final : public block::RequestHandler {
public:
    explicit WriteHolder(std::size_t bytes) : memory(bytes) {}
    void start(block::Request& request) override {
        memory.hold = holds && request.verb == block::Verb::write;
        memory.start(request);
    }
    MemoryBlock memory;
    bool holds = false;
};

/// Control on the test's thread, the queue on a shard's.
class NbdDisk {
public:
    explicit NbdDisk(const block::KernelDeviceRequest& request,
                     std::size_t pool_bytes = std::size_t{64} << 20)
        : handler(request.attributes.size_bytes), server(pool_bytes) {
        auto made = ring::Loop::create(64);
        REQUIRE(made);
        loop = std::move(*made);
        auto created = run_task(*loop, block::NbdDevice::create(*loop, request));
        REQUIRE(created);
        device = std::move(*created);
        memory.complete = [this](block::Request& r, int error) { server.queue->complete(r, error); };
        server.serve(*device, handler);
        auto started = run_task(*loop, device->start());
        INFO((started ? "" : started.error().message()));
        REQUIRE(started);
    }
    ~NbdDisk() {
        if (device) {
            remove();
        }
    }

    void remove() {
        CHECK(run_task(*loop, device->remove()));
        let_go();
        server.close();
        device.reset();
    }
    void hold_writes() {
        server.run([this] { handler.holds = true; });
    }
    void let_go() {
        server.run([this] {
            handler.holds = false;
            memory.release_all();
        });
    }
    std::size_t held() {
        return server.run([this] { return memory.held(); });
    }
    std::size_t count(block::Verb verb) {
        return server.run([&] { return memory.count(verb); });
    }
    /// Turns control's loop until `done`; false after two minutes.
    template <class Done>
    bool turn_until(Done done) {
        const auto end = ring::monotonic_now() + std::chrono::minutes(2);
        while (!done() && ring::monotonic_now() < end) {
            loop->turn(ring::monotonic_now() + std::chrono::milliseconds(20));
        }
        return done();
    }
    block::NbdDevice& nbd() { return static_cast<block::NbdDevice&>(*device); }
    const std::string& name() const { return device->name(); }
    const std::string& path() const { return device->path(); }

    std::unique_ptr<ring::Loop> loop;
    WriteHolder handler;
    MemoryBlock& memory = handler.memory;
    UblkServer server;
    std::unique_ptr<block::BlockDevice> device;
};

/// Memory that outlives the processes that serve it, and what they are told.
class SharedDisk {
public:
    struct Board {
        std::atomic<bool> hold = false;   ///< writes are kept
        std::atomic<unsigned> writes = 0; ///< that were begun
    };
    /// Also disconnects, at its end, what the processes left.
    explicit SharedDisk(std::size_t bytes)
        : bytes_(bytes), board_(new (map(sizeof(Board))) Board), data_(static_cast<std::byte*>(map(bytes))) {}
    SharedDisk(const SharedDisk&) = delete;
    SharedDisk& operator=(const SharedDisk&) = delete;
    ~SharedDisk() {
        if (auto netlink = block::NbdNetlink::open(); netlink && device) {
            CHECK(netlink->disconnect(*device));
        }
        ::munmap(board_, sizeof(Board));
        ::munmap(data_, bytes_);
    }

    std::optional<std::uint32_t> device; ///< N of /dev/nbdN
    Board& board() { return *board_; }
    base::MutableBytes data() { return {data_, bytes_}; }

private:
    static void* map(std::size_t bytes) {
        void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        base::check(memory != MAP_FAILED, "there is memory");
        return memory;
    }

    std::size_t bytes_;
    Board* board_;
    std::byte* data_;
};

class SharedHandler final : public block::RequestHandler {
public:
    SharedHandler(SharedDisk& disk, ring::Loop& loop)
        : disk_(disk), loop_(loop), look_(ring::Timer::to<&SharedHandler::look>(loop.timers(), this)) {}
    void start(block::Request& request) override {
        const bool is_write = request.verb == block::Verb::write;
        disk_.board().writes += is_write ? 1 : 0;
        if (is_write && disk_.board().hold) {
            held_.push_back(&request);
            look_.arm(loop_.now() + std::chrono::milliseconds(20));
        } else {
            finish(request);
        }
    }
    block::BlockQueue* queue = nullptr;

private:
    void look() {
        if (disk_.board().hold) {
            look_.arm(loop_.now() + std::chrono::milliseconds(20));
            return;
        }
        for (block::Request* request : std::exchange(held_, {})) {
            finish(*request);
        }
    }
    void finish(block::Request& request) {
        const base::MutableBytes place = disk_.data().subspan(request.offset_bytes, request.length_bytes);
        if (request.verb == block::Verb::read) {
            std::memcpy(request.data.data(), place.data(), place.size());
        } else if (request.verb == block::Verb::write) {
            std::memcpy(place.data(), request.data.data(), place.size());
        } else if (request.verb != block::Verb::flush) {
            std::memset(place.data(), 0, place.size());
        }
        queue->complete(request, 0);
    }

    SharedDisk& disk_;
    ring::Loop& loop_;
    ring::Timer look_;
    std::vector<block::Request*> held_;
};

/// A process that makes a device, or takes it back, and serves it until it is killed.
class NbdDaemon {
public:
    NbdDaemon(SharedDisk& disk, const block::KernelDeviceRequest& request, bool takes_back) {
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        process_ = ::fork();
        REQUIRE(process_ >= 0);
        if (process_ == 0) {
            ::close(ends[0]);
            serve(disk, request, takes_back, ends[1]);
            ::_exit(1);
        }
        ::close(ends[1]);
        char text[256];
        const ssize_t n = ::read(ends[0], text, sizeof text);
        ::close(ends[0]);
        name = std::string(text, n > 0 ? static_cast<std::size_t>(n) : 0);
        if (name.starts_with("nbd")) {
            disk.device = index_of(name);
        }
    }
    ~NbdDaemon() { kill(); }

    void kill() {
        if (process_ > 0) {
            ::kill(process_, SIGKILL);
            ::waitpid(process_, nullptr, 0);
            process_ = -1;
        }
    }
    void send(int signal) { ::kill(process_, signal); }

    std::string name; ///< of the device; or of what went wrong, with a blank

private:
    static void serve(SharedDisk& disk, const block::KernelDeviceRequest& request, bool takes_back,
                      int tell) {
        auto loop = std::move(*ring::Loop::create(256));
        auto pool = std::move(*block::BufferPool::create());
        SharedHandler handler(disk, *loop);
        auto made = takes_back ? run_task(*loop, block::NbdDevice::take_back(*loop, request))
                               : run_task(*loop, block::NbdDevice::create(*loop, request));
        if (!made) {
            return say(tell, " " + made.error().message());
        }
        auto queue = std::move(*(*made)->make_queue({*loop, *pool, handler}));
        handler.queue = queue.get();
        auto started = run_task(*loop, (*made)->start());
        say(tell, started ? (*made)->name() : " " + started.error().message());
        loop->run();
    }
    static void say(int fd, const std::string& text) {
        [[maybe_unused]] const ssize_t n = ::write(fd, text.data(), text.size());
    }

    pid_t process_ = -1;
};

} // namespace iscsi::test
