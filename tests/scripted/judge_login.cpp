// The judge in the login phase: RFC 7143 sections 6.1 to 6.3, 11.12 and 13.

#include "scripted/judge.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <fmt/format.h>

namespace iscsi::scripted {
namespace {

constexpr std::uint64_t security = 0;
constexpr std::uint64_t operational = 1;
constexpr std::uint64_t full_feature_phase = 3;
constexpr std::size_t key_bytes_max = 63;
constexpr std::size_t value_bytes_max = 255;

/// Keys of the operational stage only (the "Use" lines of RFC 7143 section 13).
constexpr std::array<std::string_view, 18> operational_keys{
    "HeaderDigest",       "DataDigest",       "MaxConnections",
    "InitialR2T",         "ImmediateData",    "MaxBurstLength",
    "FirstBurstLength",   "DefaultTime2Wait", "DefaultTime2Retain",
    "MaxOutstandingR2T",  "DataPDUInOrder",   "DataSequenceInOrder",
    "ErrorRecoveryLevel", "TaskReporting",    "iSCSIProtocolLevel",
    "IFMarker",           "OFMarker",         "MaxRecvDataSegmentLength"};

/// RFC 7143 section 6.1: a letter in upper case first; iSCSIProtocolLevel (RFC 7144) is the one that is not.
bool is_key_name(std::string_view name) {
    auto allowed = [](unsigned char c) {
        return std::isalnum(c) != 0 ||
               std::string_view(".-+@_#").find(static_cast<char>(c)) != std::string_view::npos;
    };
    bool first = !name.empty() &&
                 (std::isupper(static_cast<unsigned char>(name[0])) != 0 || name.starts_with("iSCSI"));
    return first && name.size() <= key_bytes_max && std::ranges::all_of(name, allowed);
}

bool is_chap_binary(std::string_view name) {
    return name == "CHAP_C" || name == "CHAP_R";
}

} // namespace

void Judge::look_at_login(const Pdu& pdu) {
    expect(pdu.is(Opcode::login_request), Duty::login, pdu, "not a Login Request in login phase (6.3)");
    if (!pdu.is(Opcode::login_request)) {
        return;
    }
    expect(pdu.has(field::immediate), Duty::login, pdu, "a Login Request without I (11.12)");
    expect(!(pdu.has(field::transit) && pdu.has(field::continues)), Duty::login, pdu,
           "both T and C (11.12.2)");
    expect(pdu.get(field::version_max) == 0 && pdu.get(field::version_min) == 0, Duty::login, pdu,
           "a version that is not 0 (11.12.4)");
    if (login_.first) {
        look_at_later_login(pdu);
    } else {
        look_at_first_login(pdu);
    }
    look_at_login_stage(pdu);
    look_at_login_text(pdu);
    login_.previous = pdu;
    login_.answer.reset();
    exp_cmd_sn = pdu.get32(field::cmd_sn);
    acknowledged = pdu.get32(field::exp_stat_sn);
}

void Judge::look_at_first_login(const Pdu& pdu) {
    login_.first = pdu;
    cid = static_cast<std::uint16_t>(pdu.get(field::cid));
    std::uint64_t stage = pdu.get(field::current_stage);
    expect(stage == security || stage == operational, Duty::login, pdu, "a login that begins nowhere (6.3)");
    auto type = pdu.key("SessionType");
    login_.discovery = type == "Discovery";
    expect(pdu.key("InitiatorName").has_value(), Duty::login, pdu, "no InitiatorName (13.5)");
    expect(login_.discovery || pdu.key("TargetName"), Duty::login, pdu, "no TargetName (13.4)");
}

void Judge::look_at_later_login(const Pdu& pdu) {
    expect(login_.answer.has_value(), Duty::login, pdu,
           "a Login Request before the answer to the last (6.3)");
    for (const Field& field : {field::isid, field::tsih, field::cid, field::itt, field::cmd_sn}) {
        expect(pdu.get(field) == login_.first->get(field), Duty::login, pdu,
               fmt::format("another {} than in the first Login Request (11.12)", field.name));
    }
    if (login_.answer) {
        expect(pdu.get32(field::exp_stat_sn) == login_.answer->get32(field::stat_sn) + 1, Duty::exp_stat_sn,
               pdu, "ExpStatSN is not the response's StatSN + 1 (11.12.9)");
        bool partial = login_.answer->has(field::continues);
        expect(!partial || pdu.data.empty(), Duty::login, pdu,
               "text while the target's is not complete (6.2)");
    }
}

void Judge::look_at_login_stage(const Pdu& pdu) {
    std::uint64_t stage = pdu.get(field::current_stage);
    std::uint64_t next = pdu.get(field::next_stage);
    if (pdu.has(field::transit)) {
        bool legal = stage == security ? next == operational || next == full_feature_phase
                                       : stage == operational && next == full_feature_phase;
        expect(legal, Duty::login, pdu, "a transition that does not exist (11.12.3)");
    } else {
        expect(next == 0, Duty::login, pdu, "NSG without T is reserved (11.12.3)");
    }
    if (login_.previous && login_.answer) {
        bool moved = login_.answer->has(field::transit) && login_.previous->has(field::transit);
        std::uint64_t now =
            moved ? login_.answer->get(field::next_stage) : login_.previous->get(field::current_stage);
        expect(stage == now, Duty::login, pdu, "another stage than was agreed on (6.3)");
    }
}

void Judge::look_at_login_text(const Pdu& pdu) {
    login_.text += pdu.text();
    if (pdu.has(field::continues)) {
        return;
    }
    expect(login_.text.empty() || login_.text.ends_with('\0'), Duty::login, pdu,
           "a pair without its NUL (6.1)");
    for (const auto& [name, value] : pairs_of(login_.text)) {
        expect(is_key_name(name), Duty::login, pdu, "not a key's name: " + name);
        expect(login_.keys.insert(name).second, Duty::login, pdu, "a key for the second time (6.2): " + name);
        expect(is_chap_binary(name) || value.size() <= value_bytes_max, Duty::login, pdu,
               "a long value: " + name);
        bool late = pdu.get(field::current_stage) == operational;
        bool belongs = std::ranges::find(operational_keys, name) != operational_keys.end();
        expect(late || !belongs, Duty::login, pdu, "a key of the operational stage (13): " + name);
        bool chap = name == "AuthMethod" || name.starts_with("CHAP_");
        expect(!late || !chap, Duty::login, pdu, "a key of the security stage (13): " + name);
    }
    login_.text.clear();
}

} // namespace iscsi::scripted
