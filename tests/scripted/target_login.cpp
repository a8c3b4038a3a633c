// The scripted target in login and text exchanges: it agrees to what is offered, within what its
// configuration says. RFC 7143 sections 6.2, 6.3 and 13.

#include "scripted/target.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>

namespace iscsi::scripted {
namespace {

constexpr std::uint64_t security = 0;
constexpr std::uint64_t full_feature_phase = 3;

constexpr std::array<std::string_view, 7> minimum_keys{
    "MaxConnections",    "MaxBurstLength",     "FirstBurstLength",  "DefaultTime2Retain",
    "MaxOutstandingR2T", "ErrorRecoveryLevel", "iSCSIProtocolLevel"};
constexpr std::array<std::string_view, 3> or_keys{"InitialR2T", "DataPDUInOrder", "DataSequenceInOrder"};
constexpr std::array<std::string_view, 6> declarations{"InitiatorName", "InitiatorAlias", "TargetName",
                                                       "SessionType",   "AuthMethod",     "TargetAlias"};

template <std::size_t n>
bool contains(const std::array<std::string_view, n>& names, std::string_view name) {
    return std::ranges::find(names, name) != names.end();
}

std::uint32_t number(const std::string& text) {
    std::uint32_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

/// The first of the offers that is among those taken.
std::string first_common(std::string offers, const std::string& taken) {
    while (!offers.empty()) {
        std::string offer = offers.substr(0, offers.find(','));
        if (("," + taken + ",").find("," + offer + ",") != std::string::npos) {
            return offer;
        }
        offers.erase(0, offer.size() + 1);
    }
    return "Reject";
}

std::string pair(std::string_view key, std::string_view value) {
    return fmt::format("{}={}", key, value) + '\0';
}

} // namespace

void Target::answer_login(const Pdu& request) {
    Pdu response(Opcode::login_response);
    for (const Field& field : {field::isid, field::tsih, field::itt, field::current_stage}) {
        response.fill(field, request.get(field));
    }
    login_text_ += request.text();
    if (request.has(field::continues)) {
        send(std::move(response));
        return;
    }
    response.with_text(login_answer(request));
    login_text_.clear();
    if (request.has(field::transit)) {
        std::uint64_t next = request.get(field::next_stage);
        response.fill(field::transit).fill(field::next_stage, next);
        bool leading = request.get(field::tsih) == 0;
        if (next == full_feature_phase && leading) {
            response.fill(field::tsih, config.tsih);
        }
    }
    send(std::move(response));
}

std::string Target::login_answer(const Pdu& request) {
    std::string answer;
    bool first = login_text_.find("InitiatorName=") != std::string::npos;
    if (first && login_text_.find("SessionType=Discovery") == std::string::npos) {
        answer += pair("TargetPortalGroupTag", std::to_string(config.portal_group));
    }
    for (const auto& [key, value] : pairs_of(login_text_)) {
        if (key == "AuthMethod" && request.get(field::current_stage) == security) {
            answer += pair(key, first_common(value, "None"));
        } else if (!contains(declarations, key)) {
            answer += operational_answer(key, value);
        }
    }
    return answer;
}

std::string Target::operational_answer(const std::string& key, const std::string& value) {
    if (key == "MaxRecvDataSegmentLength") {
        negotiating_.initiator_segment = number(value);
        auto own = config.keys.find(key);
        negotiating_.target_segment =
            own == config.keys.end() ? negotiating_.target_segment : number(own->second);
        return pair(key, std::to_string(negotiating_.target_segment));
    }
    std::string outcome = agreed(key, value);
    adopt(key, outcome);
    return pair(key, outcome);
}

std::string Target::agreed(const std::string& key, const std::string& offer) const {
    auto own = config.keys.find(key);
    if (key == "HeaderDigest" || key == "DataDigest") {
        return first_common(offer, own == config.keys.end() ? "CRC32C,None" : own->second);
    }
    if (own == config.keys.end()) {
        return offer;
    }
    if (contains(minimum_keys, key)) {
        return std::to_string(std::min(number(own->second), number(offer)));
    }
    if (key == "DefaultTime2Wait") {
        return std::to_string(std::max(number(own->second), number(offer)));
    }
    if (contains(or_keys, key)) {
        return own->second == "Yes" || offer == "Yes" ? "Yes" : "No";
    }
    return own->second == "Yes" && offer == "Yes" ? "Yes" : "No"; // ImmediateData
}

void Target::adopt(const std::string& key, const std::string& value) {
    bool yes = value == "Yes";
    Parameters& to = negotiating_;
    const std::map<std::string_view, bool*> booleans{{"InitialR2T", &to.initial_r2t},
                                                     {"ImmediateData", &to.immediate_data},
                                                     {"DataPDUInOrder", &to.data_pdu_in_order},
                                                     {"DataSequenceInOrder", &to.data_sequence_in_order}};
    const std::map<std::string_view, std::uint32_t*> numbers{{"MaxBurstLength", &to.max_burst},
                                                             {"FirstBurstLength", &to.first_burst},
                                                             {"MaxOutstandingR2T", &to.max_outstanding_r2t},
                                                             {"ErrorRecoveryLevel", &to.error_recovery_level},
                                                             {"MaxConnections", &to.max_connections}};
    if (auto found = booleans.find(key); found != booleans.end()) {
        *found->second = yes;
    } else if (auto at = numbers.find(key); at != numbers.end()) {
        *at->second = number(value);
    } else if (key == "HeaderDigest") {
        to.header_digest = value == "CRC32C";
    } else if (key == "DataDigest") {
        to.data_digest = value == "CRC32C";
    }
}

/// Full feature phase begins behind the response that ends the login, as it was really sent.
void Target::note_login_sent(const Pdu& response) {
    bool over = response.has(field::transit) && response.get(field::next_stage) == full_feature_phase &&
                !response.has(field::status_class);
    if (over) {
        judge.full_feature = true;
        judge.parameters = negotiating_;
        digests_ = {negotiating_.header_digest, negotiating_.data_digest};
    }
}

void Target::answer_text(const Pdu& request) {
    std::string answer;
    for (const auto& [key, value] : pairs_of(request.text())) {
        if (key == "SendTargets") {
            answer += pair("TargetName", config.name);
        } else if (key == "MaxRecvDataSegmentLength") {
            judge.parameters.initiator_segment = number(value);
        } else {
            answer += pair(key, "NotUnderstood");
        }
    }
    send(Pdu(Opcode::text_response)
             .fill(field::itt, request.get(field::itt))
             .fill(field::final)
             .with_text(answer));
}

} // namespace iscsi::scripted
