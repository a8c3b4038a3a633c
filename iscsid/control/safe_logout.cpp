// Before a logout: nobody may use the session's block devices, and what was written to them reaches the
// target.
#include "block/udev.hpp"
#include "control/about.hpp"
#include "control/daemon.hpp"
#include "ring/aside.hpp"
#include "scsi/capacity.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <utility>

namespace iscsi::control {
namespace {

/// Also what an exclusive open does not find: a mount in a state that let go of the device. Who has it open
/// and has not claimed it counts where nobody has asked for the logout.
std::vector<std::string> who_uses(const std::string& name, bool claimed, bool openers_count) {
    std::vector<std::string> users = block::users_of(name);
    if (users.empty() && (!claimed || openers_count)) {
        users = block::openers_of(name);
    }
    if (users.empty() && !claimed) {
        users.push_back(fmt::format("/dev/{} is in use", name));
    }
    return users;
}

} // namespace

ring::Task<base::Result<void>> Daemon::claim_devices(ManagedSession& session,
                                                     std::vector<block::DeviceClaim>& claims) {
    if (!session.orphans.empty()) {
        co_return base::fail(base::Errc::busy, "a device of the session was not taken back from the iscsid "
                                               "before; it may be in use");
    }
    std::vector<std::string> names = lasting_devices(session);
    if (session.only_if_unused) {
        auto unused = co_await check_exports(session, names.empty());
        if (!unused) {
            co_return unused;
        }
    }
    if (!names.empty()) {
        co_await block::wait_until_udev_is_idle(*loop_);
    }
    const auto mode =
        spares_users(session) ? block::DeviceClaim::Mode::exclusive : block::DeviceClaim::Mode::shared;
    std::vector<std::string> users;
    for (const std::string& name : names) {
        auto claim = co_await block::DeviceClaim::open(*loop_, "/dev/" + name, mode);
        bool claimed = claim.has_value();
        bool is_gone = !claimed && claim.error().code == base::Errc::not_found; // somebody took it away
        if (claimed) {
            claims.push_back(std::move(*claim));
        }
        if (!spares_users(session) || is_gone) {
            continue;
        }
        auto look = [&] { return who_uses(name, claimed, session.only_if_unused); };
        ring::Aside looking(*loop_, look);
        auto found = co_await looking;
        users.insert(users.end(), found.begin(), found.end());
    }
    if (!users.empty()) {
        co_await block::release(claims);
        co_return base::fail(base::Errc::busy, fmt::format("{}", fmt::join(users, "\n")));
    }
    co_return base::Result<void>();
}

/// One look at all of them, on their shard, where nobody comes or goes meanwhile. Where there is nothing else
/// that could keep the session, the path is sealed within it: who comes next can read and write nothing that
/// a logout would take away. Between kernel devices and their last claim a client may still come to an export
/// beside them (those of a daemon before, that had another backend); what it wrote until the seal is on the
/// target, and is made durable before the logout.
ring::Task<base::Result<void>> Daemon::check_exports(ManagedSession& session, bool and_seal) {
    const auto units = session.units();
    auto work = [&units, and_seal, nexus = session.nexus.get()] {
        std::pair<const ServedLun*, std::size_t> used{};
        for (const auto& served : units) {
            if (served->queue && used.second == 0) {
                used = {served.get(), served->queue->users()};
            }
        }
        if (used.second == 0 && and_seal) {
            nexus->seal();
        }
        return used;
    };
    ring::Call call(*loop_, session.shard.loop(), work);
    const auto used = co_await call;
    if (used.second != 0) {
        std::string who = fmt::format("{} has {} client(s)", used.first->device->path(), used.second);
        co_return base::fail(base::Errc::busy, std::move(who));
    }
    if (and_seal) {
        co_await seal(session); // the other queues, which nobody was at: clients come by the first one
    }
    co_return base::Result<void>();
}

/// Dirty pages of the device itself; those of file systems are written when they are unmounted.
ring::Task<base::Result<void>> Daemon::flush_devices(ManagedSession& session,
                                                     std::vector<block::DeviceClaim>& claims) {
    base::Result<void> all;
    for (block::DeviceClaim& claim : claims) {
        auto flushed = co_await claim.flush();
        if (!flushed) {
            log::error(about(session), "what was written to {} does not reach the target: {}", claim.path(),
                       flushed.error().message());
            all = base::fail(base::Errc::logout,
                             fmt::format("what was written to {} does not reach the target: {}", claim.path(),
                                         flushed.error().message()));
        }
    }
    co_return all;
}

} // namespace iscsi::control
