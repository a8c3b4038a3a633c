// What an answer changes: records come and go, and sessions whose portals are gone end.
#include "control/about.hpp"
#include "control/discovery_watch.hpp"
#include "ring/aside.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <iterator>
#include <utility>

namespace iscsi::control {
namespace {

/// Between an answer that lacks something and the one that settles it, where nothing else says how often to
/// ask.
constexpr base::Duration grace_default = std::chrono::seconds(30);

std::string text(const records::NodeId& id) {
    return fmt::format("{} at {} through {}", id.target, records::portal_text(id.portal), id.iface);
}

std::string key_of(const records::Record& node) {
    return portal_key(records::node_id(node));
}

std::set<std::string> keys_of(const std::vector<records::NodeId>& ids) {
    std::set<std::string> keys;
    std::ranges::transform(ids, std::inserter(keys, keys.end()), portal_key);
    return keys;
}

} // namespace

/// The answer becomes records; sessions whose portal is gone end first, where they may.
ring::Task<base::Result<DiscoveryWatch::Outcome>>
DiscoveryWatch::bring_in(const records::DiscoveryUpdate& update, const Settings& settings) {
    std::set<std::string> present;
    for (const records::FoundPortal& found : update.found) {
        present.insert(portal_key({found.target, found.portal, found.iface}));
    }
    absences_.begin(update.found.empty(), host_.loop().now(), poll_interval().value_or(grace_default));
    const std::set<std::string> settled_before = settled();
    for (;;) {
        auto applying = [&] { return apply(update, settings, settled_before); };
        ring::Aside applied(host_.loop(), applying);
        auto outcome = co_await applied;
        if (!outcome) {
            co_return outcome;
        }
        if (!outcome->done) {
            co_await look_after(*outcome);
            co_return base::fail(std::move(outcome->done.error()));
        }
        say(outcome->changes);
        note_absences(outcome->changes.spared, present);
        co_await look_after(*outcome);
        std::set<std::string> known = present;
        std::vector<records::NodeId> gone;
        for (const records::NodeId& id : outcome->changes.spared) {
            if (absences_.is_gone(id)) {
                gone.push_back(id);
            } else {
                known.insert(portal_key(id)); // and not new when it is back
            }
        }
        const std::set<std::string> gone_keys = keys_of(gone);
        std::erase_if(kept_, [&](const auto& kept) { return !gone_keys.contains(kept.first); });
        const bool ended_some = co_await end_sessions(gone);
        if (!ended_some || ending_.is_set()) {
            known_ = std::move(known);
            co_return outcome;
        }
    }
}

/// On a thread aside. A login may begin meanwhile: the store asks for it before it has the database's lock,
/// right before it removes a record and once behind that, and then puts it back. It asks control's thread
/// while it holds the lock, which therefore never waits for it.
base::Result<DiscoveryWatch::Outcome> DiscoveryWatch::apply(records::DiscoveryUpdate update,
                                                            const Settings& settings,
                                                            const std::set<std::string>& settled) const {
    Outcome outcome;
    records::Warnings ignored;
    const records::Store store = store_aside();
    update.in_use = [&](const records::NodeId& id) {
        if (!absences_.is_gone(id) || is_used(id)) {
            return true;
        }
        if (auto node = store.node(id, ignored)) {
            outcome.taken.insert_or_assign(portal_key(id), std::move(*node));
        }
        return false;
    };
    auto changes = store.apply_discovery(update, settings.config);
    if (!changes) {
        outcome.done = base::fail(std::move(changes.error()));
        std::erase_if(outcome.taken, [&](const auto& taken) {
            const auto node = store.node(records::node_id(taken.second), ignored);
            return node || node.error().code != base::Errc::not_found;
        });
        return outcome;
    }
    outcome.changes = std::move(*changes);
    const std::set<std::string> removed = keys_of(outcome.changes.removed);
    std::erase_if(outcome.taken, [&](const auto& taken) { return !removed.contains(taken.first); });
    for (const auto* ids : {&outcome.changes.added, &outcome.changes.kept}) {
        for (const records::NodeId& id : *ids) {
            auto node = settled.contains(portal_key(id)) ? base::fail(base::Errc::not_found)
                                                         : store.node(id, ignored);
            if (node) {
                outcome.fresh.push_back(std::move(*node));
            }
        }
    }
    return outcome;
}

/// The store as the work of an Aside may use it: when there is no thread for that, control's own does not
/// wait for the database's lock, whose holder may wait for control's answer. What fails is tried again.
records::Store DiscoveryWatch::store_aside() const {
    return host_.loop().is_on_its_thread() ? records::Store(store_.paths(), std::chrono::milliseconds(0))
                                           : store_;
}

bool DiscoveryWatch::is_used(const records::NodeId& id) const {
    auto question = [&] { return host_.count_sessions(id) != 0; };
    return ring::ask_loop(host_.loop(), question);
}

/// What was removed is not logged in to any more by ourselves; a login that began after the store asked for
/// the last time gets its record back.
ring::Task<void> DiscoveryWatch::look_after(const Outcome& outcome) {
    const std::set<std::string> removed = keys_of(outcome.changes.removed);
    std::erase_if(to_log_in_, [&](const records::Record& node) {
        return removed.contains(key_of(node)) || outcome.taken.contains(key_of(node));
    });
    std::vector<records::Record> missing;
    for (const auto& [key, node] : outcome.taken) {
        if (host_.count_sessions(records::node_id(node)) != 0) {
            missing.push_back(node);
        }
    }
    if (missing.empty()) {
        co_return;
    }
    auto writing = [&] {
        const records::Store store = store_aside();
        base::Result<void> all;
        for (const records::Record& node : missing) {
            records::Warnings ignored;
            if (store.node(records::node_id(node), ignored)) {
                continue; // somebody made it anew
            }
            if (auto written = store.write_node(node); !written) {
                all = base::fail(std::move(written.error()));
            }
        }
        return all;
    };
    ring::Aside write(host_.loop(), writing);
    auto written = co_await write;
    for (const records::Record& node : missing) {
        log::warning("{}: {}: a login began while its record was removed: {}", title_,
                     text(records::node_id(node)),
                     written ? std::string("it is put back") : written.error().message());
    }
    look_again_soon();
}

void DiscoveryWatch::say(const records::DiscoveryChanges& changes) const {
    for (const records::NodeId& id : changes.added) {
        log::event(about_node(id, ipc::Event::target_found), "{}: new: {}", title_, text(id));
    }
    for (const records::NodeId& id : changes.removed) {
        log::event(about_node(id, ipc::Event::target_gone), "{}: gone, its record is removed: {}", title_,
                   text(id));
    }
}

void DiscoveryWatch::note_absences(const std::vector<records::NodeId>& lacking,
                                   const std::set<std::string>& present) {
    const Absences::News news = absences_.note(lacking, present);
    const auto grace =
        std::chrono::duration_cast<std::chrono::seconds>(poll_interval().value_or(grace_default));
    for (const records::NodeId& id : news.missed) {
        log::event(about_node(id, ipc::Event::target_missing),
                   "{}: not in the answer: {}; it is gone when an answer in {} s lacks it, too", title_,
                   text(id), grace.count());
    }
    for (const records::NodeId& id : news.back) {
        log::event(about_node(id, ipc::Event::target_back), "{}: there again: {}", title_, text(id));
    }
    if (news.emptied != 0) {
        log::warning(
            "{}: the answer is empty, where {} portal(s) were known: it is believed when an answer in "
            "{} s is empty, too",
            title_, news.emptied, grace.count());
    }
}

/// Logs out of sessions whose portals are gone; true when one has ended.
ring::Task<bool> DiscoveryWatch::end_sessions(const std::vector<records::NodeId>& gone) {
    bool ended_some = false;
    std::multimap<std::string, std::uint32_t> sids;
    for (const auto& [sid, id] : host_.sessions()) {
        sids.emplace(portal_key(id), sid);
    }
    for (const records::NodeId& id : gone) {
        const std::string key = portal_key(id);
        const auto [first, last] = sids.equal_range(key);
        for (auto session = first; session != last; ++session) {
            if (!kept_.contains(key)) {
                log::event(about_node(id, ipc::Event::target_gone), "{}: gone, to be logged out of: {}",
                           title_, text(id));
            }
            auto ended = co_await host_.end_session_if_unused(session->second);
            ended_some = ended_some || ended;
            if (ended) {
                continue;
            }
            std::string why = ended.error().message();
            std::string& known_why = kept_[key];
            if (std::exchange(known_why, why) != why) {
                log::event(about_node(id, ipc::Event::target_kept), "{}: gone, but kept: {}: {}", title_,
                           text(id), why);
            }
            look_again_soon();
        }
    }
    co_return ended_some;
}

} // namespace iscsi::control
