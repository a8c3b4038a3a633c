#include "block/ublk_probe.hpp"

#include "block/buffer_pool.hpp"
#include "block/ublk_device.hpp"
#include "block/ublk_rules.hpp"
#include "ring/aside.hpp"
#include "ring/await.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

namespace iscsi::block {
namespace {

/// "iscsiTST": so that a later test can tell what an earlier one has left behind.
constexpr std::uint64_t test_cookie = 0x6973637369545354;
constexpr std::size_t test_bytes = std::size_t{64} * 1024;
constexpr std::byte test_pattern{0xa5};

/// All of the disk is the pattern.
class PatternDisk final : public RequestHandler {
public:
    void start(Request& request) override {
        std::fill(request.data.begin(), request.data.end(), test_pattern);
        queue->complete(request, request.verb == Verb::read ? 0 : EOPNOTSUPP);
    }
    BlockQueue* queue = nullptr;
};

/// Blocks.
base::Result<void> read_pattern(const std::string& path) {
    constexpr std::size_t bytes = 4096;
    alignas(bytes) std::array<std::byte, bytes> data{};
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0) {
        return base::fail(base::Errc::internal, fmt::format("open {}: {}", path, std::strerror(errno)));
    }
    const ssize_t n = ::pread(fd, data.data(), data.size(), bytes);
    ::close(fd);
    const bool same = std::all_of(data.begin(), data.end(), [](std::byte b) { return b == test_pattern; });
    if (n != static_cast<ssize_t>(bytes) || !same) {
        return base::fail(base::Errc::internal, path + " gives other data than it was given");
    }
    return {};
}

KernelDeviceRequest test_request() {
    KernelDeviceRequest request;
    request.cookie = test_cookie;
    request.depth = 4;
    request.outlives_daemon = false;
    request.attributes.size_bytes = test_bytes;
    return request;
}

/// What a daemon that died during its test has left.
ring::Task<void> sweep(UblkControl& control) {
    const std::optional<ublk::DeviceInfo> left = co_await find_ublk_device(control, test_cookie);
    if (!left) {
        co_return;
    }
    const bool in_test = left->server_pid > 0 && ::kill(left->server_pid, 0) == 0;
    if (in_test) {
        co_return;
    }
    co_await control.stop_device(left->dev_id);
    co_await control.delete_device_async(left->dev_id);
}

ring::Task<base::Result<void>> use(UblkControl& control, UblkDevice& device) {
    base::Result<void> used = co_await device.begin();
    if (used) {
        auto read = [&] { return read_pattern(device.path()); };
        ring::Aside reading(control.loop(), read);
        used = co_await reading;
    }
    base::Result<void> ended = co_await device.end();
    if (used && !ended) {
        co_return ended;
    }
    co_return used;
}

ring::Task<void> close_queue(BlockQueue& queue) {
    ring::Event closed;
    queue.close([&] { closed.set(); });
    co_await closed;
}

/// Makes the device, uses it, deletes it.
ring::Task<base::Result<void>> test_device(UblkControl& control) {
    auto pool = BufferPool::create(ublk::io_bytes_max);
    if (!pool) {
        co_return base::fail(std::move(pool.error()));
    }
    UblkDevice::Added device = co_await UblkDevice::add(control, test_request());
    if (!device) {
        co_return base::fail(std::move(device.error()));
    }
    PatternDisk disk;
    const QueueContext context{control.loop(), **pool, disk};
    auto queue = (*device)->make_queue(context);
    base::Result<void> tested;
    if (queue) {
        disk.queue = queue->get();
        tested = co_await use(control, **device);
        co_await close_queue(**queue);
    } else {
        tested = base::fail(std::move(queue.error()));
    }
    base::Result<void> erased = co_await (*device)->erase();
    if (!erased && erased.error().code == base::Errc::not_supported) {
        co_await control.delete_device((*device)->number());
    }
    if (tested && !erased) {
        co_return erased;
    }
    co_return tested;
}

} // namespace

base::Result<std::string> judge_ublk_features(std::uint64_t features) {
    struct Needed {
        std::uint64_t feature;
        const char* name;
    };
    constexpr std::array needed{
        Needed{ublk::feature_user_recovery, "recovery"},
        Needed{ublk::feature_user_recovery_reissue, "recovery with reissue"},
        Needed{ublk::feature_user_copy, "USER_COPY"},
    };
    for (const Needed& one : needed) {
        if ((features & one.feature) == 0) {
            return base::fail(base::Errc::not_supported,
                              fmt::format("ublk has no {} (features {:#x})", one.name, features));
        }
    }
    const bool resize = (features & ublk::feature_update_size) != 0;
    return fmt::format("USER_COPY, recovery, {} (features {:#x})",
                       resize ? "online resize" : "no online resize", features);
}

ring::Task<base::Result<std::string>> probe_ublk(UblkControl& control) {
    std::uint64_t features = 0;
    const int result = co_await control.get_features(features);
    if (result < 0) {
        co_return base::fail(
            base::Errc::not_supported,
            fmt::format("ublk GET_FEATURES: {} (older than Linux 6.5?)", std::strerror(-result)));
    }
    base::Result<std::string> words = judge_ublk_features(features);
    if (!words) {
        co_return words;
    }
    co_await sweep(control);
    base::Result<void> tested = co_await test_device(control);
    if (!tested) {
        co_return base::fail(std::move(tested.error()));
    }
    co_return words;
}

} // namespace iscsi::block
