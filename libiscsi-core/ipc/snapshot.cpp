#include "ipc/snapshot.hpp"

#include <array>

namespace iscsi::ipc {
namespace {

// In the order of the enumerators.
constexpr std::array<std::string_view, 8> connection_texts{
    "FREE",      "TRANSPORT WAIT",   "IN LOGIN",     "LOGGED IN",
    "IN LOGOUT", "LOGOUT REQUESTED", "CLEANUP WAIT", "Unknown"};
constexpr std::array<std::string_view, 3> session_texts{"LOGGED_IN", "FAILED", "FREE"};
constexpr std::array<std::string_view, 5> internal_texts{"NO CHANGE", "CLEANUP", "REOPEN", "REDIRECT",
                                                         "Unknown"};

} // namespace

std::string_view text(ConnectionState state) {
    return connection_texts.at(static_cast<std::size_t>(state));
}

std::string_view text(SessionState state) {
    return session_texts.at(static_cast<std::size_t>(state));
}

std::string_view text(InternalState state) {
    return internal_texts.at(static_cast<std::size_t>(state));
}

KindSnapshot snapshot(const base::LatencyCounts& latency, std::uint64_t failures, std::uint64_t bytes) {
    KindSnapshot out;
    out.requests = latency.count();
    out.failures = failures;
    out.bytes = bytes;
    out.sum_us = latency.sum_us;
    for (std::size_t i = 0; i < latency.buckets.size(); ++i) {
        if (latency.buckets[i] != 0) {
            out.latency_us.push_back({base::latency::lowest_us(i), latency.buckets[i]});
        }
    }
    return out;
}

base::LatencyCounts latency_of(const KindSnapshot& kind) {
    base::LatencyCounts counts;
    counts.sum_us = kind.sum_us;
    for (const std::vector<std::uint64_t>& pair : kind.latency_us) {
        const std::size_t bucket = pair.size() == 2 ? base::latency::bucket_of(pair[0]) : 0;
        if (pair.size() == 2 && base::latency::lowest_us(bucket) == pair[0]) {
            counts.buckets[bucket] += pair[1];
        }
    }
    return counts;
}

} // namespace iscsi::ipc
