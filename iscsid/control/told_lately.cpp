#include "control/told_lately.hpp"

#include <utility>

namespace iscsi::control {
namespace {

constexpr base::Duration lately = std::chrono::minutes(1);

} // namespace

scsi::Effects ToldLately::news(scsi::Effects effects, base::TimePoint now) {
    if (now - since_ >= lately || told_.none()) {
        told_ = {};
        since_ = now;
    }
    const scsi::Effects fresh = effects.without(told_);
    told_ = told_ | effects;
    return fresh;
}

std::optional<unsigned> LineLimit::admit(base::TimePoint now) {
    if (last_ && now - *last_ < lately) {
        ++left_out_;
        return std::nullopt;
    }
    last_ = now;
    return std::exchange(left_out_, 0);
}

EventLimiter::Count& EventLimiter::count_of(const Key& key, base::TimePoint now) {
    if (counts_.size() >= keys_max && !counts_.contains(key)) {
        // Of sessions that have ended, most likely.
        std::erase_if(counts_, [now](const auto& entry) { return now - entry.second.since >= lately; });
    }
    // More than that at a time share the room of their event.
    const bool has_room = counts_.size() < keys_max || counts_.contains(key);
    return counts_.try_emplace(has_room ? key : Key{key.event, 0, 0}, Count{now}).first->second;
}

std::optional<unsigned> EventLimiter::admit(const Key& key, base::TimePoint now) {
    Count& count = count_of(key, now);
    if (now - count.since >= lately) {
        count.since = now;
        count.lines = 0;
    }
    if (count.lines == lines_a_minute) {
        ++count.left_out;
        return std::nullopt;
    }
    ++count.lines;
    return std::exchange(count.left_out, 0);
}

} // namespace iscsi::control
