// The seam between the write oracle's load and what it writes to: a block device or an NBD export. A source
// takes requests at any time, and gives each back exactly once. The buffers are the caller's and stay where
// they are until then. One thread.
#pragma once

#include "base/bytes.hpp"

#include <cstddef>
#include <cstdint>
#include <poll.h>
#include <string>
#include <vector>

namespace iscsi::faults {

enum class Verb { read, write, flush, zero, trim };

struct Request {
    Verb verb = Verb::read;
    std::uint64_t offset = 0; ///< bytes
    std::uint64_t length = 0; ///< bytes; 0 for a flush
    bool fua = false;         ///< a write or zero that is answered only when it is on the medium
    base::MutableBytes data;  ///< of reads and writes, `length` bytes, aligned to a page
    std::size_t slot = 0;     ///< the caller's, given back with the answer
};

/// What became of a request.
struct Answer {
    std::size_t slot = 0;
    int error = 0;     ///< 0 or an errno
    bool lost = false; ///< the connection to the source ended first; whether it was executed nobody knows
};

class Source {
public:
    Source() = default;
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;
    virtual ~Source() = default;

    virtual std::uint64_t size_bytes() const = 0;
    virtual bool can(Verb verb) const = 0;
    virtual bool can_fua() const = 0;

    /// Whether submit() may be called. A source that lost its connection is not ready until it is there
    /// again.
    virtual bool ready() const = 0;
    virtual void submit(const Request& request) = 0;

    /// What to wait for before the next progress(); the descriptor is -1 when there is only time to wait for.
    virtual pollfd waits_for() = 0;

    /// Does what can be done now, without waiting, and appends the answers that came. `events` is what poll()
    /// said.
    virtual void progress(short events, std::vector<Answer>& answers) = 0;

    /// How often the connection ended and came back.
    virtual std::uint64_t reconnects() const { return 0; }
};

} // namespace iscsi::faults
