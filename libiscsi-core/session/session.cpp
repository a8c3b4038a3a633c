#include "session/session.hpp"

#include "base/check.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <limits>

namespace iscsi::session {
namespace {

std::size_t sequences_max(const SessionConfig& config) {
    return std::size_t{config.tasks} * std::min(config.session.max_outstanding_r2t, outstanding_r2t_max);
}

std::uint64_t milliseconds(base::Duration duration) {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

} // namespace

tl::unexpected<base::Error> Connection::status_gap(base::StatSn stat_sn) const {
    return base::fail(base::Errc::protocol,
                      fmt::format("StatSN {}, expected {}", stat_sn.value(), exp_stat_sn.value()));
}

Session::Session(const SessionConfig& config, base::TimePoint now)
    : parameters_(config.session),
      window_(config.numbers.cmd_sn, config.numbers.exp_cmd_sn, config.numbers.max_cmd_sn),
      tasks_(config.tasks), sequences_(sequences_max(config)),
      connection_(config.connection, config.cid, config.numbers.exp_stat_sn),
      nop_out_interval_(config.nop_out_interval), nop_out_timeout_(config.nop_out_timeout),
      logout_timeout_(config.logout_timeout), recovery_timeouts_(config.recovery),
      data_out_bytes_max_(config.connection.max_xmit_data_segment_bytes & ~3U), now_(now),
      logout_itt_(logout_slot) {
    base::check(config.session.error_recovery_level == 0, "this session knows ErrorRecoveryLevel 0 only");
    base::check(data_out_bytes_max_ > 0, "the target takes data segments");
    connection_.last_receive = now;
    connection_.ping_itt = ping_slot;
}

void Session::submit(Command& command, base::TimePoint now) {
    constexpr std::size_t data_max = std::numeric_limits<std::uint32_t>::max();
    base::check(command.read_bytes() <= data_max && command.write_bytes() <= data_max,
                "a command moves less than 2^32 bytes");
    base::check(command.cdb_bytes <= command.cdb.size(), "a CDB has at most 16 bytes");
    now_ = now;
    command.outcome = Outcome::pending;
    command.response = 0;
    command.status = 0;
    command.underflow_bytes = 0;
    command.overflow_bytes = 0;
    command.received_bytes = 0;
    command.sense_bytes = 0;
    command.blamed = false;
    if (ended_ || logging_out_) [[unlikely]] {
        lose(command);
        return;
    }
    waiting_.push(command);
}

void Session::begin_logout(base::TimePoint now) {
    if (ended_ || logging_out_) {
        return;
    }
    now_ = now;
    logging_out_ = true;
    logout_since_ = now;
    conclude_management();
    lose_waiting();
}

void Session::abandon() {
    ended_ = true;
    connection_.transmitter.clear();
    sequences_.clear();
    unsolicited_ = {};
    conclude_management();
    tasks_.drain([this](Task& task) {
        // An answered task has its end already; only its bytes had not left.
        if (task.state == Task::State::answered) {
            completed_.push(*task.command);
        } else {
            lose(*task.command);
        }
    });
    lose_waiting();
}

void Session::lose(Command& command) {
    command.outcome = Outcome::lost;
    completed_.push(command);
}

void Session::lose_waiting() {
    while (Command* command = waiting_.pop()) {
        lose(*command);
    }
}

base::RxSpans Session::rx_spans() {
    if (ended_) {
        return {};
    }
    const bool lean = long_reads_ > 0 && 2 * long_reads_ >= tasks_.used();
    base::RxSpans spans = connection_.receiver.spans(lean);
    spans.promised = std::min(connection_.receiver.missing(), spans.direct.size() + spans.staging.size());
    return spans;
}

base::Result<void> Session::rx_done(std::size_t n, base::TimePoint now) {
    if (ended_) {
        return base::fail(base::Errc::cancelled, "bytes for a connection that has ended");
    }
    now_ = now;
    connection_.last_receive = now;
    statistics_.rxdata_octets += n;
    connection_.receiver.filled(n);
    base::Result<void> taken = take_pdus();
    if (!taken) [[unlikely]] {
        ended_ = true;
        statistics_.digest_err += taken.error().code == base::Errc::digest ? 1 : 0;
    }
    return taken;
}

std::span<iovec> Session::tx_spans(std::span<iovec> out) {
    if (ended_) {
        return {};
    }
    while (connection_.transmitter.has_room(out.size()) && send_next()) {
    }
    return connection_.transmitter.gather(out);
}

void Session::tx_done(std::size_t n) {
    statistics_.txdata_octets += n;
    connection_.transmitter.done(n, [this](std::uint32_t slot) {
        Task& task = tasks_.at(slot);
        if (--task.payloads_queued == 0 && task.state == Task::State::answered) {
            complete(task);
        }
    });
}

base::Deadline Session::deadline() const {
    if (ended_ || logged_out_) {
        return {};
    }
    if (logging_out_) {
        return logout_timeout_ > base::Duration{} ? base::Deadline(logout_since_ + logout_timeout_)
                                                  : base::Deadline{};
    }
    return base::earliest(base::earliest(ping_deadline(), recovery_deadline()), time_deadline());
}

base::Deadline Session::ping_deadline() const {
    if (nop_out_interval_ <= base::Duration{}) {
        return {};
    }
    if (!connection_.ping_since) {
        return connection_.last_receive + nop_out_interval_;
    }
    if (nop_out_timeout_ <= base::Duration{}) {
        return {};
    }
    return std::max(connection_.last_receive, *connection_.ping_since) + nop_out_timeout_;
}

base::Result<void> Session::at(base::TimePoint now) {
    now_ = now;
    if (!base::is_due(deadline(), now)) {
        return {};
    }
    base::Result<void> passed;
    if (logging_out_) {
        passed = base::fail(base::Errc::logout,
                            fmt::format("no Logout Response after {} ms", milliseconds(logout_timeout_)));
    } else if (base::is_due(ping_deadline(), now)) {
        passed = on_silence(now);
    }
    if (passed && base::is_due(recovery_deadline(), now)) {
        passed = on_time_over();
    }
    if (!passed) {
        ended_ = true;
        ++statistics_.timeout_err;
    }
    return passed;
}

base::Result<void> Session::on_silence(base::TimePoint now) {
    if (connection_.ping_since) {
        return base::fail(base::Errc::transport,
                          fmt::format("no answer to NOP-Out, and nothing else received, for {} ms",
                                      milliseconds(now - connection_.last_receive)));
    }
    connection_.ping_since = now;
    connection_.ping_queued = true;
    connection_.ping_itt = next_generation(connection_.ping_itt);
    return {};
}

} // namespace iscsi::session
