// Writes that were acknowledged, not flushed, and went with the cache of their unit: whoever flushes next is
// told, and so is the log. What happens while a session is up its Lun sees by itself; what happened while it
// was away is found out here (cache_doubt.hpp). A daemon that has just started does not know what the one
// before it has left in a cache, and takes it that there is something.
#include "control/about.hpp"
#include "control/daemon.hpp"
#include "control/scan.hpp"

#include <algorithm>
#include <utility>

namespace iscsi::control {
namespace {

/// A Lun that is still to be made does not know yet what it will be told.
bool has_unflushed(const ServedLun& served) {
    return served.lun == nullptr ? served.may_hold_writes : served.lun->has_unflushed();
}

} // namespace

ring::Task<bool> Daemon::judge_caches(ManagedSession& session) {
    using Verdict = CacheDoubt::Verdict;
    const std::vector<std::shared_ptr<ServedLun>> units = session.units();
    std::vector<bool> unflushed;
    auto look = [&] {
        for (const auto& served : units) {
            unflushed.push_back(has_unflushed(*served));
        }
    };
    ring::Call call(*loop_, session.shard.loop(), look);
    co_await call;
    bool ask_again = false;
    for (std::size_t i = 0; i < units.size(); ++i) {
        const Verdict verdict = units.at(i)->cache.judge(session.target_was_away);
        if (verdict == Verdict::lost) {
            const bool is_known = co_await is_known_loss(session, units.at(i));
            if (!is_known) {
                co_await lose_cache(session, *units.at(i));
            }
        }
        ask_again |= verdict == Verdict::ask_again && unflushed.at(i);
    }
    co_return ask_again;
}

/// The unit tells each of the sessions that serve a device. What another one was told while this one was away
/// is the same loss, unless there was one more since: that took what was acknowledged since, and whoever has
/// acknowledged it would be told so by the next command. So they are asked; in doubt it is another loss.
ring::Task<bool> Daemon::is_known_loss(ManagedSession& session, std::shared_ptr<ServedLun> served) {
    auto look = [&served] {
        const shard::Lun* lun = served->lun.get();
        return lun != nullptr && lun->has_news_of_loss() && !lun->has_written_since_loss();
    };
    ring::Call call(*loop_, session.shard.loop(), look);
    bool is_known = co_await call;
    // While one is asked another one may come or go.
    for (std::size_t i = 0; is_known && i < family(session).size(); ++i) {
        ManagedSession& other = *family(session).at(i);
        if (&other != &session) {
            is_known = co_await has_kept_writes(other, served->facts.lun);
        }
    }
    if (is_known) {
        log::info(about(session, *served), "another queue has heard of the loss of its cache");
    }
    co_return is_known;
}

/// What the session has acknowledged since the last loss that is known was not lost by another one.
ring::Task<bool> Daemon::has_kept_writes(ManagedSession& session, base::Lun lun) {
    ManagedSession::Use use(session);
    const std::shared_ptr<ServedLun> served = find_served(session, lun);
    if (served == nullptr) {
        co_return true;
    }
    auto look = [&served] { return served->lun != nullptr && served->lun->has_written_since_loss(); };
    ring::Call call(*loop_, session.shard.loop(), look);
    const bool has_written = co_await call;
    if (!has_written) {
        co_return true;
    }
    if (session.state != ManagedSession::State::running || session.dropped) {
        co_return false;
    }
    bool is_told = false;
    auto news = [this, &session, &is_told](base::Lun unit, const scsi::Disposition& told) {
        is_told = is_told || told.effects.has(scsi::Effect::cache_maybe_lost);
        on_lun_news(session, unit, told);
    };
    Scanner scanner(*loop_, session.shard.loop(), *session.nexus, news);
    scanner.stop_at(session.interrupted);
    const auto answered = co_await scanner.wait_until_ready(lun);
    co_return answered && !is_told && !session.dropped;
}

ring::Task<void> Daemon::lose_cache(ManagedSession& session, ServedLun& served) {
    served.cache_was_lost = true;
    auto work = [&served] {
        if (served.lun != nullptr) {
            served.lun->lose_cache();
        }
    };
    ring::Call call(*loop_, session.shard.loop(), work);
    co_await call;
}

/// A Lun has said that it has lost some.
ring::Task<void> Daemon::tell_of_losses(ManagedSession& session, std::shared_ptr<ServedLun> served) {
    ManagedSession::Use use(session);
    auto work = [&served] { return served->lun == nullptr ? shard::LunCounters() : served->lun->counters(); };
    ring::Call call(*loop_, session.shard.loop(), work);
    const shard::LunCounters now = co_await call;
    served->cache_losses = std::max(served->cache_losses, now.cache_losses);
    const bool is_news = now.cache_losses > served->told_of.cache_losses;
    // What is left out comes with the next line.
    if (!is_news || !served->losses.admit(ring::monotonic_now())) {
        co_return;
    }
    const shard::LunCounters before = std::exchange(served->told_of, now);
    const std::uint64_t writes = now.lost.writes - before.lost.writes;
    if (writes == 0) {
        log::event(about(session, *served, ipc::Event::cache_lost),
                   "the target has lost its write cache; what was written before this "
                   "iscsid was started and not flushed may be gone: a flush fails");
        co_return;
    }
    log::event(about(session, *served, ipc::Event::cache_lost),
               "the target has lost its write cache; {} acknowledged writes ({} bytes) "
               "that no flush has covered may be gone: a flush fails",
               writes, now.lost.bytes - before.lost.bytes);
}

} // namespace iscsi::control
