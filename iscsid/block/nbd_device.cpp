#include "block/nbd_device.hpp"

#include "base/check.hpp"
#include "block/device_helper.hpp"
#include "block/udev.hpp"
#include "ring/aside.hpp"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace iscsi::block {
namespace {

constexpr auto mend_pause = std::chrono::seconds(1);
constexpr auto look_again = std::chrono::milliseconds(50);

} // namespace

NbdDevice::NbdDevice(ring::Loop& loop, KernelDeviceRequest request)
    : loop_(loop), request_(std::move(request)), binding_(request_), link_(std::make_shared<NbdLink>(loop)),
      mend_again_(ring::Timer::to<&NbdDevice::mend>(loop.timers(), this)) {
    link_->on_dead = [this] { on_link_dead(); };
    link_->on_mended = [this] { on_mended(); };
}

NbdDevice::~NbdDevice() {
    link_->on_dead = {};
    link_->on_mended = {};
    if (mender_.joinable()) {
        mender_.join();
    }
}

ring::Task<NbdDevice::Made> NbdDevice::create(ring::Loop& loop, KernelDeviceRequest request) {
    base::check(request.cookie != 0, "a device has a cookie");
    std::unique_ptr<NbdDevice> device(new NbdDevice(loop, std::move(request)));
    const std::uint32_t block_bytes = device->request_.attributes.logical_block_bytes;
    if (block_bytes > static_cast<std::uint32_t>(::sysconf(_SC_PAGESIZE))) {
        co_return base::fail(base::Errc::not_supported,
                             fmt::format("nbd: blocks of {} bytes are longer than a page", block_bytes));
    }
    co_return Made(std::move(device));
}

ring::Task<NbdDevice::Made> NbdDevice::take_back(ring::Loop& loop, KernelDeviceRequest request) {
    base::check(request.cookie != 0, "a device has a cookie");
    std::unique_ptr<NbdDevice> device(new NbdDevice(loop, std::move(request)));
    base::Result<void> found = device->binding_.find();
    if (!found) {
        co_return base::fail(std::move(found.error()));
    }
    device->taken_back_ = true;
    device->take_name();
    co_return Made(std::move(device));
}

void NbdDevice::take_name() {
    name_ = binding_.name();
    path_ = "/dev/" + name_;
}

base::Result<std::unique_ptr<BlockQueue>> NbdDevice::make_queue(const QueueContext& context) {
    return std::make_unique<NbdKernelQueue>(context, request_.attributes, link_);
}

ring::Task<base::Result<void>> NbdDevice::start() {
    auto work = [this] { return taken_back_ ? binding_.reconnect() : binding_.connect(0); };
    ring::Aside working(loop_, work);
    base::Result<void> begun = co_await working;
    if (!begun) {
        co_return begun;
    }
    take_name();
    link_->give(binding_.take_socket());
    if (taken_back_) {
        // Its links are there; and udev may be reading from it, which has to wait for the path.
        settle();
    } else {
        // A udev that is late costs links, not the device.
        base::Result<void> seen = co_await wait_for_udev(loop_, name_, request_.cookie);
    }
    links_ = links_of(name_, request_.by_path_name);
    co_return base::Result<void>();
}

ring::Task<base::Result<void>> NbdDevice::resize(Attributes attributes) {
    while (resizing_) {
        ring::Sleep pause(loop_, ring::monotonic_now() + look_again);
        co_await pause;
    }
    resizing_ = true;
    std::string request = binding_.resize_request(attributes.size_bytes);
    auto answer = co_await ask_device_helper(loop_, std::move(request), base::Deadline());
    resizing_ = false;
    if (answer.result != 0) {
        settle();
        const base::Errc kind = answer.result == -EBUSY ? base::Errc::busy : base::Errc::internal;
        const std::string why = answer.text.empty() ? std::strerror(-answer.result) : answer.text;
        co_return base::fail(kind, fmt::format("{}: no new size: {}", name_, why));
    }
    co_return base::Result<void>();
}

/// Timeouts that a resize has left whose helper was killed, one of the daemon before, too. That can mean to
/// wait for I/O of the device, so nobody waits for it.
void NbdDevice::settle() const {
    DeviceHelper::tell(loop_, binding_.settle_request());
}

ring::Task<base::Result<void>> NbdDevice::remove() {
    removing_ = true;
    mend_again_.disarm();
    if (mending_) {
        co_await mended_event_;
    }
    base::Result<bool> ours = binding_.is_ours();
    if (!ours) {
        co_return base::fail(std::move(ours.error()));
    }
    if (!*ours) {
        co_return base::Result<void>(); // it is not there, or somebody else's by now
    }
    UdevTrace trace(name_);
    auto work = [this] { return binding_.disconnect(); };
    ring::Aside working(loop_, work);
    base::Result<void> gone = co_await working;
    if (gone) {
        co_await trace.wait_until_gone(loop_);
    }
    co_return gone;
}

void NbdDevice::on_link_dead() {
    if (!removing_ && !lost_) {
        mend();
    }
}

void NbdDevice::mend() {
    mending_ = true;
    mended_event_.reset();
    auto work = [this] {
        mended_ = binding_.reconnect();
        link_->say_mended();
    };
    try {
        mender_ = std::thread(work);
    } catch (const std::system_error&) {
        work(); // late is better than not at all
    }
}

void NbdDevice::on_mended() {
    if (mender_.joinable()) {
        mender_.join();
    }
    mending_ = false;
    if (removing_) {
        mended_event_.set();
    } else if (mended_) {
        link_->give(binding_.take_socket());
        settle();
    } else if (mended_.error().code != base::Errc::not_found) {
        // The kernel still has the device, and its users wait.
        mend_again_.arm(ring::monotonic_now() + mend_pause);
    } else {
        lost_ = true;
        if (on_lost_) {
            on_lost_(mended_.error());
        }
    }
}

} // namespace iscsi::block
