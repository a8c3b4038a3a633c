// An initiator made by hand for the scripted target's own tests: every PDU is what the test says, right or
// wrong. One thread.
#pragma once

#include "scripted/target.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace iscsi::scripted {

class HandMade {
public:
    explicit HandMade(TargetConfig config = {}) : target(std::move(config)) { target.begin_connection(); }

    /// Sends a PDU as it is.
    void send(const Pdu& pdu) {
        target.receive(encode(pdu, digests));
        target.output().clear();
    }

    Pdu login_pdu(std::uint64_t stage, std::uint64_t next) const {
        Pdu pdu(Opcode::login_request);
        pdu.set(field::immediate)
            .set(field::transit)
            .set(field::current_stage, stage)
            .set(field::next_stage, next);
        pdu.set(field::isid, 0x80'0000'0000'01ULL).set(field::itt, 1).set(field::cmd_sn, cmd_sn);
        return pdu;
    }
    /// The first Login Request, with the keys that belong to it.
    Pdu first_login() const {
        return login_pdu(0, 1).with_text(
            text({"InitiatorName=iqn.2026-01.a:i", "TargetName=" + target.config.name, "AuthMethod=None"}));
    }
    Pdu second_login() const {
        return login_pdu(1, 3).set(field::exp_stat_sn, target.stat_sn).with_text(operational);
    }

    void log_in() {
        send(first_login());
        send(second_login());
        digests = {target.judge.parameters.header_digest, target.judge.parameters.data_digest};
    }

    // Right PDUs of full feature phase; a test bends them with set().
    Pdu request(Opcode opcode, std::uint32_t itt) {
        Pdu pdu(opcode);
        return pdu.fill(field::itt, itt).fill(field::cmd_sn, cmd_sn).fill(field::exp_stat_sn, target.stat_sn);
    }
    Pdu immediate(Opcode opcode, std::uint32_t itt) { return request(opcode, itt).fill(field::immediate); }
    Pdu command(std::uint32_t itt) { return request(Opcode::scsi_command, itt).fill(field::final); }
    /// WRITE(16) of `blocks`, without data.
    Pdu write(std::uint32_t itt, std::uint32_t blocks) {
        return command(itt)
            .fill(field::write)
            .fill(field::operation, 0x8a)
            .fill(field::expected_length, blocks * 512)
            .fill(bytes_at("blocks", 42, 4), blocks);
    }
    Pdu data(std::uint32_t itt, std::uint32_t ttt, std::uint32_t offset, std::size_t bytes) {
        Pdu pdu(Opcode::data_out);
        pdu.fill(field::itt, itt).fill(field::ttt, ttt).fill(field::buffer_offset, offset);
        pdu.fill(field::exp_stat_sn, target.stat_sn);
        return pdu.with_data(ByteVector(bytes));
    }
    /// Sends a request that takes a CmdSN.
    void take(const Pdu& pdu) {
        send(pdu);
        ++cmd_sn;
    }

    static std::string text(const std::vector<std::string>& pairs) {
        std::string all;
        for (const std::string& pair : pairs) {
            all += pair + '\0';
        }
        return all;
    }

    Target target;
    Digests digests;
    std::uint32_t cmd_sn = 100;
    std::string operational = text({"InitialR2T=Yes", "ImmediateData=No"});
};

} // namespace iscsi::scripted
