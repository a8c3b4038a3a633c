// Hears when a way to a target may have come back: a link that is up, an address that is usable, a route. A
// session that waits for its next try then does not wait any longer. Hints, no more: nothing depends on them.
// rtnetlink(7), Linux 3.17. Control's thread.
#pragma once

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "ring/await.hpp"

#include <functional>

namespace iscsi::control {

/// Whether one of these rtnetlink messages is news of a way that is there now. Cut messages are passed over.
bool opens_a_way(base::Bytes messages);

class NetworkWatch {
public:
    /// `on_change` is called from run().
    NetworkWatch(ring::Loop& loop, std::function<void()> on_change)
        : loop_(loop), on_change_(std::move(on_change)) {}
    NetworkWatch(const NetworkWatch&) = delete;
    NetworkWatch& operator=(const NetworkWatch&) = delete;
    ~NetworkWatch();

    /// Begins to listen. Errors: internal, with the system call.
    base::Result<void> open();
    /// Hears until end(). After an open() that succeeded; once.
    ring::Task<void> run();
    /// run() ends soon. Idempotent.
    void end();

private:
    ring::Loop& loop_;
    std::function<void()> on_change_;
    int fd_ = -1;
    bool ended_ = false;
    ring::OpWait* receiving_ = nullptr;
};

} // namespace iscsi::control
