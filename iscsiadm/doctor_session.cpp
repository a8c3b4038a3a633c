// The steps of a session that lives: is it there, with all its queues, and how was it made?
#include "base/text.hpp"
#include "doctor.hpp"
#include "print.hpp"
#include "records/text.hpp"
#include "words.hpp"

#include <fmt/format.h>
#include <string>
#include <string_view>

namespace iscsi::adm {
namespace {

using base::Errc;

/// Of a session, or of one of its queues: `what` is lost.
template <class T>
bool add_lost(DoctorReport& report, std::string_view step, std::string_view what, const T& lost,
              std::int64_t recovery_s) {
    const std::string down = lost.down_s ? " for " + duration_words(*lost.down_s) : std::string();
    const std::string why = lost.last_error.empty() ? "" : ": " + base::printable(lost.last_error);
    const std::string wait = recovery_s < 0
                                 ? "I/O waits until it is back"
                                 : fmt::format("I/O waits {} s from the loss on, and fails then", recovery_s);
    return report.add(step_wrong(step, Errc::session_not_connected,
                                 fmt::format("{} is lost{}{}", what, down, why),
                                 "iscsid logs in again as soon as the target lets it; " + wait));
}

/// The others go on without one that is lost, so the chain does not end with it.
bool look_at_queues(DoctorReport& report, const ipc::SessionSnapshot& session) {
    bool all_up = true;
    for (const ipc::QueueSnapshot& queue : session.queues) {
        if (queue.session_state != ipc::SessionState::logged_in) {
            all_up = false;
            add_lost(report, "queue", fmt::format("queue {} of {}", queue.number, session.queues.size() + 1),
                     queue, session.timeouts.recovery_s);
        }
    }
    if (all_up && !session.queues.empty()) {
        report.add(step_ok("queue", fmt::format("all {} have a session", session.queues.size() + 1)));
    }
    return all_up;
}

} // namespace

bool look_at_session(DoctorReport& report, const ipc::SessionSnapshot& session) {
    const std::string age = session.age_s ? " for " + duration_words(*session.age_s) : std::string();
    if (session.session_state != ipc::SessionState::logged_in) {
        return add_lost(report, "session", std::to_string(session.sid), session, session.timeouts.recovery_s);
    }
    report.add(step_ok("connection",
                       fmt::format("to {} from {}",
                                   records::address_port({session.current.address, session.current.port, -1}),
                                   base::printable(std::string(or_empty(session.iface.ip_address)), 64))));
    report.add(step_ok("CHAP", session.authentication == "None" ? "none was asked for"
                                                                : session.authentication + " was done"));
    report.add(
        step_ok("session", fmt::format("{} is logged in{}, digests: header {}, data {}", session.sid, age,
                                       session.negotiated.header_digest, session.negotiated.data_digest)));
    const bool all_queues = look_at_queues(report, session);
    return look_at_devices(report, session) && all_queues;
}

} // namespace iscsi::adm
