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

NbdDevice::NbdDevice(ring::Loop& loop, KernelDeviceRequest request)
    : loop_(loop), request_(std::move(request)), binding_(request_), link_(std::make_shared<NbdLink>(loop)) {
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
    if (!device->binding_.find()) {
        co_return base::fail(base::Errc::not_found, "no nbd device with this cookie");
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
    // A udev that is late costs links, not the device.
    base::Result<void> seen = co_await wait_for_udev(loop_, name_, request_.cookie);
    links_ = links_of(name_, request_.by_path_name);
    co_return base::Result<void>();
}

ring::Task<base::Result<void>> NbdDevice::resize(Attributes attributes) {
    std::string request = binding_.resize_request(attributes.size_bytes);
    auto answer = co_await ask_device_helper(loop_, std::move(request), base::Deadline());
    if (answer.result != 0) {
        const base::Errc kind = answer.result == -EBUSY ? base::Errc::busy : base::Errc::internal;
        const std::string why = answer.text.empty() ? std::strerror(-answer.result) : answer.text;
        co_return base::fail(kind, fmt::format("{}: no new size: {}", name_, why));
    }
    co_return base::Result<void>();
}

ring::Task<base::Result<void>> NbdDevice::remove() {
    removing_ = true;
    if (mending_) {
        co_await mended_event_;
    }
    if (!binding_.is_ours()) {
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
    if (removing_ || lost_) {
        return;
    }
    mending_ = true;
    mended_event_.reset();
    auto mend = [this] {
        mended_ = binding_.reconnect();
        link_->say_mended();
    };
    try {
        mender_ = std::thread(mend);
    } catch (const std::system_error&) {
        mend(); // late is better than not at all
    }
}

void NbdDevice::on_mended() {
    if (mender_.joinable()) {
        mender_.join();
    }
    mending_ = false;
    if (mended_ && !removing_) {
        link_->give(binding_.take_socket());
    }
    if (!mended_ && !removing_) {
        lost_ = true;
        if (on_lost_) {
            on_lost_(mended_.error());
        }
    }
    mended_event_.set();
}

} // namespace iscsi::block
