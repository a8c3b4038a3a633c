#include "control/interrupt.hpp"

#include <utility>

namespace iscsi::control {

Interrupt::Action::Action(Interrupt& interrupt, std::function<void()> action)
    : interrupt_(interrupt), action_(std::move(action)) {
    if (interrupt_.set_) {
        action_();
    } else {
        interrupt_.actions_.push_back(this);
    }
}

Interrupt::Action::~Action() {
    interrupt_.actions_.remove(this);
}

void Interrupt::set() {
    set_ = true;
    // An action may end the life of others, and its own.
    while (!actions_.empty()) {
        Action* next = actions_.front();
        actions_.pop_front();
        const std::function<void()> action = std::move(next->action_);
        action();
    }
}

} // namespace iscsi::control
