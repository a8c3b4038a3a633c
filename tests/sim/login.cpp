// The simulated target in login: it agrees, within what the plan says. RFC 7143 sections 6.3 and 13.
#include "sim/connection.hpp"

#include <algorithm>
#include <charconv>

namespace iscsi::sim {
namespace {

std::uint32_t number(std::string_view text) {
    std::uint32_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

void add(std::string& out, std::string_view key, std::string_view value) {
    out.append(key).append("=").append(value).push_back('\0');
}

} // namespace

void Connection::on_login(const Header& header, std::string_view text) {
    if (!numbers_known_) {
        numbers_known_ = true;
        exp_cmd_sn_ = get32<field::cmd_sn>(header);
        max_cmd_sn_ = exp_cmd_sn_;
    }
    if (get32<field::cmd_sn>(header) != target_.plan().cmd_sn || get<field::continues>(header) != 0) {
        return violation("a Login Request with CmdSN {}", get<field::cmd_sn>(header));
    }
    Header pdu = make_header(Opcode::login_response);
    if (target_.refuses_logins()) {
        target_.stage().met.add(Encounter::refused_login);
        set<field::isid>(pdu, get<field::isid>(header));
        set<field::itt>(pdu, get<field::itt>(header));
        set<field::status_class>(pdu, 3);
        set<field::status_detail>(pdu, 1);
        send(pdu, {}, true);
        closed_ = true;
        return socket_.close();
    }
    const std::string answer = answer_keys(text);
    set<field::isid>(pdu, get<field::isid>(header));
    set<field::itt>(pdu, get<field::itt>(header));
    set<field::transit>(pdu, get<field::transit>(header));
    set<field::current_stage>(pdu, get<field::current_stage>(header));
    set<field::next_stage>(pdu, get<field::next_stage>(header));
    const bool last = get<field::transit>(header) != 0 && get<field::next_stage>(header) == 3;
    if (last) {
        target_.take_session(*this);
        set<field::tsih>(pdu, target_.next_tsih());
    }
    exp_stat_sn_ = stat_sn_;
    send(pdu, {reinterpret_cast<const std::byte*>(answer.data()), answer.size()}, true);
    if (last) {
        full_feature_ = true;
        header_digest_ = offers_digests_;
        data_digest_ = offers_digests_;
        if (offers_digests_) {
            socket_.begin_damage();
        }
    }
}

std::string Connection::answer_keys(std::string_view text) {
    std::string answer;
    answer.reserve(512);
    while (!text.empty()) {
        const std::string_view pair = text.substr(0, text.find('\0'));
        text.remove_prefix(std::min(pair.size() + 1, text.size()));
        const std::size_t equals = pair.find('=');
        const std::string_view key = pair.substr(0, equals);
        if (key == "InitiatorName") {
            add(answer, "TargetPortalGroupTag", "1");
        }
        const std::string value = answer_key(key, pair.substr(equals + 1));
        if (!value.empty()) {
            add(answer, key, value);
        }
    }
    return answer;
}

std::string Connection::answer_key(std::string_view key, std::string_view value) {
    const Plan& plan = target_.plan();
    auto least = [&](std::uint32_t& to, std::uint32_t own) {
        to = std::min(own, number(value));
        return std::to_string(to);
    };
    auto yes = [](bool is) { return std::string(is ? "Yes" : "No"); };
    if (key == "HeaderDigest" || key == "DataDigest") {
        offers_digests_ = value == "CRC32C";
        return std::string(value);
    }
    if (key == "MaxRecvDataSegmentLength") {
        initiator_segment_ = number(value);
        return std::to_string(plan.target_segment_bytes);
    }
    if (key == "MaxBurstLength") {
        return least(max_burst_, plan.target_max_burst);
    }
    if (key == "FirstBurstLength") {
        return least(first_burst_, plan.target_first_burst);
    }
    if (key == "MaxOutstandingR2T") {
        return least(r2ts_max_, plan.target_r2ts);
    }
    if (key == "InitialR2T") {
        initial_r2t_ = plan.target_initial_r2t || value == "Yes";
        return yes(initial_r2t_);
    }
    if (key == "ImmediateData") {
        immediate_data_ = plan.target_immediate_data && value == "Yes";
        return yes(immediate_data_);
    }
    if (key == "DefaultTime2Wait") {
        time2wait_ = static_cast<std::uint16_t>(number(value));
        return std::string(value);
    }
    constexpr std::string_view declared[] = {"InitiatorName", "InitiatorAlias", "TargetName", "SessionType"};
    if (std::ranges::find(declared, key) != std::end(declared)) {
        return {};
    }
    if (key == "AuthMethod") {
        return "None";
    }
    return std::string(value);
}

} // namespace iscsi::sim
