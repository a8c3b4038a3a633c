// Whether the units of a session are still those that are served: after each login, before their users may
// send again, and at each scan. What has changed of a unit is passed on; to another one nothing is sent.
#include "control/about.hpp"
#include "control/absent.hpp"
#include "control/daemon.hpp"
#include "control/resize.hpp"
#include "control/scan.hpp"
#include "scsi/capacity.hpp"
#include "shard/lun_properties.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace iscsi::control {
namespace {

using State = ManagedSession::State;

constexpr base::Duration watch_step = std::chrono::seconds(1);
/// Between two looks at a unit that fails its users.
constexpr base::Duration barred_pause = std::chrono::seconds(5);

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

bool wants_watch(const ManagedSession& session) {
    return std::ranges::any_of(session.luns, is_barred) ||
           std::ranges::any_of(session.attaching, is_barred) ||
           std::ranges::any_of(session.absent, [](const auto& unit) { return unit.second.may_come; });
}

/// Its users are as badly off as those of a unit in doubt.
void note_barred(ManagedSession& session, base::TimePoint now) {
    for (const auto& served : session.luns) {
        if (served->barred) {
            session.agenda.note(served->facts.lun, scsi::Effect::identity_doubt, now);
        }
    }
}

std::string named(const scsi::LunFacts& facts) {
    std::string name = scsi::identity(facts);
    return name.empty() ? fmt::format("{} {} without a name", facts.vendor, facts.product) : name;
}

base::Error another_unit(const ServedLun& served, const base::Result<scsi::LunFacts>& now) {
    return {base::Errc::fatal_login, fmt::format("LUN {}: was {}, is now {}; no I/O is sent to it",
                                                 scsi::describe_lun(served.facts.lun), named(served.facts),
                                                 now ? named(*now) : now.error().message())};
}

void tell_replaced(const ManagedSession& session, const ServedLun& served,
                   const base::Result<scsi::LunFacts>& now) {
    constexpr auto event = ipc::Event::lun_replaced;
    log::write(ipc::row_of(event).level, about(session, served, event),
               log::prefix(about(session)) + another_unit(served, now).detail);
}

/// What an inspection found of the unit, comparable with what is known of it.
base::Result<scsi::LunFacts> comparable(const ServedLun& served, base::Result<scsi::LunFacts> now) {
    if (now) {
        *now = scsi::with_known_size(std::move(*now), served.facts);
    }
    return now;
}

} // namespace

bool is_the_same(const ServedLun& served, const base::Result<scsi::LunFacts>& now) {
    return now && scsi::is_disk(*now) && scsi::same_unit(served.facts, *now);
}

bool use_look(ServedLun& served, base::TimePoint began_at) {
    const bool newest = began_at >= served.looked_at;
    served.looked_at = newest ? began_at : served.looked_at;
    return newest;
}

ring::Task<base::Result<void>> Daemon::check_identity(ManagedSession& session) {
    Scanner scanner = scanner_of(session);
    while (session.state == State::recovering) {
        std::shared_ptr<ServedLun> served = next_to_compare(session);
        if (served == nullptr) {
            break;
        }
        auto inspected = co_await scanner.inspect(served->facts.lun);
        served->looked_at = scanner.began_at();
        auto facts = comparable(*served, std::move(inspected));
        auto checked = co_await check_unit(session, *served, std::move(facts));
        if (!checked) {
            co_return checked;
        }
        served->compared_in = session.openings;
    }
    co_return base::Result<void>();
}

/// Its users may send to it again, now or when it was drained.
ring::Task<void> Daemon::accept(ManagedSession& session, ServedLun& served, const scsi::LunFacts& now) {
    co_await drain_soon(session, served, now);
    co_await update(session, served, now);
}

/// A unit that is not there (yet) holds up the whole session, as long as requests wait anyway: a target that
/// starts may show its units one by one. After the replacement timeout it is left out.
ring::Task<base::Result<void>> Daemon::check_unit(ManagedSession& session, ServedLun& served,
                                                  base::Result<scsi::LunFacts> now) {
    if (!now && is_cut_off(now.error())) {
        co_return base::fail(std::move(now.error()));
    }
    if (is_the_same(served, now)) {
        co_await accept(session, served, *now);
        co_return base::Result<void>();
    }
    if (served.barred) {
        co_return base::Result<void>();
    }
    if (now && !std::exchange(served.was_another, true)) {
        doubt_others(session, served.facts.lun);
    }
    if (!session.overdue) {
        co_return base::fail(another_unit(served, now));
    }
    tell_replaced(session, served, now);
    co_await bar(session, served);
    co_return base::Result<void>();
}

ring::Task<base::Result<void>> Daemon::compare_again(ManagedSession& session, ServedLun& served) {
    // Until its path is open check_identity() sees to it.
    while (served.compared_in != session.openings && session.resumed_in == session.openings) {
        const unsigned opening = session.openings;
        Scanner scanner = scanner_of(session);
        auto inspected = co_await scanner.inspect(served.facts.lun);
        auto now = comparable(served, std::move(inspected));
        if (session.openings != opening) {
            continue;
        }
        served.looked_at = scanner.began_at();
        if (!now && is_cut_off(now.error())) {
            co_return base::fail(std::move(now.error()));
        }
        served.compared_in = opening;
        if (!is_the_same(served, now)) {
            co_return base::fail(another_unit(served, now));
        }
        co_await accept(session, served, *now);
    }
    if (session.resumed_in == session.openings) {
        co_await drain_soon(session, served, served.facts); // it was found in this very session
    }
    co_return base::Result<void>();
}

/// A unit that is served was inspected: by a scan, or because of what was heard of it.
ring::Task<void> Daemon::look_again(ManagedSession& session, ServedLun& served,
                                    base::Result<scsi::LunFacts> now) {
    now = comparable(served, std::move(now));
    if (!is_the_same(served, now)) {
        if (!served.barred) {
            tell_replaced(session, served, now);
        }
        co_await bar(session, served);
    } else if (has_leftovers(session, served, *now)) {
        look_later(session, served.facts.lun, true); // a scan waits for no unit
    } else {
        co_await accept(session, served, *now);
    }
}

/// The device stays, and what is sent to it fails until the unit is back. One that is not listed and answers
/// as ever is left alone: lists are wrong while a target changes.
ring::Task<void> Daemon::bar_unlisted(ManagedSession& session, const UnitList& units) {
    const std::vector<std::shared_ptr<ServedLun>> all = session.luns;
    for (const auto& served : all) {
        const base::Lun lun = served->facts.lun;
        if (!units.told || served->barred || std::ranges::find(units.luns, lun) != units.luns.end()) {
            continue;
        }
        Scanner scanner = scanner_of(session);
        auto inspected = co_await scanner.inspect(lun);
        auto now = comparable(*served, std::move(inspected));
        if (is_the_same(*served, now)) {
            if (use_look(*served, scanner.began_at())) {
                co_await look_again(session, *served, std::move(now)); // it may have met a doubt
            }
            continue;
        }
        if (!now && now.error().code == base::Errc::again) {
            look_later(session, lun, true);
        }
        if (!now && now.error().code != base::Errc::login) {
            continue;
        }
        log::event(about(session, lun, ipc::Event::lun_removed),
                   "the target does not show it any more; its device stays, I/O fails");
        co_await bar(session, *served);
    }
}

/// The same unit; its size or what it can do may have changed.
ring::Task<void> Daemon::update(ManagedSession& session, ServedLun& served, const scsi::LunFacts& facts) {
    const block::Attributes attributes = shard::block_attributes(facts);
    const bool has_new_size = served.facts.blocks != facts.blocks;
    if (has_new_size) {
        log::event(about(session, served, ipc::Event::resized), "{} blocks, were {}", facts.blocks.value(),
                   served.facts.blocks.value());
    }
    if (served.facts.access.state != facts.access.state) {
        log::event(about(session, served, ipc::Event::lun_changed), "access through this port is now {}",
                   scsi::text(facts.access.state));
    }
    scsi::LunFacts known = served.facts;
    known.access = facts.access; // is not stored
    const bool is_news = known != facts;
    served.was_another = false;
    const bool needs_flush = !served.shown_cache && facts.write_cache && !served.facts.write_cache;
    served.facts = facts;
    const base::TimePoint looked_at = served.looked_at; // another look may come meanwhile
    auto work = [&] {
        if (served.lun == nullptr) {
            return; // what it is made from is newer
        }
        served.lun->update(facts, looked_at);
        if (has_new_size) {
            served.queue->resize(attributes);
        }
    };
    ring::Call call(*loop_, session.shard.loop(), work);
    co_await call;
    // Not before: that its Lun has given it up may have been on its way.
    if (std::exchange(served.barred, false)) {
        log::event(about(session, served, ipc::Event::lun_returned), "it is back");
    }
    if (needs_flush) {
        co_await flush_new_cache(session, facts.lun);
    }
    compare_size(served);
    if (has_new_size && session.leader != nullptr) {
        start_resizing(*session.leader); // may have waited for this queue
    }
    if (is_news) {
        save(session);
        tell_others(session, facts.lun);
    }
}

/// The unit has begun to use a cache. The users of its device do not know: from the update on each write
/// waits for the medium, and what was written a moment before does so here.
ring::Task<void> Daemon::flush_new_cache(ManagedSession& session, base::Lun lun) {
    Scanner scanner = scanner_of(session);
    auto flushed = co_await scanner.synchronize_cache(lun);
    if (!flushed) {
        log::error(about(session, lun), "its new write cache cannot be flushed: {}",
                   flushed.error().message());
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
    served.barred = true; // an update that was under way has taken it back
    if (!std::exchange(served.was_another, true)) {
        doubt_others(session, served.facts.lun);
    }
    watch(session);
}

void Daemon::watch(ManagedSession& session) {
    if (wants_watch(session) && !std::exchange(session.watching, true)) {
        recoveries_.spawn(watch_units(session));
    }
}

/// A unit may answer later than the rest of its target, or its port may not serve it yet, and no command of
/// ours would hear of the change. Those that wait for it (multipath) expect it to come by itself.
ring::Task<void> Daemon::watch_units(ManagedSession& session) {
    ManagedSession::Use use(session);
    const base::Duration step = std::min(watch_step, config_.absent_pause);
    base::TimePoint barred_at = loop_->now() + barred_pause;
    base::TimePoint absent_at = loop_->now() + config_.absent_pause;
    while (session.state != State::ending && wants_watch(session)) {
        co_await session.pause(*loop_, loop_->now() + step);
        if (session.state != State::running) {
            continue;
        }
        if (loop_->now() >= barred_at) {
            barred_at = loop_->now() + barred_pause;
            note_barred(session, loop_->now());
        }
        if (loop_->now() >= absent_at) {
            absent_at = loop_->now() + config_.absent_pause;
            note_absent(session, loop_->now());
        }
        begin_reacting(session);
    }
    session.watching = false;
}

} // namespace iscsi::control
