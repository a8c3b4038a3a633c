// A ublk device that the daemon before this one has made is taken back.
#include "base/check.hpp"
#include "block/ublk_device.hpp"
#include "block/ublk_rules.hpp"
#include "block/udev.hpp"
#include "ring/await.hpp"

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace iscsi::block {
namespace {

constexpr auto look_again = std::chrono::milliseconds(20);
/// The kernel may notice a daemon's death only with its own timeout of a request, 30 s.
constexpr auto recovery_time_max = std::chrono::seconds(60);

/// Before Linux 6.16 the driver's clean-up after a daemon's death goes on for a moment after it has said that
/// recovery may begin, and ends whatever commands it finds in the tags (ublk_quiesce_work_fn): commands of
/// the new daemon would be ended behind its back, and later requests would use freed memory of the kernel.
constexpr auto settling_time = std::chrono::milliseconds(250);

} // namespace

ring::Task<UblkDevice::Made> UblkDevice::take_back(UblkControl& control, KernelDeviceRequest request) {
    base::check(request.cookie != 0, "a device has a cookie");
    auto looked = co_await find_ublk_device(control, request.cookie);
    if (!looked) {
        co_return base::fail(std::move(looked.error()));
    }
    const std::optional<ublk::DeviceInfo> found = *looked;
    if (!found) {
        co_return base::fail(base::Errc::not_found, "no ublk device with this cookie");
    }
    std::unique_ptr<UblkDevice> device(new UblkDevice(control, std::move(request), *found));
    if (found->state == ublk::State::dead) {
        forget_udev_properties(device->name_);
        auto erased = co_await device->erase();
        co_return base::fail(base::Errc::not_found, device->name_ + " was not shown to anybody");
    }
    if (found->queues == 0 || found->queues > device->request_.queues ||
        (found->features & ublk::features_to_outlive) != ublk::features_to_outlive) {
        co_return base::fail(base::Errc::not_supported, device->name_ + " is not a device of our making");
    }
    device->taken_back_ = true;
    base::Result<void> ready = co_await device->recover();
    if (ready) {
        ready = co_await device->open_node();
    }
    if (!ready) {
        co_return base::fail(std::move(ready.error()));
    }
    co_return Made(std::move(device));
}

ring::Task<base::Result<void>> UblkDevice::recover() {
    const base::TimePoint give_up_at = ring::monotonic_now() + recovery_time_max;
    // The daemon before this one may have died while the device was being started.
    const bool may_be_locked = !udev_knows(name_, request_.cookie);
    while (true) {
        int result = 0;
        if (may_be_locked) {
            result = co_await control_.start_user_recovery_aside(info_.dev_id);
        } else {
            result = co_await control_.start_user_recovery(info_.dev_id);
        }
        if (result == 0) {
            const bool cleans_up_first = (info_.features & ublk::feature_quiesce) != 0;
            ring::Sleep settling(control_.loop(), ring::monotonic_now() + settling_time);
            if (!cleans_up_first) {
                co_await settling;
            }
            co_return base::Result<void>();
        }
        if (result == -EINVAL) {
            // Linux 6.12 says so when recovery was begun already, by a daemon that died before it had made
            // the queue; the device is as it should be then.
            ublk::DeviceInfo now_is;
            const int asked = co_await control_.get_device_info(info_.dev_id, now_is);
            if (asked == 0 && now_is.state == ublk::State::quiesced) {
                co_return base::Result<void>();
            }
        }
        const base::TimePoint now = ring::monotonic_now();
        if (result != -EBUSY || now >= give_up_at) {
            co_return base::fail(failure("START_USER_RECOVERY", result));
        }
        co_await quiesce_if_unserved();
        ring::Sleep pause(control_.loop(), now + look_again);
        co_await pause;
    }
}

/// A start that the kernel was at when the server died may end after it: the server's descriptor is released
/// before there is a disk to quiesce, and the device goes live for nobody (Linux 6.16 to 7.3 at least,
/// ublk_ch_release_work_fn beside ublk_ctrl_start_dev). The release of another descriptor quiesces it; a
/// device that has a server cannot be opened.
ring::Task<void> UblkDevice::quiesce_if_unserved() {
    ublk::DeviceInfo now_is;
    const int asked = co_await control_.get_device_info(info_.dev_id, now_is);
    if (asked != 0 || now_is.state != ublk::State::live || (info_.features & ublk::feature_quiesce) == 0) {
        co_return;
    }
    const int fd = ::open(node().c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) {
        ::close(fd);
    }
}

/// The kernel ended commands of a device that is being taken back (see settling_time): it must not go live
/// like this. Only the end of this process gives it back to the kernel, and then it can be tried again.
ring::Task<void> UblkDevice::check_tags() {
    // Those that the kernel has refused to take are none of these, and nothing is at stake there.
    if (tag_refusal() != 0 || shared_->lost.load(std::memory_order_acquire) == 0) {
        co_return;
    }
    ublk::DeviceInfo now_is;
    const int asked = co_await control_.get_device_info(info_.dev_id, now_is);
    const bool stopped = asked == 0 && now_is.state == ublk::State::dead;
    base::check(stopped, "a device that is taken back has all its tags");
}

} // namespace iscsi::block
