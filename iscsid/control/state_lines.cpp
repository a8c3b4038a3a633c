#include "control/state_lines.hpp"

#include "base/text.hpp"
#include "records/fields.hpp"
#include "scsi/capacity.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <fmt/format.h>
#include <string_view>

namespace iscsi::control {
namespace {

using records::Key;
using State = ManagedSession::State;

constexpr std::size_t text_bytes_max = 512;

// In the order of the enumerators.
constexpr std::array<std::string_view, 4> state_words{"logging in", "running", "recovering", "ending"};
constexpr std::array<std::string_view, 3> path_words{"down", "up", "failed"};
constexpr std::array<std::string_view, 5> step_words{"none", "ABORT TASK", "LOGICAL UNIT RESET",
                                                     "TARGET WARM RESET", "the session ends"};

template <class Words, class Value>
std::string_view word(const Words& words, Value value) {
    return words.at(static_cast<std::size_t>(value));
}

/// "12.3 s".
std::string seconds(base::Duration duration) {
    return fmt::format("{:.1f} s", std::chrono::duration<double>(duration).count());
}

std::string in(base::Duration duration) {
    return duration > base::Duration{} ? "in " + seconds(duration) : std::string("now");
}

/// Since when, how often, and what comes next.
std::string trouble(const ManagedSession& session, Moment moment) {
    std::string text;
    if (session.down_since) {
        text += ", down for " + seconds(moment.boot_time - *session.down_since);
        const auto timeout = session.node.number(Key::session_replacement_timeout);
        const base::Duration left = std::chrono::seconds(timeout) - (moment.boot_time - *session.down_since);
        text += session.overdue ? ", I/O fails"
                : timeout < 0   ? ", I/O waits for ever"
                                : ", I/O fails " + in(left);
    }
    if (session.state == State::recovering || session.state == State::logging_in) {
        text += fmt::format(", try {}", session.tries);
        text += session.next_try_at ? ", the next one " + in(*session.next_try_at - moment.now) : "";
    }
    if (session.down_since && !session.last_error.empty()) {
        text += ", last error: " + base::printable(session.last_error, text_bytes_max);
    }
    return text;
}

/// What somebody is at work on, or waits for.
std::string doings(const ManagedSession& session) {
    std::string text;
    const auto add = [&text](bool is_so, std::string_view words) {
        if (is_so) {
            text += ", ";
            text += words;
        }
    };
    add(session.dropped && session.state != State::recovering, "its connection is lost");
    add(session.leaving, "a logout is under way");
    add(session.rescanning, "a rescan is under way");
    add(!session.attaching.empty(), fmt::format("{} unit(s) being shown", session.attaching.size()));
    add(session.stranded.has_value(), "the target may execute late what was lost");
    add(session.rival != nullptr, "a login beside its own is in progress");
    add(!session.absent.empty(), fmt::format("{} unit(s) cannot be shown", session.absent.size()));
    add(!session.orphans.empty(), fmt::format("{} device(s) not taken back", session.orphans.size()));
    return text;
}

std::string place(const ManagedSession& session) {
    const std::string connection =
        session.endpoint.text.empty()
            ? std::string("nowhere yet")
            : fmt::format("{} port {}", session.endpoint.text, session.endpoint.port);
    return fmt::format("{}, at {}, ISID {:012x}, TSIH {}", base::printable(session.title(), text_bytes_max),
                       connection, session.isid.value(), session.opened.tsih.value());
}

std::string connection_words(const shard::NexusView& nexus) {
    std::string text = fmt::format("path {}", word(path_words, nexus.path));
    if (!nexus.session) {
        return text + ", no session on a connection";
    }
    const session::View& view = *nexus.session;
    text += fmt::format(", CmdSN {} ExpCmdSN {} MaxCmdSN {} (window: {}), ExpStatSN {}",
                        view.next_cmd_sn.value(), view.exp_cmd_sn.value(), view.max_cmd_sn.value(),
                        view.next_cmd_sn.after(view.max_cmd_sn) ? 0 : view.max_cmd_sn - view.next_cmd_sn + 1,
                        view.exp_stat_sn.value());
    text += fmt::format(", commands: {} at the target, {} queued, {} held back", view.at_target, view.queued,
                        view.held);
    text += ", heard of the target " + seconds(view.silent_for) + " ago";
    text += ", NOP-Out: " +
            (view.ping_for ? "unanswered for " + seconds(*view.ping_for) : std::string("none out"));
    text += fmt::format(", task management: {}", word(step_words, view.step));
    text += view.timer_in ? ", next timer " + in(*view.timer_in) : std::string(", no timer");
    text += view.is_logging_out ? ", logging out" : "";
    return text;
}

std::string unit_words(const ServedLun& served, const shard::LunView* view) {
    std::string text = fmt::format("{} requests in hand", served.statistics.in_hand());
    if (view == nullptr) {
        return text + ", not on its shard";
    }
    text += fmt::format(
        " ({} begun, {} not begun), commands: {} of {} at the target, {} for room, {} parked, {} delayed",
        view->in_hand, view->not_begun, view->at_target, view->allowed, view->for_room, view->parked,
        view->delayed);
    text += fmt::format(", {} sent again, {} after a lost session, {} failed", view->retries, view->replays,
                        view->failures);
    text += view->barred ? ", barred: another unit answers in its place, or none" : "";
    text += view->in_doubt ? ", in doubt: nothing is sent until it was looked at" : "";
    text += view->timer_in ? ", next timer " + in(*view->timer_in) : "";
    return text;
}

std::string device_of(const ServedLun& served) {
    return served.device == nullptr ? "a queue of the device"
                                    : base::printable(served.device->path(), text_bytes_max);
}

void add_queue(std::vector<std::string>& lines, const ManagedSession& member, std::size_t queue,
               const ShardView& views) {
    const std::string title = fmt::format("session {} queue {}", member.sid, queue);
    const auto found = views.members.find({member.sid, queue});
    if (found == views.members.end()) {
        lines.push_back(title +
                        (member.nexus == nullptr ? ": not made yet" : ": its shard has not answered"));
        return;
    }
    lines.push_back(fmt::format(
        "{}: {}{}", title, connection_words(found->second.nexus),
        found->second.nexus.may_have_stranded ? ", commands of a lost connection may be at the target" : ""));
    std::size_t units = 0;
    for (const auto& served : member.units()) {
        if (++units > state_units_max) {
            continue;
        }
        const auto lun = found->second.luns.find(served->facts.lun);
        lines.push_back(
            fmt::format("{} LUN {}: {}, {}", title, scsi::lun_number(served->facts.lun), device_of(*served),
                        unit_words(*served, lun == found->second.luns.end() ? nullptr : &lun->second)));
    }
    if (units > state_units_max) {
        lines.push_back(fmt::format("{}: and {} more units", title, units - state_units_max));
    }
}

} // namespace

std::string shard_line(std::size_t index, std::size_t sessions, const std::optional<ShardView>& view) {
    if (!view) {
        return fmt::format("shard {}: {} session(s), it has not answered in time", index, sessions);
    }
    return fmt::format(
        "shard {}: {} session(s), buffer pool: {} of {} bytes in use, {} queue(s) wait for memory", index,
        sessions, view->pool.claimed, view->pool.bytes, view->pool.waiting);
}

std::vector<std::string> session_lines(ManagedSession& session, const ShardView& views, Moment moment) {
    std::vector<std::string> lines;
    lines.push_back(fmt::format("session {}: {}, {} unit(s), {} login(s), {} recoveries, {} in vain, {}{}{}",
                                session.sid, word(state_words, session.state), session.luns.size(),
                                session.openings, session.recoveries, session.failed_recoveries,
                                place(session), trouble(session, moment), doings(session)));
    std::size_t queue = 0;
    for (const ManagedSession* member : family(session)) {
        if (queue != 0) {
            lines.push_back(fmt::format("session {} queue {}: {}, {} login(s), {}{}{}", session.sid, queue,
                                        word(state_words, member->state), member->openings, place(*member),
                                        trouble(*member, moment), doings(*member)));
        }
        add_queue(lines, *member, queue++, views);
    }
    return lines;
}

} // namespace iscsi::control
