#include "block/nbd_probe.hpp"

#include "block/nbd_netlink.hpp"
#include "ring/aside.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace iscsi::block {
namespace {

base::Result<std::string> ask() {
    base::Result<NbdNetlink> netlink = NbdNetlink::open();
    if (!netlink) {
        return base::fail(std::move(netlink.error()));
    }
    const auto devices = netlink->status();
    if (!devices) {
        return base::fail(devices.error());
    }
    const auto connected = std::ranges::count_if(*devices, &NbdNetlink::Status::connected);
    return fmt::format("the kernel's nbd driver answers; it has {} devices, {} in use", devices->size(),
                       connected);
}

} // namespace

ring::Task<base::Result<std::string>> probe_nbd(ring::Loop& loop) {
    ring::Aside asking(loop, ask);
    base::Result<std::string> said = co_await asking;
    co_return said;
}

} // namespace iscsi::block
