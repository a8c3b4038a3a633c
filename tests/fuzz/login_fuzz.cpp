// Login negotiation with a target that says anything. Four bytes choose what we wish for, the rest is its
// answers (see login_answers.hpp). A login that succeeds left values that a session can be built on.
#include "login_answers.hpp"

#include "base/names.hpp"

#include <algorithm>
#include <array>
#include <utility>

using namespace iscsi;
using iscsi::test::LoginAnswers;
using iscsi::test::require;
using iscsi::test::Script;

namespace {

login::LoginConfig config_of(Script& script) {
    constexpr std::array<const char*, 4> digests{"None", "CRC32C,None", "None,CRC32C", "CRC32C"};
    constexpr std::array<std::uint32_t, 4> lengths{512, 8192, 262144, (1U << 24) - 1};
    std::uint8_t flags = script.u8();
    std::uint8_t numbers = script.u8();
    std::uint8_t more = script.u8();
    login::LoginConfig config;
    config.initiator_name = "iqn.2026-01.example:initiator";
    config.initiator_alias = (flags & 2) != 0 ? "host" : "";
    config.discovery = (flags & 1) != 0;
    config.isid = base::Isid(0x80123456789aULL);
    config.offers.initial_r2t = (flags & 4) != 0;
    config.offers.immediate_data = (flags & 8) != 0;
    config.tsih = base::Tsih((flags & 16) != 0 ? 7 : 0);
    config.expected_tpgt = (flags & 32) != 0 ? 1 : -1;
    config.offers.max_burst_bytes = lengths[numbers & 3];
    config.offers.first_burst_bytes = std::min(lengths[numbers >> 2 & 3], config.offers.max_burst_bytes);
    config.offers.max_recv_data_segment_bytes = lengths[numbers >> 4 & 3];
    config.offers.max_xmit_data_segment_bytes = (numbers & 64) != 0 ? 4096 : 0;
    config.offers.max_outstanding_r2t = static_cast<std::uint16_t>(1 + (more >> 4));
    if (!config.discovery) {
        config.target_name = "iqn.2026-01.example:disk";
        config.offers.header_digest = digests[more & 3];
        config.offers.data_digest = digests[more >> 2 & 3];
    }
    return config;
}

void check_outcome(const login::Offers& offers, const login::Negotiated& outcome) {
    constexpr std::uint32_t length_max = (1U << 24) - 1;
    const wire::SessionParameters& session = outcome.session;
    require(session.max_burst_bytes >= 512 && session.max_burst_bytes <= length_max);
    require(session.first_burst_bytes >= 512 && session.first_burst_bytes <= length_max);
    require((session.initial_r2t && !session.immediate_data) ||
            session.first_burst_bytes <= session.max_burst_bytes);
    require(session.max_outstanding_r2t >= 1 && session.max_outstanding_r2t <= offers.max_outstanding_r2t);
    require(session.error_recovery_level == 0 && session.max_connections == 1);
    require(session.data_pdu_in_order && session.data_sequence_in_order);
    require(session.time2wait_s <= 3600 && session.time2retain_s <= 3600);
    const wire::ConnectionParameters& connection = outcome.connection;
    require(connection.max_recv_data_segment_bytes == offers.max_recv_data_segment_bytes);
    require(connection.max_xmit_data_segment_bytes >= 512 &&
            connection.max_xmit_data_segment_bytes <= length_max);
    for (auto [list, agreed] : {std::pair{&offers.header_digest, connection.header_digest},
                                std::pair{&offers.data_digest, connection.data_digest}}) {
        require(agreed ? list->find("CRC32C") != std::string::npos : list->find("None") != std::string::npos);
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Script script(data, size);
    login::LoginConfig config = config_of(script);
    unsigned seed = script.u8();
    auto login = login::Login::make(config);
    require(login.has_value());
    LoginAnswers answers(script.rest(), seed);
    base::Result<void> played = answers.play(**login);
    if ((*login)->finished()) {
        require(played.has_value());
        check_outcome(config.offers, (*login)->negotiated());
        require((*login)->tsih() != base::Tsih());
        require(config.expected_tpgt < 0 || (*login)->tpgt() < 0 || (*login)->tpgt() == config.expected_tpgt);
    }
    if (const auto& redirect = (*login)->redirect()) {
        require(!played && played.error().code == base::Errc::redirected);
        require(base::check_host(redirect->host).has_value() && redirect->port != 0);
    }
    return 0;
}
