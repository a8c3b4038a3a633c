#include "control/discoveryd.hpp"

#include "base/names.hpp"
#include "control/log.hpp"
#include "records/fields.hpp"
#include "ring/aside.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <utility>

namespace iscsi::control {
namespace {

using records::Key;
using records::RecordKind;

/// Whoever else writes has the database for a moment only; a look is made again anyway.
constexpr std::chrono::milliseconds lock_wait = std::chrono::seconds(10);
/// An update of a record is several changes of files.
constexpr base::Duration burst_time = std::chrono::milliseconds(200);

/// Spellings of one address are one discovery.
std::string key(const records::Record& discovery) {
    const records::Portal portal = records::discovery_portal(discovery);
    return fmt::format("{} {},{}", discovery.kind() == RecordKind::isns ? "isns" : "send_targets",
                       base::comparable_host(portal.address), portal.port);
}

} // namespace

Discoveryd::Discoveryd(DiscoveryHost& host, records::Paths paths, std::string config_file)
    : host_(host), paths_(std::move(paths)), config_file_(std::move(config_file)), store_(paths_, lock_wait),
      changes_(host.loop(), paths_) {}

ring::Task<void> Discoveryd::run() {
    auto opened = changes_.open();
    if (!opened) {
        log::warning("changes of discovery records are not noticed: {}", opened.error().message());
    }
    while (!ending_.is_set()) {
        auto reading = [this] {
            changes_.watch_all();
            return read_watched();
        };
        ring::Aside read(host_.loop(), reading);
        auto wanted = co_await read;
        if (ending_.is_set()) {
            break;
        }
        match(std::move(wanted));
        if (!opened) {
            co_await ending_;
            break;
        }
        co_await changes_.changed();
        const base::TimePoint burst_end = host_.loop().now() + burst_time;
        ring::EventOrDeadline burst(host_.loop(), ending_, burst_end);
        co_await burst;
    }
    co_await following_.join();
    ended_.set();
}

void Discoveryd::end() {
    ending_.set();
    changes_.end();
    for (const auto& [name, watch] : watches_) {
        watch->end();
    }
}

/// On a thread aside.
std::vector<records::Record> Discoveryd::read_watched() const {
    std::vector<records::Record> watched;
    for (RecordKind kind : {RecordKind::send_targets, RecordKind::isns}) {
        records::Warnings ignored; // iscsiadm says them
        auto discoveries = store_.discoveries(kind, ignored);
        if (!discoveries) {
            continue;
        }
        const Key use = kind == RecordKind::isns ? Key::isns_use_discoveryd : Key::discovery_use_discoveryd;
        std::ranges::copy_if(*discoveries, std::back_inserter(watched),
                             [&](const records::Record& discovery) { return discovery.boolean(use); });
    }
    return watched;
}

/// Of two records for one address the first is followed: each would take away what the other brings in.
std::vector<records::Record> Discoveryd::without_repetitions(std::vector<records::Record> wanted) {
    std::vector<records::Record> kept;
    std::set<std::string> repeated;
    for (records::Record& discovery : wanted) {
        const auto first = std::ranges::find(kept, key(discovery), key);
        if (first == kept.end()) {
            kept.push_back(std::move(discovery));
            continue;
        }
        const std::string pair =
            fmt::format("{} and {}", records::address_port(records::discovery_portal(*first)),
                        records::address_port(records::discovery_portal(discovery)));
        if (!repeated_.contains(pair)) {
            log::warning("{} are two spellings of one address: the first record is followed", pair);
        }
        repeated.insert(pair);
    }
    repeated_ = std::move(repeated);
    return kept;
}

/// A watch that is ending keeps its place until it has ended: two would be in each other's way.
void Discoveryd::match(std::vector<records::Record> wanted) {
    wanted_ = without_repetitions(std::move(wanted));
    for (const auto& [name, watch] : watches_) {
        if (std::ranges::find(wanted_, name, key) == wanted_.end()) {
            watch->end();
        }
    }
    for (const records::Record& discovery : wanted_) {
        auto& watch = watches_[key(discovery)];
        if (!watch) {
            watch = std::make_unique<DiscoveryWatch>(host_, store_, config_file_, discovery);
            following_.spawn(follow(key(discovery)));
        } else if (watch->discovery() != discovery) {
            watch->change(discovery);
        }
    }
}

ring::Task<void> Discoveryd::follow(std::string name) {
    co_await watches_.at(name)->run();
    // Perhaps from within its end(), by somebody who goes through all of them.
    ring::Sleep later(host_.loop(), host_.loop().now());
    co_await later;
    watches_.erase(name);
    if (!ending_.is_set()) {
        match(std::exchange(wanted_, {})); // it may be wanted again
    }
}

} // namespace iscsi::control
