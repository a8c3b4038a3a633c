// The judge of the scripted target: holds every PDU of the initiator against RFC 7143 and writes down what it
// broke. It also keeps the books that this needs, and that the target's ordinary behaviour uses: tasks with
// their data, transfers that were asked for, numbers. It believes only what came and what was really sent.
// RFC 7143 sections 4.2, 6 and 11. One thread.
#pragma once

#include "scripted/stream.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::scripted {

/// What negotiation has left; the RFC's defaults.
struct Parameters {
    bool header_digest = false;
    bool data_digest = false;
    bool initial_r2t = true;
    bool immediate_data = true;
    bool data_pdu_in_order = true;
    bool data_sequence_in_order = true;
    std::uint32_t max_burst = 262144;
    std::uint32_t first_burst = 65536;
    std::uint32_t target_segment = 8192;    ///< what the target takes in a PDU
    std::uint32_t initiator_segment = 8192; ///< what the initiator takes
    std::uint32_t max_outstanding_r2t = 1;
    std::uint32_t error_recovery_level = 0;
    std::uint32_t max_connections = 1;
};

/// A sender's duty; a test that makes the initiator break one on purpose says so with Judge::excuse().
enum class Duty : std::uint8_t {
    format,      ///< opcodes, reserved bits, padding, lengths
    digest,      ///< right where they were agreed on
    login,       ///< everything of the login phase
    cmd_sn,      ///< in order, not advanced by immediate requests
    window,      ///< nothing beyond MaxCmdSN
    exp_stat_sn, ///< never backwards, never what was not sent
    tags,        ///< unique among what is in progress
    command,     ///< flags, lengths and immediate data of SCSI commands
    data_out,    ///< only what may be sent, or was asked for, in order
    nop,
    task_management,
    text,
    logout,
    recovery_level, ///< nothing of a level that was not agreed on
};

/// A part of a write that the initiator was allowed to send by an R2T.
struct Transfer {
    std::uint32_t ttt = no_tag;
    std::uint32_t next = 0; ///< offset of the next byte
    std::uint32_t end = 0;
    std::uint32_t data_sn = 0;
};

/// A SCSI command from its arrival until its status was sent.
struct Task {
    Pdu command;
    ByteVector data; ///< of a write, at its place
    std::uint32_t expected = 0;
    std::uint32_t received = 0;        ///< bytes of a write that came
    std::uint32_t unsolicited_end = 0; ///< where unsolicited data must end, as far as is known
    std::uint32_t asked = 0;           ///< unsolicited and by R2T: up to here
    bool unsolicited_open = false;     ///< Data-Out will come without an R2T
    Transfer unsolicited;
    std::deque<Transfer> transfers;
    std::uint32_t r2t_sn = 0; ///< of the next R2T, or DataSN of the next Data-In
    bool executed = false;
    bool scripted = false; ///< a script answers it: the target leaves it alone
};

/// RFC 1982 order of 32-bit numbers.
constexpr bool is_before(std::uint32_t a, std::uint32_t b) {
    return static_cast<std::int32_t>(a - b) < 0;
}

/// Whether a PDU of the target takes a StatSN, and does not only show the next one, or none (RFC 7143
/// sections 11.4 to 11.19).
bool takes_stat_sn(const Pdu& pdu);

class Judge {
public:
    void begin_connection();
    /// A PDU came.
    void look_at(const Arrival& arrival);
    /// A PDU went out.
    void note_sent(const Pdu& pdu);

    void excuse(Duty duty) { excused_.insert(duty); }
    void forgive() { violations_.clear(); }
    const std::vector<std::string>& violations() const { return violations_; }

    Task* find(std::uint32_t itt);
    std::map<std::uint32_t, Task>& tasks() { return tasks_; }
    /// The task that an ABORT TASK names is not answered any more.
    void forget(std::uint32_t itt);

    Parameters parameters; ///< in force, or to be when the login ends
    bool full_feature = false;
    std::uint32_t exp_cmd_sn = 0;   ///< of the next request that is not immediate
    std::uint32_t acknowledged = 0; ///< the newest ExpStatSN of the initiator
    std::uint16_t cid = 0;

private:
    void expect(bool holds, Duty duty, const Pdu& pdu, std::string_view what);

    // judge.cpp
    void look_at_format(const Arrival& arrival);
    void look_at_numbers(const Pdu& pdu);
    void look_at_tag(const Pdu& pdu);
    void look_at_full_feature(const Pdu& pdu);
    void look_at_nop_out(const Pdu& pdu);
    void look_at_task_request(const Pdu& pdu);
    void look_at_text(const Pdu& pdu);
    void look_at_logout(const Pdu& pdu);
    void note_numbers(const Pdu& pdu);

    // judge_login.cpp
    void look_at_login(const Pdu& pdu);
    void look_at_first_login(const Pdu& pdu);
    void look_at_later_login(const Pdu& pdu);
    void look_at_login_stage(const Pdu& pdu);
    void look_at_login_text(const Pdu& pdu);

    // judge_tasks.cpp
    void look_at_command(const Pdu& pdu);
    void look_at_immediate_data(const Pdu& pdu, Task& task);
    void look_at_data_out(const Pdu& pdu);
    void look_at_unsolicited(const Pdu& pdu, Task& task);
    void look_at_solicited(const Pdu& pdu, Task& task);
    void take_data(const Pdu& pdu, Task& task, Transfer& transfer);
    void note_task(const Pdu& pdu);
    void note_r2t(const Pdu& pdu);

    struct TextExchange {
        std::uint32_t itt = no_tag;
        std::uint32_t ttt = no_tag;
        std::uint64_t lun = 0;
        bool immediate = false;
        bool answered = false;
    };
    struct LoginState {
        std::optional<Pdu> first;
        std::optional<Pdu> previous;
        std::optional<Pdu> answer;
        std::set<std::string, std::less<>> keys; ///< that the initiator has said
        std::string text;                        ///< of C-bit parts so far
        bool discovery = false;
    };

    std::vector<std::string> violations_;
    std::set<Duty> excused_;
    LoginState login_;
    std::map<std::uint32_t, Task> tasks_;
    std::map<std::uint32_t, Pdu> ended_;           ///< commands whose tags were not used again
    std::map<std::uint32_t, Opcode> requests_;     ///< other requests without an answer, by tag
    std::map<std::uint32_t, std::uint64_t> pings_; ///< NOP-Ins that want an answer: TTT and LUN
    std::optional<TextExchange> text_;
    std::uint32_t unsolicited_itt_ = no_tag;   ///< whose unsolicited data is not complete
    std::optional<std::uint32_t> stat_sn_end_; ///< behind the newest StatSN that was sent
    std::optional<std::uint32_t> window_end_;
    bool logged_out_ = false;
};

} // namespace iscsi::scripted
