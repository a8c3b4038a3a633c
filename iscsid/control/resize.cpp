#include "control/resize.hpp"

#include "block/sysfs.hpp"
#include "control/about.hpp"
#include "control/daemon.hpp"
#include "scsi/capacity.hpp"
#include "shard/lun_properties.hpp"

#include <algorithm>
#include <utility>

namespace iscsi::control {
namespace {

using State = ManagedSession::State;

bool is_up(const ManagedSession& session) {
    return session.state == State::running || session.state == State::logging_in;
}

/// A queue that does not know yet of what is behind the old end would fail what is sent there.
bool is_known_to_all_queues(const ManagedSession& session, const ServedLun& served) {
    return std::ranges::all_of(session.companions, [&](const auto& companion) {
        const auto mirror = find_served(*companion, served.facts.lun);
        return mirror == nullptr || mirror->facts.blocks == served.facts.blocks;
    });
}

ring::Task<void> resize_device(const ManagedSession& session, ServedLun& served) {
    const block::Attributes attributes = *std::exchange(served.resize_later, std::nullopt);
    if (served.refused_bytes == attributes.size_bytes) {
        co_return;
    }
    auto resized = co_await served.device->resize(attributes);
    if (resized) {
        served.failed_bytes.reset();
        served.refused_bytes.reset();
        compare_size(served); // it may have changed back meanwhile
        co_return;
    }
    if (std::exchange(served.failed_bytes, attributes.size_bytes) != attributes.size_bytes) {
        log::event(about(session, served, ipc::Event::resize_failed), "{}", resized.error().message());
    }
    if (resized.error().code == base::Errc::not_supported) {
        served.refused_bytes = attributes.size_bytes;
    } else if (!served.resize_later) {
        served.resize_later = attributes;
    }
}

} // namespace

void compare_size(ServedLun& served) {
    if (served.device == nullptr || !served.device->outlives_daemon()) {
        return;
    }
    const block::Attributes attributes = shard::block_attributes(served.facts);
    const auto shown = block::kernel_size_bytes(served.device->name());
    if (shown && *shown != attributes.size_bytes) {
        served.resize_later = attributes;
    }
}

ring::Task<void> resize_devices(ManagedSession& session) {
    session.resize_again = true;
    if (std::exchange(session.resizing, true)) {
        co_return;
    }
    ManagedSession::Use use(session);
    while (std::exchange(session.resize_again, false)) {
        for (std::size_t i = 0; i < session.luns.size() && is_up(session); ++i) {
            const std::shared_ptr<ServedLun> served = session.luns[i];
            if (served->resize_later && is_known_to_all_queues(session, *served)) {
                co_await resize_device(session, *served);
            }
        }
    }
    session.resizing = false;
}

/// On its own: the kernel may wait for I/O in progress, and that for somebody who looks at the unit.
void Daemon::start_resizing(ManagedSession& session) {
    const bool wanted = std::ranges::any_of(
        session.luns, [](const auto& served) { return served->resize_later.has_value(); });
    if (wanted && session.state != State::ending) {
        recoveries_.spawn(resize_devices(session));
    }
}

} // namespace iscsi::control
