#include "session/event.hpp"

namespace iscsi::session {

void EventQueue::push(const Event& event) {
    if (must_act(event.kind)) {
        for (std::size_t i = 0; i < count_; ++i) {
            if (slot(i).kind == event.kind) {
                std::uint32_t missed = slot(i).missed;
                slot(i) = event;
                slot(i).missed = missed;
                return;
            }
        }
    } else if (count_ >= capacity - must_act_kinds) {
        ++slot(count_ - 1).missed;
        return;
    }
    slot(count_) = event;
    ++count_;
}

std::optional<Event> EventQueue::pop() {
    if (count_ == 0) {
        return std::nullopt;
    }
    Event event = ring_[first_];
    first_ = (first_ + 1) % capacity;
    --count_;
    return event;
}

} // namespace iscsi::session
