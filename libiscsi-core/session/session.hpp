// Full feature phase of one session with one connection, at ErrorRecoveryLevel 0: commands in, completions
// out, and the byte stream of the connection in between. It is an Engine: no socket, no clock, nothing waits,
// and nothing allocates after the constructor. Commands and the memory their data spans name belong to the
// submitter, as do sinks, and are lent to the session from submit() until next_completion() gives them back.
//
// What belongs to the session (command window, tasks) and what belongs to a connection (StatSN, digests,
// segment limits, the stream) are two types, see connection.hpp. One thread. RFC 7143 sections 4.2, 7 and 11.
#pragma once

#include "base/engine.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "base/units.hpp"
#include "session/command.hpp"
#include "session/command_queue.hpp"
#include "session/connection.hpp"
#include "session/event.hpp"
#include "session/recovery.hpp"
#include "session/statistics.hpp"
#include "session/tasks.hpp"
#include "session/view.hpp"
#include "session/window.hpp"
#include "wire/bhs.hpp"
#include "wire/parameters.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace iscsi::session {

/// R2Ts that one task may have open: memory is set aside for so many. Login must not offer a larger
/// MaxOutstandingR2T; what exceeds it ends the connection.
inline constexpr std::uint16_t outstanding_r2t_max = 64;

/// Statuses received without any PDU of ours to acknowledge them before a NOP-Out does it alone
/// (RFC 7143 section 11.18).
inline constexpr std::uint32_t unacknowledged_max = 256;

struct SessionConfig {
    wire::SessionParameters session;
    wire::ConnectionParameters connection;
    wire::SequenceNumbers numbers;
    base::Cid cid;
    std::uint32_t tasks = 128;         ///< commands at the target at a time: a power of two, 2 to 2048
    base::Duration nop_out_interval{}; ///< silence after which we ping; 0 = never
    base::Duration nop_out_timeout{};  ///< further silence that ends the connection; 0 = never
    base::Duration logout_timeout{};   ///< for the Logout Response; 0 = for ever
    RecoveryTimeouts recovery;
};

class Session final : public base::Engine {
public:
    Session(const SessionConfig& config, base::TimePoint now);

    /// Takes a command; never fails. It waits here while no task is free, the command window is closed, or
    /// task management is at work on its unit; units take turns then, see CommandQueue. It ends as
    /// Outcome::lost when the connection ends first, at once when it has ended or logs out. A command without
    /// data has Direction::none or empty spans; data is at most 2^32-1 bytes.
    void submit(Command& command, base::TimePoint now);

    /// A command that ended, nullptr when there is none. The order is that in which they ended.
    Command* next_completion() { return completed_.pop(); }

    std::optional<Event> next_event() { return events_.pop(); }

    /// Asks the target to close the session: Logout goes out as soon as the PDUs already made have gone.
    /// Commands the target has not seen end as lost now; those it has may still be answered. Again: no
    /// effect.
    void begin_logout(base::TimePoint now);
    /// The Logout Response came (its code is in the event): close the connection, then abandon().
    bool logged_out() const { return logged_out_; }

    /// The connection is gone, and nothing of ours is in flight on it any more: all commands end as lost,
    /// those of a unit in the order of submission, except those whose status had come. Nothing is sent or
    /// taken afterwards.
    void abandon();

    /// Commands the target knows of.
    std::size_t active() const { return tasks_.used(); }
    /// Nothing is owed to anybody: no command submitted has yet to be given back.
    bool idle() const { return active() == 0 && waiting_.empty() && held_.empty() && completed_.empty(); }
    const CommandWindow& window() const { return window_; }
    base::StatSn exp_stat_sn() const { return connection_.exp_stat_sn; }
    const Statistics& statistics() const { return statistics_; }
    /// It walks along all that wait.
    View view(base::TimePoint now) const;
    const wire::SessionParameters& session_parameters() const { return parameters_; }
    const wire::ConnectionParameters& connection_parameters() const { return connection_.parameters; }

    base::RxSpans rx_spans() override;
    base::Result<void> rx_done(std::size_t n, base::TimePoint now) override;
    std::span<iovec> tx_spans(std::span<iovec> out) override;
    base::RegisteredSpan tx_registered(std::size_t behind) const override {
        return connection_.transmitter.registered(behind);
    }
    void tx_done(std::size_t n) override;
    base::Deadline deadline() const override;
    base::Result<void> at(base::TimePoint now) override;

private:
    // outbound.cpp: what goes out, in this order.
    bool send_next();
    bool send_urgent();
    bool send_sequences();
    bool send_data_out(DataOutSequence& sequence);
    void send_command(Command& command);
    void end_with_data(const Task& task, std::uint32_t offset, std::uint32_t bytes);
    void send_nop_out(std::uint32_t itt, Pong answered);
    void send_logout();
    void send_task_management();

    // inbound.cpp: tasks.
    base::Result<void> take_pdus();
    base::Result<void> on_header();
    base::Result<void> on_pdu();
    base::Result<void> before_data_in(const wire::DataIn& pdu);
    base::Result<void> on_data_in(const wire::DataIn& pdu);
    base::Result<void> on_scsi_response(const wire::ScsiResponse& pdu);
    base::Result<void> on_r2t(const wire::R2t& pdu);
    base::Result<void> take_residual(Task& task, std::uint8_t flags, std::uint32_t count);
    base::Result<void> take_sense(Command& command);
    /// The target broke a rule, and with it the session ends.
    static tl::unexpected<base::Error> violation(std::string detail);
    /// Likewise, in what it had to say about this command, which bears the blame.
    static tl::unexpected<base::Error> violation(Command& command, std::string detail);
    void blame_task_of_header();
    base::Result<void> unless_aborted(std::string_view pdu, std::uint32_t itt) const;
    void finish(Task& task, Outcome outcome);
    void complete(Task& task);

    // control.cpp: everything that is not a task.
    base::Result<void> on_nop_in(const wire::NopIn& pdu);
    base::Result<void> on_async(const wire::AsyncMessage& pdu);
    base::Result<void> on_reject(const wire::Reject& pdu);
    base::Result<void> on_logout_response(const wire::LogoutResponse& pdu);
    base::Deadline ping_deadline() const;
    base::Result<void> on_silence(base::TimePoint now);
    void lose(Command& command);
    void lose_waiting();

    // recovery.cpp: commands whose time is over.
    base::Deadline recovery_deadline() const;
    void watch(Task& task);
    void note_blocked();
    base::Result<void> on_time_over();
    base::Result<void> check_tasks();
    base::Deadline time_deadline() const;
    bool has_moved(const Task& task);
    Task* oldest_overdue();
    void put_off_overdue();
    base::Result<void> escalate();
    bool covers(const Command& command) const;
    void hold_back();
    void conclude_management();
    void end_covered_tasks();
    base::Result<void> on_task_management_response(const wire::TaskManagementResponse& pdu);
    base::Result<void> on_management_rejected(std::uint32_t itt, wire::RejectReason reason);

    // Session-wide.
    const wire::SessionParameters parameters_;
    CommandWindow window_;
    TaskTable tasks_;
    SequenceQueue sequences_;      ///< answers to R2Ts
    CommandQueue waiting_;         ///< submitted, without a task yet
    CommandList held_;             ///< those before them that wait for the end of task management
    std::uint32_t long_reads_ = 0; ///< tasks whose data are better received in their place than in staging
    CommandList completed_;        ///< ended, not given back yet
    EventQueue events_;

    // Of the connection.
    Connection connection_;
    DataOutSequence unsolicited_;  ///< of the command sent last; goes before any later command
    bool command_is_next_ = false; ///< the PDU before was data that an R2T has asked for
    Statistics statistics_;
    const base::Duration nop_out_interval_;
    const base::Duration nop_out_timeout_;
    const base::Duration logout_timeout_;
    const RecoveryTimeouts recovery_timeouts_;
    const std::uint32_t data_out_bytes_max_;

    base::TimePoint now_;          ///< as it was told last
    base::Deadline check_at_;      ///< no task's time is over before
    base::Deadline blocked_until_; ///< commands wait for a closed window and nothing else would open it
    TaskManagement management_;

    bool ended_ = false; ///< an error was reported, or the connection abandoned
    bool logging_out_ = false;
    bool logout_sent_ = false;
    bool logged_out_ = false;
    std::uint32_t logout_itt_ = 0;
    base::TimePoint logout_since_;
};

} // namespace iscsi::session
