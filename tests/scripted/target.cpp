#include "scripted/target.hpp"

#include <algorithm>
#include <optional>

namespace iscsi::scripted {

Target::Target(TargetConfig its_config) : config(std::move(its_config)), disks(config.disk) {}

void Target::begin_connection() {
    ++connections_;
    is_connected_ = true;
    judge.begin_connection();
    framer_.clear();
    output_.clear();
    held_.clear();
    held_sent_.clear();
    login_text_.clear();
    negotiating_ = {};
    digests_ = {};
    window_was_told_ = false;
    stat_sn = config.first_stat_sn;
    ending_ = Ending::none;
}

void Target::receive(std::span<const std::byte> bytes) {
    framer_.add(bytes);
    while (std::optional<Arrival> arrival = framer_.next(digests_)) {
        take(*arrival);
    }
}

void Target::take(const Arrival& arrival) {
    judge.look_at(arrival);
    look_at(arrival.pdu);
    if (remember) {
        seen_.push_back(arrival.pdu);
    }
    std::optional<Rule> rule = rule_for(arrival.pdu);
    if (!rule || obey(*rule, arrival.pdu, false)) {
        behave(arrival.pdu);
    } else if (Task* task = judge.find(arrival.pdu.get32(field::itt));
               task != nullptr && arrival.pdu.is(Opcode::scsi_command)) {
        task->scripted = true;
    }
}

/// Whether the target goes on as without the rule.
bool Target::obey(const Rule& rule, const Pdu& pdu, bool executing) {
    for (const auto& run : rule.runs) {
        run(pdu);
    }
    for (const auto& make : rule.replies) {
        Pdu reply = make(pdu);
        bool of_a_task = !reply.is(Opcode::async_message) && !reply.is(Opcode::reject) &&
                         (!reply.is(Opcode::nop_in) || pdu.is(Opcode::nop_out));
        if (of_a_task) {
            reply.fill(field::itt, pdu.get(field::itt));
        }
        send(std::move(reply));
    }
    if (rule.holds) {
        held_.push_back({pdu, executing});
    }
    ending_ = rule.ending != Ending::none ? rule.ending : ending_;
    return rule.continues;
}

void Target::behave(const Pdu& pdu) {
    switch (pdu.opcode()) {
    case Opcode::login_request:
        return answer_login(pdu);
    case Opcode::text_request:
        return answer_text(pdu);
    case Opcode::scsi_command:
        if (Task* task = judge.find(pdu.get32(field::itt)); task != nullptr) {
            task->scripted = false;
        }
        [[fallthrough]];
    case Opcode::data_out:
        return progress(pdu.get32(field::itt));
    case Opcode::nop_out:
        return answer_nop(pdu);
    case Opcode::task_request:
        return answer_task_request(pdu);
    case Opcode::logout_request:
        return answer_logout(pdu);
    default:
        // SNACK, or nothing at all: not supported (RFC 7143 section 11.17.1).
        send(Pdu(Opcode::reject)
                 .set(field::reject_reason, 0x05)
                 .with_data(ByteVector(pdu.header().begin(), pdu.header().end())));
    }
}

void Target::release(std::size_t count) {
    for (; count > 0 && !held_.empty(); --count) {
        Held held = std::move(held_.front());
        held_.pop_front();
        if (held.executing) {
            carry_out(held.pdu.get32(field::itt));
        } else {
            behave(held.pdu);
        }
    }
}

std::uint32_t Target::max_cmd_sn() {
    std::uint32_t now = judge.exp_cmd_sn + config.window - 1;
    if (!window_was_told_ || is_before(max_cmd_sn_, now)) {
        max_cmd_sn_ = now;
    }
    window_was_told_ = true;
    return max_cmd_sn_;
}

void Target::stamp(Pdu& pdu) {
    bool takes = takes_stat_sn(pdu);
    if (takes || !pdu.is(Opcode::data_in)) {
        pdu.fill(field::stat_sn, stat_sn);
    }
    stat_sn += takes ? 1 : 0;
    pdu.fill(field::exp_cmd_sn, judge.exp_cmd_sn);
    pdu.fill(field::max_cmd_sn, max_cmd_sn());
}

void Target::send(Pdu pdu) {
    stamp(pdu);
    std::optional<SendRule> rule = sending_rule_for(pdu);
    if (!rule) {
        put_out(std::move(pdu), {});
        return;
    }
    for (const auto& edit : rule->edits) {
        edit(pdu);
    }
    for (std::size_t i = 0; i < rule->copies; ++i) {
        if (rule->holds) {
            held_sent_.emplace_back(pdu, rule->damage);
        } else {
            put_out(pdu, rule->damage);
        }
    }
    ending_ = rule->ending != Ending::none ? rule->ending : ending_;
}

void Target::release_sent() {
    while (!held_sent_.empty()) {
        auto [pdu, damage] = std::move(held_sent_.front());
        held_sent_.pop_front();
        put_out(std::move(pdu), damage);
    }
}

void Target::put_out(Pdu pdu, const Damage& damage) {
    pdu.fill(field::data_length, pdu.data.size()).fill(field::ahs_words, pdu.ahs.size() / 4);
    output_.add(encode(pdu, digests_, damage), damage);
    judge.note_sent(pdu);
    if (pdu.is(Opcode::login_response)) {
        note_login_sent(pdu);
    }
    if (remember) {
        sent_.push_back(std::move(pdu));
    }
}

std::uint32_t Target::ping(std::uint64_t lun) {
    std::uint32_t ttt = next_ttt_++;
    send(Pdu(Opcode::nop_in).set(field::ttt, ttt).set(field::lun, lun));
    return ttt;
}

Pdu Target::status(std::uint8_t status) {
    return Pdu(Opcode::scsi_response).set(field::status, status);
}

Pdu Target::check_condition(const Sense& sense) {
    return status(scsi_status::check_condition).with_data(sense_segment(sense));
}

Ending Target::ending() const {
    return ending_ == Ending::orderly && !output_.empty() ? Ending::none : ending_;
}

std::vector<Pdu> Target::seen(const Match& match) const {
    std::vector<Pdu> found;
    std::ranges::copy_if(seen_, std::back_inserter(found), match);
    return found;
}

std::vector<Pdu> Target::sent(const Match& match) const {
    std::vector<Pdu> found;
    std::ranges::copy_if(sent_, std::back_inserter(found), match);
    return found;
}

std::vector<std::string> Target::complaints() const {
    std::vector<std::string> all = judge.violations();
    std::ranges::copy(unmet(), std::back_inserter(all));
    return all;
}

} // namespace iscsi::scripted
