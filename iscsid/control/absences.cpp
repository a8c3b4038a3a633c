#include "control/absences.hpp"

#include "base/names.hpp"

#include <fmt/format.h>

namespace iscsi::control {

std::string portal_key(const records::NodeId& id) {
    return fmt::format("{} {},{} {}", id.target, base::comparable_host(id.portal.address), id.portal.port,
                       id.iface);
}

void Absences::begin(bool is_empty, base::TimePoint now, base::Duration grace) {
    is_empty_ = is_empty;
    now_ = now;
    grace_ = grace;
}

bool Absences::is_gone(const records::NodeId& id) const {
    const auto found = absent_.find(portal_key(id));
    const bool is_known = found != absent_.end();
    if (is_empty_) {
        return (is_known && found->second.is_settled) || (empty_since_ && is_over(*empty_since_));
    }
    return is_known && is_over(found->second.since);
}

Absences::News Absences::note(const std::vector<records::NodeId>& lacking,
                              const std::set<std::string>& present) {
    News news;
    std::map<std::string, Absence> absent;
    for (const records::NodeId& id : lacking) {
        const std::string key = portal_key(id);
        if (const auto known = absent_.find(key); known != absent_.end()) {
            Absence& absence = absent.insert(*known).first->second;
            absence.is_settled = absence.is_settled || (!is_empty_ && is_over(absence.since));
        } else if (!is_empty_) {
            absent.emplace(key, Absence{id, now_, false});
            news.missed.push_back(id);
        }
    }
    for (const auto& [key, absence] : absent_) {
        if (present.contains(key)) {
            news.back.push_back(absence.id);
        }
    }
    absent_ = std::move(absent);
    if (!is_empty_ || lacking.empty()) {
        empty_since_.reset();
    } else if (!empty_since_) {
        empty_since_ = now_;
        news.emptied = lacking.size();
    }
    return news;
}

base::Deadline Absences::due() const {
    base::Deadline due;
    if (is_empty_) {
        if (empty_since_ && !is_over(*empty_since_)) {
            due = *empty_since_ + grace_;
        }
        return due;
    }
    for (const auto& [key, absence] : absent_) {
        if (!is_over(absence.since)) {
            due = base::earliest(due, absence.since + grace_);
        }
    }
    return due;
}

} // namespace iscsi::control
