#include "block/ublk_device.hpp"

#include "base/check.hpp"
#include "base/limits.hpp"
#include "block/device_helper.hpp"
#include "block/sysfs.hpp"
#include "block/ublk_rules.hpp"
#include "block/udev.hpp"
#include "ring/await.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <utility>

namespace iscsi::block {
namespace {

constexpr const char* char_devices_dir = "/sys/class/ublk-char";
constexpr std::string_view char_device_prefix = "ublkc";

constexpr auto look_again = std::chrono::milliseconds(20);
/// The node is made by the kernel; udev only where /dev is not devtmpfs.
constexpr auto node_time_max = std::chrono::seconds(5);
/// Until the kernel has all tags; the reading of the partition table is not counted.
constexpr auto fetch_time_max = std::chrono::seconds(10);

constexpr std::uint64_t features_welcome = ublk::feature_update_size | ublk::feature_quiesce;

base::Errc kind_of(int error_number) {
    switch (error_number) {
    case EOPNOTSUPP:
        return base::Errc::not_supported;
    case EPERM:
        return base::Errc::access_denied;
    case EBUSY:
    case ETIME: // a helper waits in the kernel
        return base::Errc::busy;
    case ENODEV:
        return base::Errc::not_found;
    case ENOMEM:
        return base::Errc::no_memory;
    default:
        return base::Errc::internal;
    }
}

base::Error failure_of(const char* command, int result) {
    if (result == -EACCES && std::string_view(command) == "ADD_DEV") {
        return {base::Errc::busy, "ublk: no more devices are allowed (ublks_max of the module ublk_drv)"};
    }
    return {kind_of(-result), fmt::format("ublk {}: {}", command, std::strerror(-result))};
}

ublk::DeviceInfo wanted_info(const KernelDeviceRequest& request, std::uint64_t features) {
    ublk::DeviceInfo info;
    // The driver makes fewer of them where there are fewer processors.
    info.queues = static_cast<std::uint16_t>(std::clamp(request.queues, 1U, base::limits::queues_max));
    // One more than is used (a udev rule sees to that): while a tag lies idle at the kernel it notices at
    // once that the daemon has died, and after 30 s otherwise (Linux 6.12).
    info.queue_depth = static_cast<std::uint16_t>(std::min(request.depth + 1, ublk::queue_depth_max));
    info.io_bytes_max = ublk::io_bytes_max;
    info.features = request.outlives_daemon ? ublk::features_to_outlive | (features & features_welcome)
                                            : std::uint64_t{ublk::feature_user_copy};
    if (request.zero_copy_bytes_min != 0) {
        info.features |= features & ublk::feature_zero_copy;
    }
    info.cookie = request.cookie;
    return info;
}

} // namespace

base::Result<bool> is_any_ublk_device() {
    auto numbers = device_numbers(char_devices_dir, char_device_prefix);
    if (!numbers) {
        return base::fail(std::move(numbers.error()));
    }
    return !numbers->empty();
}

ring::Task<base::Result<std::optional<ublk::DeviceInfo>>> find_ublk_device(UblkControl& control,
                                                                           std::uint64_t cookie) {
    auto numbers = device_numbers(char_devices_dir, char_device_prefix);
    if (!numbers) {
        co_return base::fail(std::move(numbers.error()));
    }
    int failure = 0;
    for (std::uint32_t number : *numbers) {
        ublk::DeviceInfo info;
        const int result = co_await control.get_device_info(number, info);
        if (result == 0 && info.cookie == cookie) {
            co_return std::optional(info);
        }
        if (result < 0 && result != -ENODEV) { // gone meanwhile
            failure = result;
        }
    }
    if (failure != 0) {
        co_return base::fail(failure_of("GET_DEV_INFO", failure));
    }
    co_return std::optional<ublk::DeviceInfo>();
}

UblkDevice::UblkDevice(UblkControl& control, KernelDeviceRequest request, const ublk::DeviceInfo& info)
    : control_(control), request_(std::move(request)), info_(info),
      name_(fmt::format("ublkb{}", info.dev_id)), path_("/dev/" + name_) {}

UblkDevice::~UblkDevice() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

ring::Task<UblkDevice::Made> UblkDevice::create(UblkControl& control, KernelDeviceRequest request) {
    Added added = co_await add(control, std::move(request));
    if (!added) {
        co_return base::fail(std::move(added.error()));
    }
    co_return Made(std::move(*added));
}

ring::Task<UblkDevice::Added> UblkDevice::add(UblkControl& control, KernelDeviceRequest request) {
    base::check(request.cookie != 0, "a device has a cookie");
    std::uint64_t features = 0;
    int result = co_await control.get_features(features);
    if (result < 0) {
        co_return base::fail(failure_of("GET_FEATURES", result));
    }
    ublk::DeviceInfo info = wanted_info(request, features);
    // Linux 6.12 offers zero copy, takes the flag and clears it.
    const std::uint64_t wanted = info.features & ~ublk::feature_zero_copy;
    result = co_await control.add_device(info);
    if (result < 0) {
        co_return base::fail(failure_of("ADD_DEV", result));
    }
    std::unique_ptr<UblkDevice> device(new UblkDevice(control, std::move(request), info));
    base::Result<void> prepared;
    if ((info.features & wanted) == wanted) {
        prepared = co_await device->prepare();
    } else {
        prepared =
            base::fail(base::Errc::not_supported,
                       fmt::format("ublk: asked for features {:#x}, got {:#x}", wanted, info.features));
    }
    if (!prepared) {
        auto erased = co_await device->erase();
        co_return base::fail(std::move(prepared.error()));
    }
    co_return Added(std::move(device));
}

ring::Task<base::Result<void>> UblkDevice::prepare() {
    const ublk::Parameters parameters = ublk::parameters(request_.attributes);
    const int result = co_await control_.set_parameters(info_.dev_id, parameters);
    if (result < 0) {
        co_return base::fail(failure("SET_PARAMS", result));
    }
    base::Result<void> opened = co_await open_node();
    co_return opened;
}

std::string UblkDevice::node() const {
    return fmt::format("/dev/{}{}", char_device_prefix, info_.dev_id);
}

ring::Task<base::Result<void>> UblkDevice::open_node() {
    const base::TimePoint give_up_at = ring::monotonic_now() + node_time_max;
    while (true) {
        fd_ = ::open(node().c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
        if (fd_ >= 0) {
            co_return base::Result<void>();
        }
        const int error_number = errno;
        const base::TimePoint now = ring::monotonic_now();
        if (error_number != ENOENT || now >= give_up_at) {
            co_return base::fail(kind_of(error_number),
                                 fmt::format("open {}: {}", node(), std::strerror(error_number)));
        }
        ring::Sleep pause(control_.loop(), now + look_again);
        co_await pause;
    }
}

base::Result<std::unique_ptr<BlockQueue>> UblkDevice::make_queue(const QueueContext& context) {
    base::check(fd_ >= 0 && context.number == queues_made_, "each queue of a device is made once, in order");
    // The node can be opened once only.
    const bool is_last = ++queues_made_ == info_.queues;
    const int fd = is_last ? std::exchange(fd_, -1) : ::fcntl(fd_, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        return base::fail(base::Errc::internal, fmt::format("dup {}: {}", node(), std::strerror(errno)));
    }
    const bool can_zero_copy = (info_.features & ublk::feature_zero_copy) != 0;
    const std::uint32_t zero_copy_min = can_zero_copy ? request_.zero_copy_bytes_min : 0;
    auto queue = UblkQueue::create(context, {fd, info_.queue_depth, shared_, zero_copy_min});
    if (!queue) {
        return base::fail(std::move(queue.error()));
    }
    return std::unique_ptr<BlockQueue>(std::move(*queue));
}

UdevProperties UblkDevice::properties() const {
    UdevProperties all = request_.properties;
    all.emplace_back("ISCSI_NR_REQUESTS", std::to_string(info_.queue_depth - 1));
    return all;
}

ring::Task<base::Result<void>> UblkDevice::start() {
    if (!taken_back_) {
        if (auto written = write_udev_properties(name_, request_.cookie, properties()); !written) {
            co_return base::fail(std::move(written.error()));
        }
    }
    base::Result<void> begun = co_await begin();
    if (!begun) {
        if (!taken_back_) {
            forget_udev_properties(name_);
        }
        co_return begun;
    }
    if (!taken_back_) {
        // A udev that is late costs links, not the device.
        base::Result<void> seen = co_await wait_for_udev(control_.loop(), name_, request_.cookie);
    }
    links_ = links_of(name_, request_.by_path_name);
    co_return base::Result<void>();
}

ring::Task<base::Result<void>> UblkDevice::begin() {
    const base::TimePoint give_up_at = ring::monotonic_now() + fetch_time_max;
    int result = 0;
    if (taken_back_) {
        co_await check_tags();
        if (tag_refusal() == 0) {
            result = co_await control_.end_user_recovery(info_.dev_id, give_up_at);
        } else {
            result = tag_refusal(); // the kernel would wait for its tags
        }
    } else {
        result = co_await start_ublk_in_helper(control_.loop(), info_.dev_id);
    }
    if (result < 0 && tag_refusal() != 0) {
        co_return base::fail(failure("FETCH_REQ", tag_refusal()));
    }
    if (result < 0) {
        co_return base::fail(failure(taken_back_ ? "END_USER_RECOVERY" : "START_DEV", result));
    }
    begun_ = true;
    co_return base::Result<void>();
}

/// -errno with which the kernel has refused to take a tag; 0 when it has not.
int UblkDevice::tag_refusal() const {
    return -shared_->refused.load(std::memory_order_acquire);
}

ring::Task<base::Result<void>> UblkDevice::resize(Attributes attributes) {
    if ((info_.features & ublk::feature_update_size) == 0) {
        co_return base::fail(base::Errc::not_supported,
                             name_ +
                                 ": this kernel cannot change the size of a ublk device in use (Linux 6.16 "
                                 "can); log out and in again to see the new size");
    }
    base::check(begun_, "a device is resized after its start");
    const int result =
        co_await control_.update_size(info_.dev_id, attributes.size_bytes / ublk::sector_bytes);
    if (result < 0) {
        co_return base::fail(failure("UPDATE_SIZE", result));
    }
    co_return base::Result<void>();
}

ring::Task<base::Result<void>> UblkDevice::remove() {
    UdevTrace trace(name_);
    base::Result<void> ended = co_await end();
    if (!ended) {
        co_return ended;
    }
    forget_udev_properties(name_);
    co_await trace.wait_until_gone(control_.loop());
    base::Result<void> erased = co_await erase();
    co_return erased;
}

ring::Task<bool> UblkDevice::quiesce() {
    if ((info_.features & ublk::feature_quiesce) == 0) {
        co_return false;
    }
    const int result = co_await control_.quiesce_device(info_.dev_id, std::chrono::seconds(1));
    co_return result == 0;
}

ring::Task<base::Result<void>> UblkDevice::end() {
    const int result = co_await control_.stop_device_aside(info_.dev_id, base::Deadline());
    if (result < 0 && result != -ENODEV) {
        co_return base::fail(failure("STOP_DEV", result));
    }
    shared_->stopped.store(true, std::memory_order_release);
    begun_ = false;
    co_return base::Result<void>();
}

ring::Task<base::Result<void>> UblkDevice::erase() {
    const int result = co_await control_.delete_device_async(info_.dev_id);
    if (result < 0 && result != -ENODEV) {
        co_return base::fail(failure("DEL_DEV_ASYNC", result));
    }
    co_return base::Result<void>();
}

base::Error UblkDevice::failure(const char* command, int result) const {
    base::Error error = failure_of(command, result);
    error.detail = fmt::format("{}: {}", name_, error.detail);
    return error;
}

} // namespace iscsi::block
