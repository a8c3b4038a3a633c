#include "block/nbd_resize.hpp"

#include "block/nbd_netlink.hpp"

#include <cstdio>
#include <fmt/format.h>
#include <fstream>
#include <sys/utsname.h>
#include <thread>
#include <tuple>
#include <utility>

namespace iscsi::block {
namespace {

using namespace std::chrono_literals;

/// When the kernel has given the socket up, what was sent on it fails after this.
constexpr auto dead_time_max = 5s;
/// What the kernel makes of queue/io_timeout when requests are without a limit again.
constexpr auto kernels_interval = 30000ms;
constexpr auto answer_time_max = 5s;
constexpr auto answer_step = 10ms;
/// The block layer allows no fewer.
constexpr unsigned requests_min = 4;

/// Linux 6.9 began to hold up requests for a new size.
bool holds_requests_up() {
    utsname names{};
    int major = 0;
    int minor = 0;
    const bool known = ::uname(&names) == 0 && std::sscanf(names.release, "%d.%d", &major, &minor) == 2;
    return !known || major > 6 || (major == 6 && minor >= 9);
}

template <class T>
bool set(const std::string& path, T value) {
    std::ofstream file(path);
    file << value << std::flush;
    return file.good();
}

std::int64_t get(const std::string& path) {
    std::int64_t value = 0;
    std::ifstream(path) >> value;
    return value;
}

struct Load {
    std::uint64_t waiting = 0;
    std::uint64_t completed = 0;
};

Load load_of(const std::string& sysfs) {
    std::uint64_t reads = 0;
    std::uint64_t writes = 0;
    std::ifstream(sysfs + "/inflight") >> reads >> writes;
    Load load;
    load.waiting = reads + writes;
    std::ifstream stat(sysfs + "/stat");
    constexpr int fields = 17;
    for (int field = 0; field < fields; ++field) {
        std::uint64_t value = 0;
        stat >> value;
        // How many reads, writes, discards and flushes have ended (Documentation/block/stat.rst).
        const bool counts = field == 0 || field == 4 || field == 11 || field == 15;
        load.completed += stat && counts ? value : 0;
    }
    return load;
}

/// Whether the target answers: as many requests as were in progress have ended since, or none is left.
bool is_served(const std::string& sysfs) {
    const Load before = load_of(sysfs);
    const auto give_up_at = std::chrono::steady_clock::now() + answer_time_max;
    while (true) {
        const Load load = load_of(sysfs);
        if (load.waiting == 0 || load.completed >= before.completed + before.waiting) {
            return true;
        }
        if (std::chrono::steady_clock::now() >= give_up_at) {
            return false;
        }
        std::this_thread::sleep_for(answer_step);
    }
}

/// Waits until all requests that are in progress now have ended; new ones wait meanwhile. Nothing is locked
/// that others need. That is what the block layer does before it changes how many there may be.
bool drain(const std::string& sysfs) {
    const std::string path = sysfs + "/queue/nr_requests";
    const std::int64_t usual = get(path);
    const std::int64_t other = usual > requests_min ? usual - 1 : usual + 1;
    const bool drained = usual > 0 && set(path, other) && set(path, usual);
    return drained || load_of(sysfs).waiting == 0;
}

base::Result<void> change(NbdNetlink& netlink, const NbdDeviceMark& device, std::uint64_t size_bytes) {
    auto limited =
        netlink.set_timeouts(device.index, device.backend, nbd_resize_request_time_max, dead_time_max);
    if (!limited) {
        return limited;
    }
    auto changed = netlink.resize(device.index, device.backend, size_bytes, device.dead_timeout);
    if (!changed) {
        // A device that is gone needs none.
        std::ignore = netlink.set_timeouts(device.index, device.backend, 0s, device.dead_timeout);
    }
    return changed;
}

std::string sysfs_of(const NbdDeviceMark& device) {
    return fmt::format("/sys/block/nbd{}", device.index);
}

} // namespace

base::Result<void> resize_nbd_device(const NbdDeviceMark& device, std::uint64_t size_bytes) {
    auto netlink = NbdNetlink::open();
    if (!netlink) {
        return base::fail(std::move(netlink.error()));
    }
    if (!holds_requests_up()) {
        return netlink->resize(device.index, device.backend, size_bytes);
    }
    const std::string sysfs = sysfs_of(device);
    const std::string interval = sysfs + "/queue/io_timeout";
    // Requests keep the interval that they began with, and the limit counts at its end: those of before must
    // be over. (Linux 6.11 and later wait for them right here.)
    set(interval, std::chrono::milliseconds(nbd_resize_request_time_max).count());
    base::Result<void> resized;
    if (is_served(sysfs) && drain(sysfs)) {
        resized = change(*netlink, device, size_bytes);
    } else {
        resized = base::fail(
            base::Errc::busy,
            fmt::format("nbd{} keeps its size for now: the target does not answer; rescan again later",
                        device.index));
    }
    set(interval, nbd_look_interval.count());
    return resized;
}

base::Result<void> settle_nbd_device(const NbdDeviceMark& device) {
    const std::string interval = sysfs_of(device) + "/queue/io_timeout";
    const std::chrono::milliseconds now(get(interval));
    base::Result<void> settled;
    if (now == nbd_resize_request_time_max) {
        auto netlink = NbdNetlink::open();
        if (!netlink) {
            return base::fail(std::move(netlink.error()));
        }
        settled = netlink->set_timeouts(device.index, device.backend, 0s, device.dead_timeout);
    }
    if (now == nbd_resize_request_time_max || now == kernels_interval) {
        set(interval, nbd_look_interval.count());
    }
    return settled;
}

} // namespace iscsi::block
