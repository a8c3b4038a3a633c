// Whether the units of a session are still those that are served: after each login, before their users may
// send again, and at each scan. What has changed of a unit is passed on; to another one nothing is sent.
#include "block/sysfs.hpp"
#include "control/daemon.hpp"
#include "control/log.hpp"
#include "control/scan.hpp"
#include "scsi/capacity.hpp"
#include "shard/lun_properties.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace iscsi::control {
namespace {

using State = ManagedSession::State;

constexpr base::Duration barred_step = std::chrono::seconds(1);
/// Steps between two looks at units that do not answer.
constexpr int barred_steps = 5;

/// A unit that was not compared since the last login, in luns or on its way there.
std::shared_ptr<ServedLun> next_to_compare(const ManagedSession& session) {
    for (const auto* units : {&session.luns, &session.attaching}) {
        auto found = std::ranges::find_if(
            *units, [&](const auto& served) { return served->compared_in != session.openings; });
        if (found != units->end()) {
            return *found;
        }
    }
    return nullptr;
}

bool is_barred(const std::shared_ptr<ServedLun>& served) {
    return served->barred;
}

base::Error another_unit(const ServedLun& served, const base::Result<scsi::LunFacts>& now) {
    return {base::Errc::fatal_login,
            fmt::format("LUN {}: was {}, is now {}; no I/O is sent to it",
                        scsi::describe_lun(served.facts.lun), scsi::identity(served.facts),
                        now ? scsi::identity(*now) : now.error().message())};
}

bool is_the_same(const ServedLun& served, const base::Result<scsi::LunFacts>& now) {
    return now && scsi::is_disk(*now) && scsi::same_unit(served.facts, *now);
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

ring::Task<base::Result<void>> Daemon::check_identity(ManagedSession& session) {
    Scanner scanner(*loop_, session.shard.loop(), *session.nexus);
    while (session.state == State::recovering) {
        std::shared_ptr<ServedLun> served = next_to_compare(session);
        if (served == nullptr) {
            break;
        }
        auto facts = co_await scanner.inspect(served->facts.lun);
        auto checked = co_await check_unit(session, *served, std::move(facts));
        if (!checked) {
            co_return checked;
        }
        served->compared_in = session.openings;
    }
    co_return base::Result<void>();
}

/// A unit that is not there (yet) holds up the whole session, as long as requests wait anyway: a target that
/// starts may show its units one by one. After the replacement timeout it is left out.
ring::Task<base::Result<void>> Daemon::check_unit(ManagedSession& session, ServedLun& served,
                                                  base::Result<scsi::LunFacts> now) {
    if (!now && now.error().code == base::Errc::transport) {
        co_return base::fail(std::move(now.error()));
    }
    if (is_the_same(served, now)) {
        co_await update(session, served, *now);
        co_return base::Result<void>();
    }
    if (served.barred) {
        co_return base::Result<void>();
    }
    base::Error error = another_unit(served, now);
    if (!session.overdue) {
        co_return base::fail(std::move(error));
    }
    log::error("session {}: {}", session.sid, error.detail);
    co_await bar(session, served);
    co_return base::Result<void>();
}

ring::Task<base::Result<void>> Daemon::compare_again(ManagedSession& session, ServedLun& served) {
    // Until its path is open check_identity() sees to it.
    while (served.compared_in != session.openings && session.resumed_in == session.openings) {
        const unsigned opening = session.openings;
        Scanner scanner(*loop_, session.shard.loop(), *session.nexus);
        auto now = co_await scanner.inspect(served.facts.lun);
        if (session.openings != opening) {
            continue;
        }
        if (!now && now.error().code == base::Errc::transport) {
            co_return base::fail(std::move(now.error()));
        }
        served.compared_in = opening;
        if (!is_the_same(served, now)) {
            co_return base::fail(another_unit(served, now));
        }
        co_await update(session, served, *now);
    }
    co_return base::Result<void>();
}

/// A scan found a unit where one is served.
ring::Task<void> Daemon::look_again(ManagedSession& session, ServedLun& served, const scsi::LunFacts& facts) {
    const base::Result<scsi::LunFacts> now = facts;
    if (is_the_same(served, now)) {
        co_await update(session, served, facts);
        co_return;
    }
    log::error("session {}: {}", session.sid, another_unit(served, now).detail);
    co_await bar(session, served);
}

/// The same unit; its size or what it can do may have changed.
ring::Task<void> Daemon::update(ManagedSession& session, ServedLun& served, const scsi::LunFacts& facts) {
    const block::Attributes attributes = shard::block_attributes(facts);
    const bool has_new_size = served.facts.blocks != facts.blocks;
    if (has_new_size) {
        log::info("session {} LUN {}: {} blocks, were {}", session.sid, scsi::describe_lun(facts.lun),
                  facts.blocks.value(), served.facts.blocks.value());
    }
    if (std::exchange(served.barred, false)) {
        log::info("session {} LUN {}: it is back", session.sid, scsi::describe_lun(facts.lun));
    }
    const bool is_news = served.facts != facts;
    const bool needs_flush = !served.shown_cache && facts.write_cache && !served.facts.write_cache;
    served.facts = facts;
    auto work = [&] {
        if (served.lun == nullptr) {
            return; // what it is made from is newer
        }
        served.lun->update(facts);
        if (has_new_size) {
            served.queue->resize(attributes);
        }
    };
    ring::Call call(*loop_, session.shard.loop(), work);
    co_await call;
    if (needs_flush) {
        co_await flush_new_cache(session, facts.lun);
    }
    compare_size(served);
    if (is_news) {
        save(session);
    }
}

/// The unit has begun to use a cache. The users of its device do not know: from the update on each write
/// waits for the medium, and what was written a moment before does so here.
ring::Task<void> Daemon::flush_new_cache(ManagedSession& session, base::Lun lun) {
    Scanner scanner(*loop_, session.shard.loop(), *session.nexus);
    auto flushed = co_await scanner.synchronize_cache(lun);
    if (!flushed) {
        log::error("session {} LUN {}: its new write cache cannot be flushed: {}", session.sid,
                   scsi::describe_lun(lun), flushed.error().message());
    }
}

ring::Task<void> Daemon::bar(ManagedSession& session, ServedLun& served) {
    served.barred = true;
    auto work = [&served] {
        if (served.lun != nullptr) {
            served.lun->bar();
        }
    };
    ring::Call call(*loop_, session.shard.loop(), work);
    co_await call;
    if (!std::exchange(session.watching_barred, true)) {
        recoveries_.spawn(watch_barred(session));
    }
}

/// A unit may answer later than the rest of its target. Those that wait for it (multipath) expect it to come
/// back by itself.
ring::Task<void> Daemon::watch_barred(ManagedSession& session) {
    ManagedSession::Use use(session);
    for (int step = 1; session.state != State::ending; ++step) {
        ring::Sleep pause(*loop_, loop_->now() + barred_step);
        co_await pause;
        if (std::ranges::none_of(session.luns, is_barred) &&
            std::ranges::none_of(session.attaching, is_barred)) {
            break;
        }
        if (step % barred_steps != 0 || session.state != State::running) {
            continue;
        }
        Scanner scanner(*loop_, session.shard.loop(), *session.nexus);
        for (std::size_t i = 0; i < session.luns.size() && session.state == State::running; ++i) {
            const std::shared_ptr<ServedLun> served = session.luns[i];
            if (!served->barred) {
                continue;
            }
            const unsigned opening = session.openings;
            auto now = co_await scanner.inspect(served->facts.lun);
            if (session.openings == opening && is_the_same(*served, now)) {
                co_await update(session, *served, *now);
            }
        }
        co_await resize_devices(session);
    }
    session.watching_barred = false;
}

/// Tells the kernel of sizes that have changed. Only while the path is up: it may wait for I/O in progress.
ring::Task<void> Daemon::resize_devices(ManagedSession& session) {
    for (std::size_t i = 0; i < session.luns.size() && session.state == State::running; ++i) {
        const std::shared_ptr<ServedLun> served = session.luns[i];
        if (!served->resize_later) {
            continue;
        }
        block::Attributes attributes = *std::exchange(served->resize_later, std::nullopt);
        auto resized = co_await served->device->resize(attributes);
        if (resized) {
            continue;
        }
        log::error("session {} LUN {}: {}", session.sid, scsi::describe_lun(served->facts.lun),
                   resized.error().message());
        if (resized.error().code != base::Errc::not_supported && !served->resize_later) {
            served->resize_later = attributes; // the next scan or login tries again
        }
    }
}

} // namespace iscsi::control
