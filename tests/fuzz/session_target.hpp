// The target of the session's fuzzer: it says what the steps of a script tell it to, each PDU right in every
// field, with its digests, but for what a step wants to be wrong. What it hears it holds against RFC 7143:
// numbers, window, tags, bursts, digests, and the bytes of each write. One thread; owns its bytes.
#pragma once

#include "fuzz.hpp"

#include "base/crc32c.hpp"
#include "base/serial.hpp"
#include "session/session.hpp"
#include "wire/bhs.hpp"
#include "wire/segments.hpp"

#include <deque>
#include <map>
#include <optional>
#include <vector>

namespace iscsi::test {

/// Before the steps of a script.
inline constexpr std::size_t setup_bytes = 6;
/// Where a command's CDB has its number.
inline constexpr std::size_t id_in_cdb = 2;

/// One step of a script, as its twelve bytes lie in the input.
struct Step {
    enum Kind : std::uint8_t {
        submit,
        data_in,
        response,
        r2t,
        nop_in,
        async,
        reject,
        management_response,
        logout_response,
        other,
        raw,
        deliver,
        send,
        wait,
        log_out,
        kinds
    };
    /// What is wrong with a PDU.
    enum Deviation : std::uint8_t {
        tag = 1,
        status_number = 2,
        sequence = 4,
        offset = 8,
        length_field = 16,
        header_digest = 32,
        data_digest = 64,
        flags = 128,
    };

    std::uint8_t kind;
    std::uint8_t pick; ///< which of several
    std::uint8_t deviations;
    std::uint8_t by; ///< how far it deviates
    std::uint16_t length;
    std::uint16_t more;
    std::uint32_t value;

    bool deviates(Deviation what) const { return (deviations & what) != 0; }
};
static_assert(sizeof(Step) == 12);

/// Bytes that look like chance, never EEh, the same for ever: taken from a table, because libFuzzer's
/// counters make loops over bytes slow. `stream` is which data it is, `position` the first byte's place in
/// it.
void fill(base::MutableBytes out, std::uint32_t stream, std::uint64_t position);
/// What a read with this tag gets, and what the `id`th command writes, as `stream`.
constexpr std::uint32_t read_data(std::uint32_t itt) {
    return itt * 2654435761U >> 7;
}
constexpr std::uint32_t write_data(std::uint32_t id) {
    return read_data(~id);
}

class HostileTarget {
public:
    HostileTarget(const session::SessionConfig& config, std::uint32_t window)
        : config_(config), window_(window), stat_sn_(config.numbers.exp_stat_sn.value()),
          cmd_sn_(config.numbers.cmd_sn), limit_(config.numbers.max_cmd_sn) {}

    /// Not yet delivered.
    std::vector<std::byte> stream;
    /// Bytes of no meaning were sent: what a read gets cannot be foretold any more.
    bool any_bytes = false;

    /// Says what the step tells it to; nothing when that makes no sense now.
    void say(const Step& step);
    /// The first `n` bytes of the stream have reached the session.
    void delivered(std::size_t n);
    /// Bytes of the initiator.
    void hear(base::Bytes bytes);
    /// The tag under which the `id`th command came, if it did.
    std::uint32_t itt_of(std::uint32_t id) const {
        auto found = itts_.find(id);
        return found == itts_.end() ? base::reserved_tag : found->second;
    }

private:
    struct Task {
        enum Kind : std::uint8_t { any, none, read, write };

        std::uint32_t itt = 0;
        std::uint32_t id = 0;
        std::uint64_t lun = 0;
        Kind kind = none;
        std::uint32_t expected = 0;
        std::uint32_t next = 0;    ///< of its data
        std::uint32_t data_sn = 0; ///< next DataSN or R2TSN
        bool given_up = false;     ///< task management may have ended it
    };
    struct Transfer {
        std::uint32_t itt = 0;
        std::uint32_t next = 0;
        std::uint32_t end = 0;
        std::uint32_t data_sn = 0;
    };
    struct Announced {
        std::size_t end; ///< of the PDU in all that was ever said
        base::CmdSn max_cmd_sn;
    };

    // What it says.
    template <class Pdu>
    void put(Pdu pdu, const Step& step, base::Bytes data = {});
    template <class Pdu>
    void put_status(Pdu pdu, const Step& step, base::Bytes data = {});
    void say_data_in(const Step& step);
    void say_response(const Step& step);
    void say_r2t(const Step& step);
    void say_nop_in(const Step& step);
    void say_async(const Step& step);
    void say_reject(const Step& step);
    void say_management_response(const Step& step);
    void say_logout_response(const Step& step);
    void append(base::Bytes bytes) { stream.insert(stream.end(), bytes.begin(), bytes.end()); }
    Task* choose(const Step& step, Task::Kind kind);
    void forget(const Task& task);
    void end_transfers(std::uint32_t itt);

    // What it hears.
    void on_pdu(const wire::Bhs& header, base::Bytes data);
    void on_command(const wire::ScsiCommand& pdu, base::Bytes data);
    void on_data_out(const wire::DataOut& pdu, base::Bytes data);
    void check_numbers(const wire::Bhs& header) const;
    Task* find(std::uint32_t itt);

    const session::SessionConfig config_;
    const std::uint32_t window_;
    std::uint32_t stat_sn_;
    base::CmdSn cmd_sn_;
    base::CmdSn limit_; ///< the last CmdSN that the session may know to be allowed
    bool limit_known_ = true;
    std::deque<Announced> announced_;
    std::size_t said_ = 0;
    std::size_t delivered_ = 0;
    std::vector<Task> tasks_; ///< those that it has not answered
    std::map<std::uint32_t, std::uint32_t> itts_;
    std::map<std::uint32_t, Transfer> transfers_; ///< that it asked for, by tag
    std::optional<Transfer> unsolicited_;         ///< that follows the newest command
    std::uint32_t next_ttt_ = 1;
    std::uint32_t ping_itt_ = base::reserved_tag;
    std::uint32_t management_itt_ = base::reserved_tag;
    std::uint32_t logout_itt_ = base::reserved_tag;
    wire::Bhs last_heard_;
    std::vector<std::byte> heard_;
};

} // namespace iscsi::test
