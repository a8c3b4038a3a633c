#include "block/nbd_resize.hpp"

#include "block/nbd_netlink.hpp"

#include <fmt/format.h>
#include <fstream>
#include <thread>
#include <tuple>
#include <utility>

namespace iscsi::block {
namespace {

using namespace std::chrono_literals;

/// A request older than this makes the kernel give the socket up while the size is being changed, ...
constexpr auto request_time_max = 30s;
/// ... and what was sent on it fails after this: so the kernel gets out by itself when the server has died.
constexpr auto dead_time_max = 5s;
constexpr auto answer_time_max = 5s;
constexpr auto answer_step = 10ms;

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

/// Whether requests are being answered: as many as were in progress have ended since, or none is left.
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

/// How often the kernel looks at requests. It changes with the timeout of requests, and is not that.
class LookInterval {
public:
    explicit LookInterval(const std::string& sysfs) : path_(sysfs + "/queue/io_timeout") {
        std::ifstream(path_) >> milliseconds_;
    }
    void set(std::chrono::milliseconds interval) const { std::ofstream(path_) << interval.count(); }
    void put_back() const {
        if (milliseconds_ > 0) {
            set(std::chrono::milliseconds(milliseconds_));
        }
    }

private:
    std::string path_;
    std::int64_t milliseconds_ = 0;
};

} // namespace

base::Result<void> resize_nbd_device(const NbdResize& wanted) {
    auto netlink = NbdNetlink::open();
    if (!netlink) {
        return base::fail(std::move(netlink.error()));
    }
    const std::string name = fmt::format("nbd{}", wanted.index);
    const std::string sysfs = "/sys/block/" + name;
    const LookInterval interval(sysfs);
    // Requests keep the interval that they began with, and the timeout counts at its end: those of now
    // must be over. Linux 6.12 waits for them right here, with nothing locked that others need.
    interval.set(request_time_max);
    if (!is_served(sysfs)) {
        interval.put_back();
        return base::fail(base::Errc::busy,
                          name + " keeps its size for now: the target does not answer; rescan again later");
    }
    auto resized = netlink->set_timeouts(wanted.index, wanted.backend, request_time_max, dead_time_max);
    if (resized) {
        resized = netlink->resize(wanted.index, wanted.backend, wanted.size_bytes);
        // As they were, whatever has come of it: a device that is gone needs none.
        std::ignore = netlink->set_timeouts(wanted.index, wanted.backend, 0s, wanted.dead_timeout);
    }
    interval.put_back();
    return resized;
}

} // namespace iscsi::block
