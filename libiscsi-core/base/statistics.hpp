// What a session counts, under the names that `iscsiadm -m session -s` prints: the session fills it in,
// requests carry it, people read it. Plain values; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace iscsi::base {

struct SessionStatistics {
    std::uint64_t txdata_octets = 0; ///< all bytes sent, headers included
    std::uint64_t rxdata_octets = 0; ///< all bytes received, headers included
    std::uint64_t noptx_pdus = 0;
    std::uint64_t scsicmd_pdus = 0;
    std::uint64_t tmfcmd_pdus = 0;
    std::uint64_t login_pdus = 0;
    std::uint64_t text_pdus = 0;
    std::uint64_t dataout_pdus = 0;
    std::uint64_t logout_pdus = 0;
    std::uint64_t snack_pdus = 0;
    std::uint64_t noprx_pdus = 0;
    std::uint64_t scsirsp_pdus = 0;
    std::uint64_t tmfrsp_pdus = 0;
    std::uint64_t textrsp_pdus = 0;
    std::uint64_t datain_pdus = 0;
    std::uint64_t logoutrsp_pdus = 0;
    std::uint64_t r2t_pdus = 0;
    std::uint64_t async_pdus = 0;
    std::uint64_t rjt_pdus = 0;
    std::uint64_t digest_err = 0;
    std::uint64_t timeout_err = 0;

    friend bool operator==(const SessionStatistics&, const SessionStatistics&) = default;
};

/// A counter and the name it is printed and sent under.
struct CounterRow {
    std::string_view name;
    std::uint64_t SessionStatistics::*value;
};

/// Every counter, in the order in which they are printed.
inline constexpr std::array session_counters{
    CounterRow{"txdata_octets", &SessionStatistics::txdata_octets},
    CounterRow{"rxdata_octets", &SessionStatistics::rxdata_octets},
    CounterRow{"noptx_pdus", &SessionStatistics::noptx_pdus},
    CounterRow{"scsicmd_pdus", &SessionStatistics::scsicmd_pdus},
    CounterRow{"tmfcmd_pdus", &SessionStatistics::tmfcmd_pdus},
    CounterRow{"login_pdus", &SessionStatistics::login_pdus},
    CounterRow{"text_pdus", &SessionStatistics::text_pdus},
    CounterRow{"dataout_pdus", &SessionStatistics::dataout_pdus},
    CounterRow{"logout_pdus", &SessionStatistics::logout_pdus},
    CounterRow{"snack_pdus", &SessionStatistics::snack_pdus},
    CounterRow{"noprx_pdus", &SessionStatistics::noprx_pdus},
    CounterRow{"scsirsp_pdus", &SessionStatistics::scsirsp_pdus},
    CounterRow{"tmfrsp_pdus", &SessionStatistics::tmfrsp_pdus},
    CounterRow{"textrsp_pdus", &SessionStatistics::textrsp_pdus},
    CounterRow{"datain_pdus", &SessionStatistics::datain_pdus},
    CounterRow{"logoutrsp_pdus", &SessionStatistics::logoutrsp_pdus},
    CounterRow{"r2t_pdus", &SessionStatistics::r2t_pdus},
    CounterRow{"async_pdus", &SessionStatistics::async_pdus},
    CounterRow{"rjt_pdus", &SessionStatistics::rjt_pdus},
    CounterRow{"digest_err", &SessionStatistics::digest_err},
    CounterRow{"timeout_err", &SessionStatistics::timeout_err},
};

constexpr SessionStatistics sum(SessionStatistics a, const SessionStatistics& b) {
    for (const CounterRow& row : session_counters) {
        a.*row.value += b.*row.value;
    }
    return a;
}

} // namespace iscsi::base
