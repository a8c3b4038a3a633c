// An iSCSI target in full feature phase without a socket: bytes in, bytes out, a disk in memory. It obeys the
// negotiated parameters, and it is a strict judge: whatever the initiator does against RFC 7143 is written
// down in `violations`. Tests bend it through hooks and through what they send in its name.
//
// The disk's blocks are one byte long: READ(16) and WRITE(16) move any number of bytes at any offset. Any
// other CDB is answered GOOD without data. One thread.
#pragma once

#include "base/bytes.hpp"
#include "wire/bhs.hpp"
#include "wire/parameters.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace iscsi::testing {

inline constexpr std::uint8_t read16 = 0x88;
inline constexpr std::uint8_t write16 = 0x8a;

/// A CDB for the fake disk.
std::array<std::byte, 16> disk_cdb(std::uint8_t operation, std::uint64_t offset, std::uint32_t bytes);

struct FakeTargetConfig {
    wire::SessionParameters session;
    wire::ConnectionParameters connection; ///< in the initiator's view, as the Session gets it
    wire::SequenceNumbers numbers;         ///< likewise
    std::size_t disk_bytes = 1 << 20;
    std::uint32_t window = 64;    ///< commands it takes beyond ExpCmdSN; may change at any time
    bool status_with_data = true; ///< good status rides on the last Data-In
    bool hold = false;            ///< commands wait for execute() instead of running at once
};

class FakeTarget {
public:
    explicit FakeTarget(const FakeTargetConfig& config);

    /// Bytes from the initiator.
    void receive(base::Bytes bytes);
    /// Bytes for the initiator.
    std::vector<std::byte>& output() { return output_; }

    // Hooks.
    /// Sees every PDU after the checks; true: the target itself does nothing about it.
    std::function<bool(const wire::Bhs&, base::Bytes)> intercept;
    /// May change what is about to be sent, before the digests are made.
    std::function<void(wire::Bhs&, std::vector<std::byte>& data)> tamper;
    /// May change one PDU's bytes as they go on the stream, digests and all.
    std::function<void(std::vector<std::byte>& raw)> damage;

    /// Answers task management with this code, or keeps silent until answer_management(); 0 ends the tasks it
    /// is about. Without the hook it is 0.
    std::function<std::optional<std::uint8_t>(const wire::TaskManagementRequest&)> manage;

    // Sending in its name. stamped() fills in StatSN (taking one, or only showing it), ExpCmdSN, MaxCmdSN.
    enum class Status { takes, shows, none };
    template <class Pdu>
    Pdu stamped(Pdu pdu, Status status = Status::takes) {
        if (status != Status::none) {
            pdu.stat_sn = stat_sn.value();
        }
        if (status == Status::takes) {
            ++stat_sn;
        }
        pdu.exp_cmd_sn = exp_cmd_sn.value();
        pdu.max_cmd_sn = max_cmd_sn().value();
        return pdu;
    }
    template <class Pdu>
    void send(const Pdu& pdu, base::Bytes data = {}) {
        send_generic(base::load<wire::Bhs>(base::bytes_of_object(pdu)), data);
    }
    /// A response without data: GOOD unless said otherwise.
    wire::ScsiResponse response_to(std::uint32_t itt, std::uint8_t status = 0);
    /// Data and good status of a read, as configured.
    void answer_read(std::uint32_t itt, std::uint32_t expected, base::Bytes data);

    /// Answers the newest task management request.
    void answer_management(std::uint8_t code);

    /// Commands that have all their data and wait because of `hold`.
    std::size_t held() const { return held_.size(); }
    /// Runs one of them.
    void execute(std::size_t index = 0);

    std::uint64_t commands_seen() const { return commands_seen_; }
    std::size_t tasks() const { return tasks_.size(); }
    base::CmdSn max_cmd_sn();

    FakeTargetConfig config;
    std::vector<std::byte> disk;
    std::vector<std::string> violations;
    std::vector<wire::Bhs> log; ///< headers received, when `keep_log`
    bool keep_log = false;
    base::StatSn stat_sn;
    base::CmdSn exp_cmd_sn;
    base::StatSn acknowledged; ///< the newest ExpStatSN received

private:
    struct Transfer {
        std::uint32_t itt = 0;
        std::uint32_t next = 0;
        std::uint32_t end = 0;
        std::uint32_t data_sn = 0;
    };
    struct Task {
        wire::ScsiCommand command;
        std::vector<std::byte> data; ///< of a write
        std::uint32_t received = 0;
        std::uint32_t unsolicited_end = 0;
        std::uint32_t unsolicited_sn = 0;
        bool unsolicited_open = false;
        std::uint32_t requested = 0; ///< by R2T, and unsolicited: up to here
        std::uint32_t r2t_sn = 0;
        std::uint32_t r2ts_open = 0;
    };

    bool take_pdu();
    void on_pdu(const wire::Bhs& header, base::Bytes data);
    void on_command(const wire::ScsiCommand& pdu, base::Bytes data);
    void on_data_out(const wire::DataOut& pdu, base::Bytes data);
    void on_unsolicited(Task& task, const wire::DataOut& pdu, base::Bytes data);
    void on_solicited(Task& task, const wire::DataOut& pdu, base::Bytes data);
    void on_nop_out(const wire::NopOut& pdu, base::Bytes data);
    void on_logout(const wire::LogoutRequest& pdu);
    void on_task_management(const wire::TaskManagementRequest& pdu);
    static bool is_managed(const wire::TaskManagementRequest& request, const wire::ScsiCommand& command);
    void note_command(const wire::ScsiCommand& pdu);
    void check_numbers(const wire::Bhs& header);
    void check_layout(const wire::Bhs& header);
    void progress(std::uint32_t itt);
    void run(std::uint32_t itt);
    void send_generic(wire::Bhs header, base::Bytes data);
    void expect(bool condition, const char* what);

    std::vector<std::byte> input_;
    std::vector<std::byte> output_;
    std::map<std::uint32_t, Task> tasks_;
    std::map<std::uint32_t, wire::ScsiCommand> commands_; ///< all there ever were
    std::optional<wire::TaskManagementRequest> managed_;  ///< the newest one, while it is not answered
    std::map<std::uint32_t, Transfer> transfers_;         ///< by Target Transfer Tag
    std::vector<std::uint32_t> held_;
    std::uint32_t next_ttt_ = 0x1000;
    std::uint32_t unsolicited_itt_ = base::reserved_tag; ///< whose unsolicited data is not complete
    std::uint64_t commands_seen_ = 0;
    base::CmdSn max_cmd_sn_;
    bool logged_out_ = false;
};

} // namespace iscsi::testing
