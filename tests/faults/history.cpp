#include "faults/history.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace iscsi::faults {

bool History::fits(const Version& version, const Reading& reading) {
    if (version.zeros) {
        return reading.content == Content::zeros;
    }
    return reading.content == Content::stamped && reading.stamp.sequence == version.sequence;
}

std::uint64_t History::possible(const Versions& versions) {
    return static_cast<std::uint64_t>(std::ranges::count_if(versions, &Kept::possible));
}

History::History(std::uint64_t sectors) : versions_(sectors) {
    const std::uint64_t begin = now();
    for (Versions& versions : versions_) {
        versions.push_back({{0, true}, begin, true, false});
    }
}

void History::acknowledged(std::uint64_t sector, Version version, bool durable) {
    Versions& versions = versions_[sector];
    if (durable) {
        versions.clear();
    }
    // They can still come back, with a lost cache.
    for (Kept& kept : versions) {
        kept.possible = false;
    }
    versions.push_back({version, now(), true, false});
    if (versions.size() > 1) {
        several_.insert(sector);
    } else {
        several_.erase(sector);
    }
}

void History::doubtful(std::uint64_t sector, Version version) {
    versions_[sector].push_back({version, 0, true, false});
    several_.insert(sector);
}

std::optional<std::string> History::flushed(std::uint64_t sent) {
    for (auto place = several_.begin(); place != several_.end();) {
        Versions& versions = versions_[*place];
        const auto last = std::find_if(versions.rbegin(), versions.rend(), [sent](const Kept& kept) {
            return kept.settled != 0 && kept.settled <= sent;
        });
        if (last != versions.rend()) {
            versions.erase(versions.begin(), std::prev(last.base()));
        }
        place = versions.size() > 1 ? std::next(place) : several_.erase(place);
    }
    if (lost_ == 0 || lost_ > sent) {
        return std::nullopt;
    }
    lost_ = 0;
    return "a flush was answered well, but a write that was acknowledged before it died with the target's "
           "cache";
}

void History::flush_failed() {
    lost_ = 0;
    for (const std::uint64_t sector : several_) {
        Versions& versions = versions_[sector];
        if (possible(versions) > 1) {
            std::ranges::for_each(versions, [](Kept& kept) { kept.settled = 0; });
        }
    }
}

void History::cache_lost() {
    for (const std::uint64_t sector : several_) {
        std::ranges::for_each(versions_[sector], [](Kept& kept) { kept.possible = true; });
    }
}

std::optional<std::string> History::read(std::uint64_t sector, const Reading& reading) {
    Versions& versions = versions_[sector];
    const auto found = std::find_if(versions.rbegin(), versions.rend(), [&reading](const Kept& kept) {
        return kept.possible && fits(kept.version, reading);
    });
    if (found == versions.rend()) {
        return complaint(sector, reading);
    }
    for (auto later = versions.rbegin(); later != found; ++later) {
        if (later->settled != 0 && (lost_ == 0 || later->settled < lost_)) {
            lost_ = later->settled;
        }
    }
    versions.erase(found.base(), versions.end());
    std::ranges::for_each(versions, [](Kept& kept) { kept.possible = false; });
    Kept& there = versions.back();
    there.possible = there.seen = true;
    if (there.settled == 0) {
        there.settled = now();
    }
    return std::nullopt;
}

std::string History::complaint(std::uint64_t sector, const Reading& reading) const {
    const Versions& versions = versions_[sector];
    std::string expected;
    bool was_seen = false;
    std::uint64_t newest = 0;
    for (const Kept& kept : versions) {
        if (!kept.possible) {
            continue;
        }
        const char* sort = kept.settled != 0 ? "" : " (in doubt)";
        expected +=
            fmt::format("{}{}{}", expected.empty() ? "" : " or ",
                        kept.version.zeros ? "zeros" : fmt::format("write {}", kept.version.sequence), sort);
        was_seen = was_seen || kept.seen;
        newest = std::max(newest, kept.version.sequence);
    }
    const char* verdict = "wrong";
    if (reading.content == Content::stamped) {
        verdict = was_seen ? "ghost" : reading.stamp.sequence < newest ? "stale" : "late";
    } else if (reading.content == Content::zeros) {
        verdict = "stale";
    }
    return fmt::format("sector {}: {}: it holds {}; it should hold {}{}", sector, verdict, describe(reading),
                       expected, was_seen ? ", which was read there before" : "");
}

std::uint64_t History::in_doubt() const {
    return static_cast<std::uint64_t>(std::ranges::count_if(
        several_, [this](std::uint64_t sector) { return possible(versions_[sector]) > 1; }));
}

} // namespace iscsi::faults
