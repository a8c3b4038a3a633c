// What users have asked of a session's units, for who lists sessions.
#include "control/managed_session.hpp"

#include <cstdint>
#include <map>
#include <vector>

namespace iscsi::control {
namespace {

/// Of all queues of the unit's device.
ipc::IoSnapshot io_snapshot(const ManagedSession& session, const ServedLun& served) {
    std::vector<const shard::LunStatistics*> queues{&served.statistics};
    for (const auto& companion : session.companions) {
        if (const auto mirror = find_served(*companion, served.facts.lun)) {
            queues.push_back(&mirror->statistics);
        }
    }
    auto of = [&queues](shard::LunStatistics::Kind kind) {
        base::LatencyCounts latency;
        std::uint64_t failures = 0;
        std::uint64_t bytes = 0;
        for (const shard::LunStatistics* queue : queues) {
            const shard::KindStatistics& counted = queue->of(kind);
            latency += counted.latency.read();
            failures += counted.failures.value();
            bytes += counted.bytes.value();
        }
        return ipc::snapshot(latency, failures, bytes);
    };
    using Kind = shard::LunStatistics::Kind;
    ipc::IoSnapshot io{of(Kind::read), of(Kind::write), of(Kind::other), 0, 0, 0};
    for (const shard::LunStatistics* queue : queues) {
        io.in_hand += queue->in_hand();
        io.waits += queue->waits();
        io.waited_us += queue->waited_us();
    }
    return io;
}

} // namespace

void add_io(const ManagedSession& session, ipc::SessionSnapshot& snapshot) {
    std::map<std::uint64_t, const ServedLun*> by_number;
    for (const auto& served : session.luns) {
        by_number.emplace(scsi::lun_number(served->facts.lun), served.get());
    }
    for (ipc::AttachedLun& lun : snapshot.luns) {
        if (const auto found = by_number.find(lun.number); found != by_number.end()) {
            lun.io = io_snapshot(session, *found->second);
        }
    }
}

} // namespace iscsi::control
