#include "control/interrupt.hpp"

#include <utility>

namespace iscsi::control {

Interrupt::Action::Action(Interrupt& interrupt, std::function<void()> action)
    : state_(interrupt.state_), action_(std::move(action)) {
    if (state_->set) {
        action_();
    } else {
        state_->actions.push_back(this);
    }
}

Interrupt::Action::~Action() {
    state_->actions.remove(this);
}

void Interrupt::set() {
    // An action may end the life of others, its own, and that of this object: who waited for a client goes on
    // to the end of the frame that the client is in.
    const std::shared_ptr<State> state = state_;
    state->set = true;
    while (!state->actions.empty()) {
        Action* next = state->actions.front();
        state->actions.pop_front();
        const std::function<void()> action = std::move(next->action_);
        action();
    }
}

} // namespace iscsi::control
