// discoveryd on virtual time: a record database of its own, a daemon that does what it is asked and keeps
// what that was, and an iSNS server. The scene owns all of it; one thread.
#pragma once

#include "control/discoveryd.hpp"
#include "control/log_lines.hpp"
#include "records/fields.hpp"
#include "sim/isns_server.hpp"
#include "unit/records/temp_store.hpp"

#include <catch2/catch.hpp>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace iscsi::sim {

using records::Key;

/// What discoveryd asks of the daemon, with when.
class DiscoveryBench final : public control::DiscoveryHost {
public:
    DiscoveryBench(Stage& stage, ring::Loop& loop) : stage_(stage), loop_(loop) {}

    // What there is.
    std::optional<std::vector<std::string>> answer; ///< target names at 192.0.2.9; empty: nobody answers
    std::set<std::string> used;                     ///< targets whose devices somebody uses
    std::set<std::string> unreachable;              ///< targets that cannot be logged in to
    std::set<std::string> hanging;                  ///< targets whose logins do not end
    std::map<std::uint32_t, records::NodeId> running;
    /// Called with each target of which was asked how many sessions it has, when that has been counted.
    std::function<void(const std::string&)> on_counted;

    // What was asked.
    std::vector<base::TimePoint> asked;
    std::vector<std::string> asked_at; ///< the addresses
    std::vector<std::pair<base::TimePoint, std::string>> logins;
    std::vector<std::pair<base::TimePoint, std::string>> logouts;

    ring::Loop& loop() override { return loop_; }
    const records::InitiatorName& initiator() const override { return me_; }
    ring::Task<base::Result<base::DiscoveredTargets>>
    ask(const records::Record& discovery, const records::Record&, control::Interrupt&) override {
        asked.push_back(stage_.now);
        asked_at.push_back(discovery.text(Key::discovery_address));
        if (!answer) {
            co_return base::fail(base::Errc::transport, "nobody is there");
        }
        base::DiscoveredCollector found;
        for (const std::string& target : *answer) {
            REQUIRE(found.add({target, "192.0.2.9", 3260, 1}));
        }
        co_return found.take();
    }
    std::vector<std::pair<std::uint32_t, records::NodeId>> sessions() const override {
        return {running.begin(), running.end()};
    }
    std::size_t count_sessions(const records::NodeId& id) const override {
        std::size_t count = 0;
        for (const auto& [sid, other] : running) {
            count += other.target == id.target ? 1 : 0;
        }
        if (on_counted) {
            on_counted(id.target);
        }
        return count;
    }
    ring::Task<base::Result<void>> begin_session(records::Record node, bool) override {
        const records::NodeId id = records::node_id(node);
        logins.emplace_back(stage_.now, id.target);
        while (hanging.contains(id.target)) {
            ring::Sleep pause(loop_, stage_.now + std::chrono::seconds(1));
            co_await pause;
        }
        if (unreachable.contains(id.target)) {
            co_return base::fail(base::Errc::transport, "no route");
        }
        start_session(id.target);
        co_return base::Result<void>();
    }
    void start_session(const std::string& target) {
        running.emplace(next_sid_++, records::NodeId{target, {"192.0.2.9", 3260, 1}, "default"});
    }
    ring::Task<base::Result<void>> end_session_if_unused(std::uint32_t sid) override {
        const std::string target = running.at(sid).target;
        logouts.emplace_back(stage_.now, target);
        if (used.contains(target)) {
            co_return base::fail(base::Errc::busy, "/mnt");
        }
        running.erase(sid);
        co_return base::Result<void>();
    }

private:
    Stage& stage_;
    ring::Loop& loop_;
    records::InitiatorName me_{"iqn.2026-01.example:me", ""};
    std::uint32_t next_sid_ = 1;
};

struct DiscoveryScene {
    DiscoveryScene() {
        std::filesystem::create_directories(store.store.paths().db_dir());
        std::filesystem::create_directories(store.store.paths().lock_dir());
    }
    ~DiscoveryScene() {
        discoveryd.end();
        for (int minutes = 0; !procedures.empty() && minutes < 10; ++minutes) {
            pass(std::chrono::minutes(1));
        }
        CHECK(procedures.empty());
    }
    DiscoveryScene(const DiscoveryScene&) = delete;
    DiscoveryScene& operator=(const DiscoveryScene&) = delete;

    static constexpr auto send_targets = records::RecordKind::send_targets;
    static constexpr auto isns = records::RecordKind::isns;

    void begin() { procedures.spawn(discoveryd.run()); }
    void pass(base::Duration time) {
        const base::TimePoint until = stage.now + time;
        while (stage.now < until) {
            loop->turn(until);
        }
    }
    /// A discovery record that says use_discoveryd.
    void watch(records::RecordKind kind, const std::string& seconds, const std::string& at = "192.0.2.1",
               const std::string& use = "Yes") {
        const bool is_isns = kind == isns;
        auto discovery = records::make_discovery(
            records::Record(kind), {at, is_isns ? records::isns_port : records::iscsi_port, -1});
        REQUIRE(discovery);
        REQUIRE(discovery->set(is_isns ? Key::isns_use_discoveryd : Key::discovery_use_discoveryd, use));
        REQUIRE(discovery->set(is_isns ? Key::isns_poll_interval : Key::discovery_poll_interval, seconds));
        REQUIRE(store.store.write_discovery(*discovery));
    }
    /// The targets of all records.
    std::vector<std::string> nodes() const {
        records::Warnings warnings;
        auto stored = store.store.nodes({}, warnings);
        REQUIRE(stored);
        std::vector<std::string> names;
        for (const records::Record& node : *stored) {
            names.push_back(node.text(Key::node_name));
        }
        return names;
    }
    std::vector<std::string> sessions() const {
        std::vector<std::string> names;
        for (const auto& [sid, id] : host.running) {
            names.push_back(id.target);
        }
        return names;
    }

    test::LogLines log;
    Stage stage{1, false};
    Kernel kernel{stage};
    std::unique_ptr<ring::Loop> loop = std::move(*ring::Loop::create());
    IsnsServer server{kernel};
    DiscoveryBench host{stage, *loop};
    records::test::TempStore store;
    control::Discoveryd discoveryd{host, store.store.paths(), store.root.path() + "/no-such-file"};
    ring::TaskGroup procedures;
};

} // namespace iscsi::sim
