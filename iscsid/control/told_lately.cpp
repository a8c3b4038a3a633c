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

} // namespace iscsi::control
