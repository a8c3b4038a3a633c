// Writes that were acknowledged, not flushed, and went with the cache of their unit: whoever flushes next is
// told, and so is the log. What happens while a session is up its Lun sees by itself; what happened while it
// was away is found out here (cache_doubt.hpp). A daemon that has just started does not know what the one
// before it has left in a cache, and takes it that there is something.
#include "control/daemon.hpp"
#include "control/log.hpp"
#include "scsi/capacity.hpp"

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
            co_await lose_cache(session, *units.at(i));
        }
        ask_again |= verdict == Verdict::ask_again && unflushed.at(i);
    }
    co_return ask_again;
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
    const std::string lun = scsi::describe_lun(served->facts.lun);
    const std::uint64_t writes = now.lost.writes - before.lost.writes;
    if (writes == 0) {
        log::error("session {} LUN {}: the target has lost its write cache; what was written before this "
                   "iscsid was started and not flushed may be gone: a flush fails",
                   session.sid, lun);
        co_return;
    }
    log::error("session {} LUN {}: the target has lost its write cache; {} acknowledged writes ({} bytes) "
               "that no flush has covered may be gone: a flush fails",
               session.sid, lun, writes, now.lost.bytes - before.lost.bytes);
}

} // namespace iscsi::control
