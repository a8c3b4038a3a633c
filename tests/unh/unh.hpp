// What the tests of the full feature phase suite share. The suite is UNH-IOL's for initiators, of 62 tests;
// each is here by its number, in our words, on the scripted target: the judge behind it (scripted/judge.hpp)
// looks at every PDU besides what a test asks for by itself.
#pragma once

#include "scripted/rig.hpp"

#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace iscsi::scripted::unh {

inline constexpr std::uint32_t segment = 4096;      ///< the target's MaxRecvDataSegmentLength
inline constexpr std::uint32_t first_burst = 16384; ///< as agreed on
inline constexpr std::uint32_t max_burst = 32768;   ///< as agreed on

/// A login in one of the four modes of data transfer, with small bursts.
inline RigConfig mode(bool initial_r2t, bool immediate_data) {
    RigConfig config;
    config.login.offers.initial_r2t = initial_r2t;
    config.login.offers.immediate_data = immediate_data;
    config.login.offers.first_burst_bytes = first_burst;
    config.login.offers.max_burst_bytes = max_burst;
    config.target.keys["MaxRecvDataSegmentLength"] = std::to_string(segment);
    return config;
}

/// The initiator did nothing that it must not do, and all that was expected.
inline void check_clean(const Target& target) {
    CHECK(target.complaints() == std::vector<std::string>());
}

/// Data-Out PDUs by the sequence they belong to: no_tag is the unsolicited one.
inline std::map<std::uint32_t, std::vector<Pdu>> sequences(const Target& target) {
    std::map<std::uint32_t, std::vector<Pdu>> all;
    for (const Pdu& pdu : target.seen(data_out)) {
        all[pdu.get32(field::ttt)].push_back(pdu);
    }
    return all;
}

inline std::size_t bytes_of_all(const std::vector<Pdu>& pdus) {
    std::size_t bytes = 0;
    for (const Pdu& pdu : pdus) {
        bytes += pdu.data.size();
    }
    return bytes;
}

/// What the initiator said of `key` in its logins.
inline std::string offered(const Target& target, std::string_view key) {
    for (const Pdu& request : target.seen(login_request)) {
        if (auto value = request.key(key)) {
            return *value;
        }
    }
    return "";
}

} // namespace iscsi::scripted::unh
