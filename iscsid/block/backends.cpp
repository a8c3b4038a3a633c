#include "block/backends.hpp"

#include "block/nbd_device.hpp"
#include "block/nbd_probe.hpp"
#include "block/ublk_device.hpp"
#include "block/ublk_probe.hpp"
#include "ring/aside.hpp"

#include <array>
#include <fmt/format.h>
#include <utility>

namespace iscsi::block {
namespace {

using DeviceResult = base::Result<std::unique_ptr<BlockDevice>>;

/// Best first.
constexpr std::array all_backends{Backend::ublk, Backend::nbd, Backend::socket};

} // namespace

std::string_view text(Backend backend) {
    switch (backend) {
    case Backend::ublk:
        return "ublk";
    case Backend::nbd:
        return "nbd";
    case Backend::socket:
        return "socket";
    }
    return "";
}

Backends::Backends(ring::Loop& loop, Config config) : loop_(loop), config_(std::move(config)) {}

ring::Task<std::vector<std::string>> Backends::choose(std::optional<Backend> in_use) {
    std::vector<std::string> said;
    for (Backend backend : all_backends) {
        const bool any = config_.wanted == "auto";
        if (chosen_ || (!any && config_.wanted != text(backend))) {
            continue;
        }
        base::Result<std::string> tested = std::string("devices of the iscsid before are served with it");
        if (backend != in_use || (backend == Backend::ublk && !open_control())) {
            tested = co_await test(backend);
        }
        if (tested) {
            chosen_ = backend;
            said.push_back(fmt::format("block devices are made with {}: {}", text(backend), *tested));
        } else {
            why_none_ = fmt::format("{} does not work here: {}", text(backend), tested.error().message());
            said.push_back(why_none_);
        }
    }
    co_return said;
}

ring::Task<base::Result<std::string>> Backends::test(Backend backend) {
    if (backend == Backend::ublk) {
        co_await load("ublk_drv");
        auto tested = co_await test_ublk();
        co_return tested;
    }
    if (backend == Backend::nbd) {
        co_await load("nbd");
        auto tested = co_await probe_nbd(loop_);
        co_return tested;
    }
    co_return std::string("NBD exports on Unix sockets, no kernel device");
}

ring::Task<base::Result<std::string>> Backends::test_ublk() {
    if (auto opened = open_control(); !opened) {
        co_return base::fail(std::move(opened.error()));
    }
    auto tested = co_await probe_ublk(*ublk_);
    co_return tested;
}

ring::Task<void> Backends::load(std::string module) {
    if (!config_.load_module) {
        co_return;
    }
    auto work = [&] {
        config_.load_module(module);
        return true;
    };
    ring::Aside loading(loop_, work);
    co_await loading;
}

base::Result<void> Backends::open_control() {
    if (ublk_ != nullptr) {
        return {};
    }
    auto opened = UblkControl::open(loop_);
    if (!opened) {
        return base::fail(std::move(opened.error()));
    }
    ublk_ = std::move(*opened);
    return {};
}

ring::Task<DeviceResult> Backends::create(DeviceIdentity identity, KernelDeviceRequest request) {
    if (!chosen_) {
        co_return base::fail(base::Errc::not_supported, why_none_);
    }
    request.zero_copy_bytes_min = config_.zero_copy_bytes_min;
    if (*chosen_ == Backend::ublk) {
        DeviceResult device = co_await UblkDevice::create(*ublk_, std::move(request));
        co_return device;
    }
    if (*chosen_ == Backend::nbd) {
        DeviceResult device = co_await NbdDevice::create(loop_, std::move(request));
        co_return device;
    }
    auto exported = NbdExport::create(config_.exports, identity, request.attributes, request.queues);
    if (!exported) {
        co_return base::fail(std::move(exported.error()));
    }
    co_return DeviceResult(std::move(*exported));
}

ring::Task<DeviceResult> Backends::take_back(Backend backend, KernelDeviceRequest request) {
    if (backend == Backend::nbd) {
        DeviceResult device = co_await NbdDevice::take_back(loop_, std::move(request));
        co_return device;
    }
    auto any = is_any_ublk_device();
    if (!any) {
        co_return base::fail(std::move(any.error()));
    }
    if (backend == Backend::socket || !*any) {
        co_return base::fail(base::Errc::not_found, "no kernel device");
    }
    if (auto opened = open_control(); !opened) {
        co_return base::fail(std::move(opened.error()));
    }
    request.zero_copy_bytes_min = config_.zero_copy_bytes_min;
    DeviceResult device = co_await UblkDevice::take_back(*ublk_, std::move(request));
    co_return device;
}

} // namespace iscsi::block
