// Which PDUs a line of a script is about: an opcode, and fields that must have a value. Written as it reads:
// scsi_command.with(field::lun, 5). Values; any thread.
#pragma once

#include "scripted/pdu.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace iscsi::scripted {

class Match {
public:
    Match() = default; ///< any PDU
    explicit Match(Opcode opcode) : opcode_(opcode) {}

    /// The same, and `field` has this value.
    Match with(const Field& field, std::uint64_t value = 1) const {
        return when([field, value](const Pdu& pdu) { return pdu.get(field) == value; });
    }
    Match without(const Field& field) const { return with(field, 0); }
    /// The same, and this holds.
    Match when(std::function<bool(const Pdu&)> condition) const {
        Match copy = *this;
        copy.conditions_.push_back(std::move(condition));
        return copy;
    }

    bool operator()(const Pdu& pdu) const {
        if (opcode_ && !pdu.is(*opcode_)) {
            return false;
        }
        for (const auto& condition : conditions_) {
            if (!condition(pdu)) {
                return false;
            }
        }
        return true;
    }
    std::string_view name() const { return opcode_ ? name_of(*opcode_) : "PDU"; }

private:
    std::optional<Opcode> opcode_;
    std::vector<std::function<bool(const Pdu&)>> conditions_;
};

inline const Match any_pdu{};
inline const Match nop_out{Opcode::nop_out};
inline const Match scsi_command{Opcode::scsi_command};
inline const Match task_request{Opcode::task_request};
inline const Match login_request{Opcode::login_request};
inline const Match text_request{Opcode::text_request};
inline const Match data_out{Opcode::data_out};
inline const Match logout_request{Opcode::logout_request};
inline const Match snack{Opcode::snack};
inline const Match nop_in{Opcode::nop_in};
inline const Match scsi_response{Opcode::scsi_response};
inline const Match task_response{Opcode::task_response};
inline const Match login_response{Opcode::login_response};
inline const Match text_response{Opcode::text_response};
inline const Match data_in{Opcode::data_in};
inline const Match logout_response{Opcode::logout_response};
inline const Match r2t{Opcode::r2t};
inline const Match async_message{Opcode::async_message};
inline const Match reject{Opcode::reject};

// Commands of the disk, by operation code.
inline const Match read_command = scsi_command.with(field::read);
inline const Match write_command = scsi_command.with(field::write);

} // namespace iscsi::scripted
