#include "block/ublk_probe.hpp"

#include "block/buffer_pool.hpp"
#include "block/self_test.hpp"
#include "block/ublk_device.hpp"
#include "block/ublk_rules.hpp"

#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fmt/format.h>

namespace iscsi::block {
namespace {

/// "iscsiTST": so that a later test can tell what an earlier one has left behind.
constexpr std::uint64_t test_cookie = 0x6973637369545354;
constexpr auto sweep_time_max = std::chrono::seconds(2);

/// What a daemon that died during its test has left.
ring::Task<void> sweep(UblkControl& control) {
    const auto looked = co_await find_ublk_device(control, test_cookie);
    if (!looked || !*looked) {
        co_return;
    }
    const ublk::DeviceInfo& left = **looked;
    const bool in_test = left.server_pid > 0 && ::kill(left.server_pid, 0) == 0;
    if (in_test) {
        co_return;
    }
    // Linux 6.12 can hold its lock for ever.
    const base::Deadline deadline = ring::monotonic_now() + sweep_time_max;
    const int stopped = co_await control.stop_device_aside(left.dev_id, deadline);
    if (stopped == 0) {
        co_await control.delete_device_async(left.dev_id);
    }
}

ring::Task<base::Result<void>> use(UblkControl& control, UblkDevice& device) {
    base::Result<void> used = co_await device.begin();
    if (used) {
        used = co_await see_pattern(control.loop(), device.path());
    }
    base::Result<void> ended = co_await device.end();
    if (used && !ended) {
        co_return ended;
    }
    co_return used;
}

/// Makes the device, uses it, deletes it.
ring::Task<base::Result<void>> test_device(UblkControl& control) {
    auto pool = BufferPool::create(ublk::io_bytes_max);
    if (!pool) {
        co_return base::fail(std::move(pool.error()));
    }
    UblkDevice::Added device = co_await UblkDevice::add(control, self_test_request(test_cookie));
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
