// The queues of a unit's device: on its session's shard, and of more than one on those of the companions,
// each with a Lun of its own.
#include "base/limits.hpp"
#include "control/about.hpp"
#include "control/daemon.hpp"
#include "scsi/capacity.hpp"
#include "shard/lun_properties.hpp"

#include <algorithm>
#include <functional>
#include <unistd.h>
#include <utility>

namespace iscsi::control {
namespace {

/// What control's thread knew of a unit when it sent for this: what it learns later comes behind.
struct Known {
    scsi::LunFacts facts;
    bool barred;
    bool may_hold_writes;
    bool cache_was_lost;
    bool in_doubt;
    base::Duration doubt_max;
};

/// Gives the queue a handler that is made first, and the handler the queue.
base::Result<void> make_on_shard(ManagedSession& session, ServedLun& served, const DeviceQueue& place,
                                 const Known& known) {
    shard::Shard& shard = session.shard;
    if (place.device.outlives_daemon() && !shard.pool().populate()) {
        return base::fail(base::Errc::no_memory, "no memory for the data of requests");
    }
    served.lun =
        std::make_unique<shard::Lun>(shard.loop(), *session.nexus, known.facts, queue_depth(session));
    if (place.cache) {
        served.lun->share_cache(place.cache, place.number);
    }
    served.lun->count_in(served.statistics);
    served.lun->set_shown_cache(served.shown_cache);
    served.lun->set_doubt_max(known.doubt_max);
    if (known.barred) {
        served.lun->bar();
    }
    if (known.in_doubt) {
        served.lun->doubt();
    }
    if (known.may_hold_writes) {
        served.lun->assume_unflushed();
    }
    if (known.cache_was_lost) {
        served.lun->lose_cache();
    }
    block::QueueContext context{shard.loop(), shard.pool(), *served.lun, place.number};
    auto queue = place.device.make_queue(context);
    if (!queue) {
        served.lun.reset();
        return base::fail(std::move(queue.error()));
    }
    served.queue = std::move(*queue);
    // The device was made from what was known before.
    served.queue->resize(shard::block_attributes(known.facts));
    served.lun->attach(*served.queue);
    return {};
}

ring::Task<void> close_on_shard(std::unique_ptr<block::BlockQueue> queue, std::unique_ptr<shard::Lun> lun) {
    ring::Event closed;
    queue->close([&closed] { closed.set(); });
    co_await closed;
    queue.reset();
    lun.reset();
}

/// For a device that somebody else has taken away.
std::function<void(const base::Error&)> report_lost(const ManagedSession& session, const ServedLun& served) {
    return [device = about(session, served, ipc::Event::device_lost)](const base::Error& error) {
        log::event(device, "the device is lost: {}; log out and in again", error.message());
    };
}

/// udev does not answer in time, or has other rules.
void report_missing_link(const ManagedSession& session, const ServedLun& served) {
    for (const std::string& link : served.device->links()) {
        if (::access(link.c_str(), F_OK) != 0) {
            log::warning(about(session, served), "there is no {} yet", link);
        }
    }
}

/// The unit is not served through the session any more, or was not yet.
void forget_unit(ManagedSession& session, const std::shared_ptr<ServedLun>& served) {
    std::erase(session.luns, served);
    std::erase(session.attaching, served);
}

} // namespace

/// For each companion that has the same unit under the same number, up to the first that has not.
ring::Task<void> Daemon::make_mirrors(ManagedSession& session, const ServedLun& served) {
    const base::Lun lun = served.facts.lun;
    const std::size_t most = served.device == nullptr ? base::limits::queues_max : served.device->queues();
    for (std::size_t i = 0; i < session.companions.size() && i + 1 < most; ++i) {
        ManagedSession& companion = *session.companions[i];
        ManagedSession::Use use(companion);
        auto mirror = std::make_shared<ServedLun>();
        mirror->facts = served.facts;
        mirror->backend = served.backend;
        mirror->shown_cache = served.shown_cache;
        mirror->may_hold_writes = served.may_hold_writes;
        companion.attaching.push_back(mirror);
        auto same = co_await compare_again(companion, *mirror);
        if (!same) {
            log::warning(about(session), "{}", same.error().message());
        }
        if (same) {
            continue;
        }
        if (served.device == nullptr) {
            std::erase(companion.attaching, mirror);
            log::warning(about(session, lun), "its device has {} queue(s)", i + 1);
            co_return;
        }
        // The device has a queue for it, and that needs somebody who answers. A connection that was lost says
        // nothing about the unit: it is compared when there is another one.
        if (!is_cut_off(same.error())) {
            co_await bar(companion, *mirror);
        }
    }
}

ring::Task<base::Result<void>> Daemon::serve(ManagedSession& session, ServedLun& served) {
    const unsigned queues = served.device->queues();
    if (queues > queues_ready(session, served.facts.lun)) {
        co_return base::fail(base::Errc::internal, "there are not enough sessions for its queues");
    }
    std::shared_ptr<shard::UnitCache> cache;
    if (queues > 1) {
        cache = std::make_shared<shard::UnitCache>(queues);
    }
    DeviceQueue place(*served.device, cache, 0);
    auto made = co_await put_on_shard(session, served, place);
    for (std::size_t i = 0; made && i < session.companions.size(); ++i) {
        ManagedSession& companion = *session.companions[i];
        const std::shared_ptr<ServedLun> mirror = find_served(companion, served.facts.lun);
        if (i + 1 >= queues) {
            forget_unit(companion, mirror); // the kernel makes no more of them than it has processors
            continue;
        }
        place.number = static_cast<unsigned>(i + 1);
        made = co_await put_on_shard(companion, *mirror, place);
        if (made && std::erase(companion.attaching, mirror) != 0) {
            companion.luns.push_back(mirror);
        }
    }
    if (!made) {
        co_return made;
    }
    served.device->set_on_lost(report_lost(session, served));
    auto started = co_await served.device->start();
    if (started) {
        report_missing_link(session, served);
    }
    co_return started;
}

ring::Task<base::Result<void>> Daemon::put_on_shard(ManagedSession& session, ServedLun& served,
                                                    DeviceQueue place) {
    // One that is taken back while a new session has all others compared may come too late for that.
    const bool in_doubt =
        served.compared_in != session.openings || has_leftovers(session, served, served.facts);
    const Known known{served.facts,          served.barred, served.may_hold_writes,
                      served.cache_was_lost, in_doubt,      config_.doubt_max};
    auto work = [&] { return make_on_shard(session, served, place, known); };
    ring::Call call(*loop_, session.shard.loop(), work);
    auto made = co_await call;
    if (made && known.in_doubt) {
        look_later(session, served.facts.lun, true);
    }
    co_return made;
}

/// All queues of its device are closed, the first one first.
ring::Task<void> Daemon::take_off_shard(ManagedSession& session, ServedLun& served) {
    co_await close_queue(session, served);
    for (std::size_t i = 0; i < session.companions.size(); ++i) {
        ManagedSession& companion = *session.companions[i];
        const std::shared_ptr<ServedLun> mirror = find_served(companion, served.facts.lun);
        if (mirror != nullptr) {
            co_await close_queue(companion, *mirror);
            forget_unit(companion, mirror);
        }
    }
}

ring::Task<void> Daemon::close_queue(ManagedSession& session, ServedLun& served) {
    if (served.queue == nullptr) {
        co_return;
    }
    auto work = [&] { return close_on_shard(std::move(served.queue), std::move(served.lun)); };
    ring::Call call(*loop_, session.shard.loop(), work);
    co_await call;
}

} // namespace iscsi::control
