// The scripted target: an iSCSI target without a socket and without a clock, for tests. Left alone it behaves
// well: it logs anybody in, serves small disks in memory, answers NOP-Out, Text, task management and Logout.
// A script (see script.hpp) bends any of it, and a judge (see judge.hpp) writes down what the initiator does
// against RFC 7143. It shares no code with the initiator: a second opinion, written from the RFC's figures.
//
//     Target target;
//     target.on(scsi_command.with(field::lun, 5)).once().reply(Target::status(scsi_status::busy));
//     target.sending(data_in).after(2).once().set(field::data_sn, 7);
//     target.expect(nop_out).exactly(1);
//     ... drive it ...
//     CHECK(target.complaints().empty());
//
// One connection at a time; a new one forgets the last one's state, not the script. One thread.
#pragma once

#include "scripted/disk.hpp"
#include "scripted/judge.hpp"
#include "scripted/script.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace iscsi::scripted {

struct TargetConfig {
    std::string name = "iqn.2026-01.example:scripted";
    std::uint16_t portal_group = 1;
    std::uint16_t tsih = 0x1234;
    /// What the target says of itself in operational negotiation; a key that is not here is agreed to.
    /// Digests: the ones it takes.
    std::map<std::string, std::string> keys;
    std::uint32_t first_stat_sn = 0xfffffffeU; ///< of a connection; wraps soon
    std::uint32_t window = 32;                 ///< requests that may be sent beyond ExpCmdSN
    bool status_in_data = true;                ///< good status rides on the last Data-In
    DiskConfig disk;
};

class Target : public Script {
public:
    explicit Target(TargetConfig config = {});

    // The connection, as an adapter drives it.
    void begin_connection();
    /// It is gone, whoever ended it.
    void end_connection() { is_connected_ = false; }
    bool is_connected() const { return is_connected_; }
    void receive(std::span<const std::byte> bytes);
    OutStream& output() { return output_; }
    /// How the connection is to be ended; Ending::orderly only once everything was delivered.
    Ending ending() const;

    // Sending in its name.
    /// Sends a PDU; what was not set is filled in: numbers, tags, bits that are always one, lengths.
    void send(Pdu pdu);
    /// A NOP-In that wants an answer. Returns its Target Transfer Tag.
    std::uint32_t ping(std::uint64_t lun = 0);
    /// A SCSI Response with this status, for Rule::reply.
    static Pdu status(std::uint8_t status);
    /// One with CHECK CONDITION and this sense.
    static Pdu check_condition(const Sense& sense);
    /// Does with a PDU what a good target does.
    void behave(const Pdu& pdu);
    /// Goes on with what Rule::hold() held, in order.
    void release(std::size_t count = SIZE_MAX);
    std::size_t held() const { return held_.size(); }
    /// Lets go what SendRule::hold() held.
    void release_sent();

    // What it saw.
    const std::vector<Pdu>& seen() const { return seen_; }
    std::vector<Pdu> seen(const Match& match) const;
    std::vector<Pdu> sent(const Match& match) const;
    /// Violations of the initiator's duties, and expectations that were not met.
    std::vector<std::string> complaints() const;
    std::size_t connections() const { return connections_; }

    std::uint32_t exp_cmd_sn() const { return judge.exp_cmd_sn; }
    std::uint32_t max_cmd_sn();

    TargetConfig config; ///< may be changed at any time
    Disks disks;
    Judge judge;
    std::uint32_t stat_sn = 0; ///< of the next PDU that takes one
    bool remember = true;      ///< what came and went

private:
    struct Held {
        Pdu pdu;
        bool executing = false;
    };

    void take(const Arrival& arrival);
    bool obey(const Rule& rule, const Pdu& pdu, bool executing);
    void stamp(Pdu& pdu);
    void put_out(Pdu pdu, const Damage& damage);

    // target_login.cpp
    void answer_login(const Pdu& request);
    std::string login_answer(const Pdu& request);
    std::string operational_answer(const std::string& key, const std::string& value);
    std::string agreed(const std::string& key, const std::string& offer) const;
    void adopt(const std::string& key, const std::string& value);
    void note_login_sent(const Pdu& response);
    void answer_text(const Pdu& request);

    // target_tasks.cpp
    void progress(std::uint32_t itt);
    void ask_for_data(std::uint32_t itt, Task& task);
    void execute(std::uint32_t itt);
    void carry_out(std::uint32_t itt);
    void send_data(const Task& task, std::uint32_t itt, const ScsiResult& result);
    void answer_nop(const Pdu& request);
    void answer_task_request(const Pdu& request);
    void answer_logout(const Pdu& request);

    Framer framer_;
    OutStream output_;
    Parameters negotiating_;
    std::string login_text_;
    std::vector<Pdu> seen_;
    std::vector<Pdu> sent_;
    std::deque<Held> held_;
    std::deque<std::pair<Pdu, Damage>> held_sent_;
    std::size_t connections_ = 0;
    bool is_connected_ = false;
    std::uint32_t next_ttt_ = 0x51000000U;
    std::uint32_t max_cmd_sn_ = 0;
    bool window_was_told_ = false;
    Digests digests_;
    Ending ending_ = Ending::none;
};

} // namespace iscsi::scripted
