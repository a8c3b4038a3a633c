#include "login/parameters.hpp"

#include <algorithm>
#include <array>

namespace iscsi::login {
namespace {

using Session = wire::SessionParameters;
using Connection = wire::ConnectionParameters;

constexpr auto boolean = KeyType::boolean;
constexpr auto number = KeyType::number;
constexpr auto list = KeyType::list;
constexpr auto text = KeyType::text;
constexpr auto session = KeyScope::session;
constexpr auto connection = KeyScope::connection;
constexpr auto initiator = KeySender::initiator;
constexpr auto target = KeySender::target;
constexpr auto both = KeySender::both;
constexpr auto any = KeyStage::any;
constexpr auto operational = KeyStage::operational;
constexpr std::uint32_t length_max = (1U << 24) - 1;
constexpr std::monostate nowhere{};

// The columns are those of LoginKey.
// clang-format off
constexpr std::array<LoginKey, 29> keys{{
    {"HeaderDigest", list, KeyRule::choose, connection, both, operational, true,
        0, 1, 0, "None", &Connection::header_digest},
    {"DataDigest", list, KeyRule::choose, connection, both, operational, true,
        0, 1, 0, "None", &Connection::data_digest},
    {"MaxRecvDataSegmentLength", number, KeyRule::declare, connection, both, operational, true,
        512, length_max, 8192, "", &Connection::max_xmit_data_segment_bytes},
    {"DefaultTime2Wait", number, KeyRule::maximum, session, both, operational, true,
        0, 3600, 2, "", &Session::time2wait_s},
    {"DefaultTime2Retain", number, KeyRule::minimum, session, both, operational, true,
        0, 3600, 20, "", &Session::time2retain_s},
    {"ErrorRecoveryLevel", number, KeyRule::minimum, session, both, operational, true,
        0, 2, 0, "", &Session::error_recovery_level},
    {"InitialR2T", boolean, KeyRule::logical_or, session, both, operational, false,
        0, 1, 1, "", &Session::initial_r2t},
    {"ImmediateData", boolean, KeyRule::logical_and, session, both, operational, false,
        0, 1, 1, "", &Session::immediate_data},
    {"MaxBurstLength", number, KeyRule::minimum, session, both, operational, false,
        512, length_max, 262144, "", &Session::max_burst_bytes},
    {"FirstBurstLength", number, KeyRule::minimum, session, both, operational, false,
        512, length_max, 65536, "", &Session::first_burst_bytes},
    {"MaxOutstandingR2T", number, KeyRule::minimum, session, both, operational, false,
        1, 65535, 1, "", &Session::max_outstanding_r2t},
    {"MaxConnections", number, KeyRule::minimum, session, both, operational, false,
        1, 65535, 1, "", &Session::max_connections},
    {"DataPDUInOrder", boolean, KeyRule::logical_or, session, both, operational, false,
        0, 1, 1, "", &Session::data_pdu_in_order},
    {"DataSequenceInOrder", boolean, KeyRule::logical_or, session, both, operational, false,
        0, 1, 1, "", &Session::data_sequence_in_order},
    // Not offered; answered when the target proposes them.
    {"TaskReporting", list, KeyRule::choose, session, both, operational, true,
        0, 0, 0, "RFC3720", nowhere},
    {"iSCSIProtocolLevel", number, KeyRule::minimum, session, both, operational, true,
        0, 31, 1, "", nowhere},
    {"IFMarker", boolean, KeyRule::refuse, connection, both, operational, true, 0, 1, 0, "", nowhere},
    {"OFMarker", boolean, KeyRule::refuse, connection, both, operational, true, 0, 1, 0, "", nowhere},
    {"IFMarkInt", text, KeyRule::refuse, connection, both, operational, true, 0, 0, 0, "", nowhere},
    {"OFMarkInt", text, KeyRule::refuse, connection, both, operational, true, 0, 0, 0, "", nowhere},
    // Declarations that are not parameters.
    {"InitiatorName", text, KeyRule::declare, session, initiator, any, true, 0, 0, 0, "", nowhere},
    {"InitiatorAlias", text, KeyRule::declare, session, initiator, any, true, 0, 0, 0, "", nowhere},
    {"SessionType", text, KeyRule::declare, session, initiator, any, true, 0, 0, 0, "", nowhere},
    {"TargetName", text, KeyRule::declare, session, initiator, any, true, 0, 0, 0, "", nowhere},
    {"SendTargets", text, KeyRule::declare, session, initiator, any, true, 0, 0, 0, "", nowhere},
    // Says what the target is made of, and must change nothing: it may come in any stage.
    {"X#NodeArchitecture", text, KeyRule::declare, session, both, any, true, 0, 0, 0, "", nowhere},
    {"TargetAlias", text, KeyRule::declare, session, target, any, true, 0, 0, 0, "", nowhere},
    {"TargetAddress", text, KeyRule::declare, session, target, any, true, 0, 0, 0, "", nowhere},
    {"TargetPortalGroupTag", number, KeyRule::declare, session, target, any, true,
        0, 65535, 0, "", nowhere},
}};
// clang-format on

} // namespace

std::span<const LoginKey> login_keys() {
    return keys;
}

const LoginKey* find_login_key(std::string_view name) {
    const auto* row =
        std::find_if(keys.begin(), keys.end(), [name](const LoginKey& key) { return key.name == name; });
    return row == keys.end() ? nullptr : row;
}

} // namespace iscsi::login
