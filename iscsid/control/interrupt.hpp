// Ends conversations before their time. Who has one says how that is done; who ends them says when, and need
// not know what there is, nor where it has got to. Control's thread.
#pragma once

#include <functional>
#include <list>
#include <memory>

namespace iscsi::control {

class Interrupt {
    struct State;

public:
    /// While it lives: what is done at set(), once; at once when that was before.
    class Action {
    public:
        Action(Interrupt& interrupt, std::function<void()> action);
        Action(const Action&) = delete;
        Action& operator=(const Action&) = delete;
        ~Action();

    private:
        friend class Interrupt;
        std::shared_ptr<State> state_;
        std::function<void()> action_;
    };

    Interrupt() = default;
    Interrupt(const Interrupt&) = delete;
    Interrupt& operator=(const Interrupt&) = delete;

    /// For good. Idempotent. Whoever waited may go on from within this, and end the life of the Interrupt.
    void set();
    bool is_set() const { return state_->set; }

private:
    struct State {
        bool set = false;
        std::list<Action*> actions;
    };

    std::shared_ptr<State> state_ = std::make_shared<State>();
};

} // namespace iscsi::control
