// SIGUSR1: what everything is at, for people who look for the reason why something stands still. So it waits
// for nothing that may stand still itself: a shard that does not answer is a line, too.
#include "control/about.hpp"
#include "control/daemon.hpp"
#include "control/log.hpp"
#include "control/state_lines.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <list>
#include <memory>
#include <utility>

namespace iscsi::control {
namespace {

/// For the shards' answers, which take no longer than a turn of their loops.
constexpr base::Duration answer_time_max = std::chrono::seconds(2);
/// Whoever reads the log has to keep up: what it has no room for is lost.
constexpr std::size_t lines_at_a_time = 64;
constexpr base::Duration pause_between = std::chrono::milliseconds(20);

/// What is asked of a shard: on control's side, what lives there.
struct Asked {
    std::uint32_t sid;
    std::size_t queue;
    shard::Nexus* nexus;
    std::vector<std::pair<base::Lun, std::shared_ptr<ServedLun>>> units;
};

/// What they have answered, as long as anybody waits for that or answers.
struct Answers {
    std::vector<std::optional<ShardView>> shards;
    std::size_t missing = 0;
    ring::Event complete;
};

/// On the shard.
ShardView look(shard::Shard& shard, const std::vector<Asked>& asked) {
    ShardView view;
    view.pool = {shard.pool().size(), shard.pool().claimed(), shard.pool().waiting()};
    for (const Asked& one : asked) {
        MemberView& member = view.members[{one.sid, one.queue}];
        member.nexus = one.nexus->view();
        for (const auto& [lun, served] : one.units) {
            if (served->lun != nullptr) {
                member.luns.emplace(lun, served->lun->view());
            }
        }
    }
    return view;
}

ring::Task<void> ask_shard(ring::Loop& loop, shard::Shard& shard, std::vector<ManagedSession*> members,
                           std::size_t index, std::shared_ptr<Answers> answers) {
    std::list<ManagedSession::Use> uses; // they stay until they were looked at
    std::vector<Asked> asked;
    for (ManagedSession* member : std::exchange(members, {})) {
        uses.emplace_back(*member);
        const std::vector<ManagedSession*> all = family(*member);
        const auto queue = static_cast<std::size_t>(std::ranges::find(all, member) - all.begin());
        Asked& one = asked.emplace_back(Asked{member->sid, queue, member->nexus.get(), {}});
        for (const auto& served : member->units()) {
            one.units.emplace_back(served->facts.lun, served);
        }
    }
    auto work = [&shard, &asked] { return look(shard, asked); };
    ring::Call call(loop, shard.loop(), work);
    ShardView view = co_await call;
    answers->shards[index] = std::move(view);
    if (--answers->missing == 0) {
        answers->complete.set();
    }
}

} // namespace

void Daemon::tell_state() {
    if (stopping_ || std::exchange(telling_state_, true)) {
        return;
    }
    recoveries_.spawn(log_state());
}

ring::Task<void> Daemon::log_state() {
    auto answers = std::make_shared<Answers>();
    answers->shards.resize(shards_.size());
    answers->missing = shards_.size();
    std::vector<std::vector<ManagedSession*>> members(shards_.size());
    for (std::uint32_t sid : registry_.sids()) {
        for (ManagedSession* member : family(*registry_.find(sid))) {
            const auto place = std::ranges::find_if(
                shards_, [&](const auto& shard) { return shard.get() == &member->shard; });
            if (member->nexus != nullptr) {
                members[static_cast<std::size_t>(place - shards_.begin())].push_back(member);
            }
        }
    }
    for (std::size_t i = 0; i < shards_.size(); ++i) {
        recoveries_.spawn(ask_shard(*loop_, *shards_[i], std::move(members[i]), i, answers));
    }
    ring::EventOrDeadline waiting(*loop_, answers->complete, loop_->now() + answer_time_max);
    co_await waiting;
    const std::vector<StateLine> lines = state_lines(answers->shards);
    for (std::size_t i = 0; i < lines.size(); ++i) {
        log::write(log::Level::info, lines[i].about, fmt::format("state: {}", lines[i].text));
        if ((i + 1) % lines_at_a_time == 0) {
            ring::Sleep pause(*loop_, loop_->now() + pause_between);
            co_await pause;
        }
    }
    telling_state_ = false;
}

/// Of what there is now: while shards were waited for sessions may have come and gone.
std::vector<StateLine> Daemon::state_lines(const std::vector<std::optional<ShardView>>& shards) {
    using State = ManagedSession::State;
    const std::vector<std::uint32_t> sids = registry_.sids();
    std::vector<StateLine> lines;
    lines.push_back(
        {.text = fmt::format("iscsid {}: {} session(s): {} logging in, {} running, {} recovering, {} ending",
                             ISCSI_VERSION, sids.size(), registry_.count(State::logging_in),
                             registry_.count(State::running), registry_.count(State::recovering),
                             registry_.count(State::ending))});
    ShardView views;
    for (std::size_t i = 0; i < shards.size(); ++i) {
        lines.push_back({.text = shard_line(i, shards_[i]->sessions, shards[i])});
        if (shards[i]) {
            views.members.insert(shards[i]->members.begin(), shards[i]->members.end());
        }
    }
    const Moment moment{loop_->now(), ring::boot_time_now()};
    std::size_t told = 0;
    for (; told < sids.size() && lines.size() < state_lines_max; ++told) {
        ManagedSession& session = *registry_.find(sids[told]);
        for (std::string& line : session_lines(session, views, moment)) {
            lines.push_back({about(session), std::move(line)});
        }
    }
    lines.push_back({.text = told == sids.size() ? std::string("that is all")
                                                 : fmt::format("and {} more sessions", sids.size() - told)});
    return lines;
}

} // namespace iscsi::control
