#include "bench/null_negotiation.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <array>

namespace iscsi::bench {
namespace {

constexpr std::uint32_t max_burst_bytes = 1024 * 1024;
constexpr std::uint32_t first_burst_bytes = 256 * 1024;
constexpr std::uint32_t number_max = (1U << 24) - 1;

struct Fixed {
    std::string_view key;
    std::string_view answer;
};

// Keys with one answer whatever was offered; an empty answer is none, the key being a declaration.
constexpr std::array fixed_answers{
    Fixed{"InitiatorName", ""},
    Fixed{"InitiatorAlias", ""},
    Fixed{"TargetName", ""},
    Fixed{"SessionType", ""},
    Fixed{"MaxOutstandingR2T", "1"},
    Fixed{"MaxConnections", "1"},
    Fixed{"ErrorRecoveryLevel", "0"},
    Fixed{"DefaultTime2Wait", "2"},
    Fixed{"DefaultTime2Retain", "0"},
    Fixed{"DataPDUInOrder", "Yes"},
    Fixed{"DataSequenceInOrder", "Yes"},
    Fixed{"TaskReporting", "RFC3720"},
    Fixed{"IFMarker", "No"},
    Fixed{"OFMarker", "No"},
};

/// The first value of the offered list that is `wanted` or `None`.
std::string_view choose(std::string_view offered, std::string_view wanted) {
    for (std::string_view value : base::split(offered, ',')) {
        if (value == wanted || value == "None") {
            return value;
        }
    }
    return "Reject";
}

std::uint32_t smaller(std::string_view offered, std::uint32_t own) {
    auto value = base::parse_rfc_number(offered, number_max);
    return value ? std::min(static_cast<std::uint32_t>(*value), own) : own;
}

std::string digest(std::string_view offered, bool& on) {
    std::string_view chosen = choose(offered, "CRC32C");
    on = chosen == "CRC32C";
    return std::string(chosen);
}

std::string authentication(std::string_view offered, Negotiated& negotiated) {
    std::string_view chosen = choose(offered, "None");
    negotiated.accepted = chosen == "None";
    return std::string(chosen);
}

/// Empty: nothing is to be answered.
std::string answer(std::string_view key, std::string_view offered, Negotiated& negotiated) {
    if (key == "HeaderDigest") {
        return digest(offered, negotiated.header_digest);
    }
    if (key == "DataDigest") {
        return digest(offered, negotiated.data_digest);
    }
    if (key == "AuthMethod") {
        return authentication(offered, negotiated);
    }
    if (key == "MaxRecvDataSegmentLength") {
        negotiated.max_xmit_data_segment_bytes =
            std::max(512U, smaller(offered, null_target_segment_bytes_max));
        return std::to_string(null_target_segment_bytes_max);
    }
    if (key == "MaxBurstLength") {
        negotiated.max_burst_bytes = std::max(512U, smaller(offered, max_burst_bytes));
        return std::to_string(negotiated.max_burst_bytes);
    }
    if (key == "FirstBurstLength") {
        negotiated.first_burst_bytes = smaller(offered, first_burst_bytes);
        return std::to_string(negotiated.first_burst_bytes);
    }
    if (key == "InitialR2T" || key == "ImmediateData") {
        return offered == "Yes" ? "Yes" : "No";
    }
    const auto* row = std::ranges::find(fixed_answers, key, &Fixed::key);
    return std::string(row == fixed_answers.end() ? "NotUnderstood" : row->answer);
}

} // namespace

std::string negotiate(std::string_view request, Negotiated& negotiated) {
    std::string response;
    for (std::string_view pair : base::split(request, '\0')) {
        std::size_t equals = pair.find('=');
        if (equals == std::string_view::npos) {
            continue;
        }
        std::string_view key = pair.substr(0, equals);
        std::string value = answer(key, pair.substr(equals + 1), negotiated);
        if (!value.empty()) {
            response.append(key).append("=").append(value).push_back('\0');
        }
    }
    return response;
}

} // namespace iscsi::bench
