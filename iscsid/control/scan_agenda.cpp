#include "control/scan_agenda.hpp"

#include <algorithm>
#include <utility>

namespace iscsi::control {
namespace {

using enum scsi::Effect;

/// A look at the unit shows what has come of these.
constexpr scsi::Effects worth_a_look = capacity_changed | mode_changed | inquiry_changed | power_on_reset |
                                       asymmetric_access_changed | needs_start | unit_gone | identity_doubt;

/// Looks side by side that nobody waits for: the others have the connection to themselves for the most part.
constexpr std::size_t unhurried_max = 16;

} // namespace

base::Deadline ScanAgenda::Pace::due() const {
    if (!noted_at) {
        return {};
    }
    return std::max(*noted_at + settle, free_at);
}

void ScanAgenda::Pace::note(base::TimePoint now) {
    if (!noted_at) {
        noted_at = now;
    }
}

void ScanAgenda::Pace::begin_round(base::TimePoint now) {
    const bool was_quiet = pause == base::Duration::zero() || *noted_at - free_at >= most;
    pause = was_quiet ? first : std::min(pause * 2, most);
    free_at = now + pause;
    noted_at.reset();
}

void ScanAgenda::note(base::Lun lun, scsi::Effects effects, base::TimePoint now) {
    effects = effects.common(worth_a_look);
    if (effects.none()) {
        return;
    }
    if (auto look = looks_.find(lun.value()); look != looks_.end()) {
        look->second.meanwhile = look->second.meanwhile | effects;
    } else if (effects.has(identity_doubt)) {
        noted_.erase(lun.value());
        std::erase(in_line_, lun.value());
        in_doubt_.insert(lun.value());
        doubts_.note(now);
    } else if (!in_doubt_.contains(lun.value()) &&
               std::ranges::find(in_line_, lun.value()) == in_line_.end()) {
        noted_.insert(lun.value());
        others_.note(now);
    }
}

void ScanAgenda::note_luns(base::TimePoint now) {
    luns_ = true;
    others_.note(now);
}

base::Deadline ScanAgenda::due() const {
    if (!in_line_.empty() && unhurried_ < unhurried_max) {
        return base::TimePoint();
    }
    return base::earliest(doubts_.due(), others_.due());
}

ScanAgenda::Work ScanAgenda::take(base::TimePoint now) {
    Work work;
    if (base::is_due(doubts_.due(), now)) {
        doubts_.begin_round(now);
        for (std::uint64_t lun : std::exchange(in_doubt_, {})) {
            begin_look(work, lun, true);
        }
    }
    if (base::is_due(others_.due(), now)) {
        others_.begin_round(now);
        work.luns = std::exchange(luns_, false);
        in_line_.insert(in_line_.end(), noted_.begin(), noted_.end());
        noted_.clear();
    }
    while (!in_line_.empty() && unhurried_ < unhurried_max) {
        begin_look(work, in_line_.front(), false);
        in_line_.pop_front();
    }
    return work;
}

void ScanAgenda::begin_look(Work& work, std::uint64_t lun, bool in_doubt) {
    work.units.push_back({base::Lun(lun), in_doubt});
    looks_[lun].in_doubt = in_doubt;
    unhurried_ += in_doubt ? 0 : 1;
}

void ScanAgenda::done(base::Lun lun, base::TimePoint now) {
    const auto found = looks_.find(lun.value());
    if (found == looks_.end()) {
        return;
    }
    const Look look = found->second;
    looks_.erase(found);
    unhurried_ -= look.in_doubt ? 0 : 1;
    note(lun, look.meanwhile, now);
}

} // namespace iscsi::control
