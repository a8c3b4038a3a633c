// A queue of things that are linked through themselves: first come, first served, and nothing is allocated.
// The queue owns nothing; what lies in it stays where it is until it was popped, and lies in no other queue
// through the same member. Not locked: one thread at a time.
#pragma once

#include <cstddef>

namespace iscsi::base {

/// `Next` is the member that links: `Fifo<&Command::next>`. What is derived from the class of that member can
/// be queued too, and comes out as that class.
template <auto Next>
class Fifo;

template <class T, T* T::*Next>
class Fifo<Next> {
public:
    bool empty() const { return first_ == nullptr; }

    /// The one that pop() gives next; nullptr when there is none.
    T* front() const { return first_; }

    void push(T& last) {
        last.*Next = nullptr;
        (empty() ? first_ : last_->*Next) = &last;
        last_ = &last;
    }

    /// The first, which is in no queue then; nullptr when there is none.
    T* pop() {
        T* popped = first_;
        if (popped != nullptr) {
            first_ = popped->*Next;
            popped->*Next = nullptr;
        }
        return popped;
    }

    /// Those of `others`, which it leaves empty, go before its own.
    void prepend(Fifo& others) {
        if (others.empty()) {
            return;
        }
        others.last_->*Next = first_;
        last_ = empty() ? others.last_ : last_;
        first_ = others.first_;
        others = {};
    }

    /// How many there are. It walks along them: for people, and for no I/O.
    std::size_t count() const {
        std::size_t counted = 0;
        for (const T* one = first_; one != nullptr; one = one->*Next) {
            ++counted;
        }
        return counted;
    }

private:
    T* first_ = nullptr;
    T* last_ = nullptr; ///< counts while there is a first
};

} // namespace iscsi::base
