#include "block/nbd_probe.hpp"

#include "block/buffer_pool.hpp"
#include "block/nbd_binding.hpp"
#include "block/nbd_kernel_queue.hpp"
#include "block/nbd_netlink.hpp"
#include "block/self_test.hpp"
#include "block/udev.hpp"
#include "ring/aside.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fmt/format.h>
#include <memory>
#include <unistd.h>

namespace iscsi::block {
namespace {

/// "iscs", and the number of the process: so that a later test can tell what an earlier one has left behind.
constexpr std::uint64_t test_cookie = 0x6973637300000000;
constexpr std::uint64_t cookie_mask = 0xffffffff00000000;
/// Far from the numbers that people and devices use; every max_part of the module allows it.
constexpr std::uint32_t test_index = 4000;

/// What daemons that died during their test have left. Blocks.
void sweep() {
    for (const std::uint64_t cookie : NbdBinding::cookies_of_all()) {
        if ((cookie & cookie_mask) != test_cookie) {
            continue;
        }
        const auto server = static_cast<pid_t>(cookie & ~cookie_mask);
        const bool in_test = server != ::getpid() && (::kill(server, 0) == 0 || errno != ESRCH);
        if (in_test) {
            continue;
        }
        const KernelDeviceRequest request = self_test_request(cookie);
        NbdBinding left(request);
        if (left.find()) {
            [[maybe_unused]] const auto gone = left.disconnect();
        }
    }
}

/// Makes the device, which must be among those that the driver tells of then. Blocks.
base::Result<void> connect(NbdBinding& binding) {
    sweep();
    if (auto connected = binding.connect(test_index); !connected) {
        return connected;
    }
    auto netlink = NbdNetlink::open();
    if (!netlink) {
        return base::fail(std::move(netlink.error()));
    }
    auto devices = netlink->status();
    if (!devices) {
        return base::fail(std::move(devices.error()));
    }
    const bool is_told = std::ranges::any_of(*devices, [&](const NbdNetlink::Status& one) {
        return one.connected && binding.name() == fmt::format("nbd{}", one.index);
    });
    if (!is_told) {
        return base::fail(base::Errc::internal,
                          binding.name() + " is connected, but the driver does not say so");
    }
    return {};
}

ring::Task<base::Result<void>> use(ring::Loop& loop, NbdBinding& binding, NbdLink& link) {
    auto work = [&] { return connect(binding); };
    ring::Aside connecting(loop, work);
    base::Result<void> used = co_await connecting;
    if (!used && !binding.is_ours().value_or(false)) {
        co_return used;
    }
    link.give(binding.take_socket());
    if (used) {
        used = co_await see_pattern(loop, "/dev/" + binding.name());
    }
    // It opens each device that appears; reads that fail would be in the kernel's log.
    co_await wait_until_udev_is_idle(loop);
    auto disconnect = [&] { return binding.disconnect(); };
    ring::Aside disconnecting(loop, disconnect);
    base::Result<void> ended = co_await disconnecting;
    if (used && !ended) {
        co_return ended;
    }
    co_return used;
}

} // namespace

ring::Task<base::Result<std::string>> probe_nbd(ring::Loop& loop) {
    auto pool = BufferPool::create(std::size_t{1} << 20);
    if (!pool) {
        co_return base::fail(std::move(pool.error()));
    }
    const KernelDeviceRequest request =
        self_test_request(test_cookie | static_cast<std::uint32_t>(::getpid()));
    NbdBinding binding(request);
    PatternDisk disk;
    const QueueContext context{loop, **pool, disk};
    auto link = std::make_shared<NbdLink>(loop);
    NbdKernelQueue queue(context, request.attributes, link);
    disk.queue = &queue;
    base::Result<void> used = co_await use(loop, binding, *link);
    co_await close_queue(queue);
    if (!used) {
        co_return base::fail(std::move(used.error()));
    }
    co_return std::string("the kernel's nbd driver, through netlink");
}

} // namespace iscsi::block
