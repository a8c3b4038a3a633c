// One operation given to the kernel. The Op is owned by whoever waits for it and its address is the SQE's
// user_data, so a completion costs no look-up and no allocation. It must stay in place while pending().
// Thread of its ring.
#pragma once

#include <cstdint>

namespace iscsi::ring {

/// What the kernel said: `result` as the system call would return it, errors as -errno; `flags`
/// IORING_CQE_F_*.
/// Without initialisers, so that a batch of them costs nothing to make.
struct Completion {
    int result;
    std::uint32_t flags;
};

class Op {
public:
    using Handler = void (*)(void* owner, Completion completion);

    Op(void* owner, Handler handler) : owner_(owner), handler_(handler) {}
    Op(const Op&) = delete;
    Op& operator=(const Op&) = delete;

    /// An Op that calls `(owner->*Method)(completion)`.
    template <auto Method, class Owner>
    static Op to(Owner* owner) {
        return Op(owner, [](void* self, Completion completion) {
            (static_cast<Owner*>(self)->*Method)(completion);
        });
    }

    /// Given to the kernel and not (finally) completed yet.
    bool pending() const { return pending_; }

private:
    friend class Ring;
    void* owner_;
    Handler handler_;
    bool pending_ = false;
};

} // namespace iscsi::ring
