// SCSI commands of control's (scan, and whoever needs any CDB) that are on their way through a nexus. Their
// memory is kept here and not by who asks: he may be sent away while the session still has the command.
// Owned by a Nexus; thread of its shard.
#pragma once

#include "base/bytes.hpp"
#include "base/time.hpp"
#include "base/units.hpp"
#include "ring/await.hpp"
#include "shard/path.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <vector>

namespace iscsi::shard {

/// What is written lives in the caller's frame; nobody looks at it once the command is begun.
struct PassThrough {
    base::Lun lun;
    std::array<std::byte, 16> cdb{};
    std::uint8_t cdb_bytes = 0;
    std::uint32_t data_in_bytes = 0; ///< that the target may send
    base::Bytes data_out;
    base::Duration timeout{}; ///< after it the command is aborted, and more if that does not help
    session::TaskAttribute attribute = session::TaskAttribute::simple;
};

struct PassThroughReply {
    session::Outcome outcome = session::Outcome::pending;
    std::uint8_t response = 0;
    std::uint8_t status = 0;
    std::vector<std::byte> data; ///< what the target has sent
    std::vector<std::byte> sense;
};

/// One of them.
struct PassedThrough : PathCommand {
    std::vector<std::byte> read;
    std::vector<std::byte> written;
    ring::Event answered;     ///< or given up: take() has the reply
    bool is_given_up = false; ///< nobody waits for it any more
};

class PassThroughs {
public:
    /// To be submitted, with its owner and handler; lives until take(), or on_done() when it was given up.
    PassedThrough& add(const PassThrough& request);
    /// When it was `answered`: the reply.
    PassThroughReply take(PassedThrough& command);
    /// The session has given it back.
    void on_done(PassedThrough& command);
    /// Whoever waits is told that his command is lost. The session has them until they end.
    void give_up();

private:
    void forget(const PassedThrough& command);

    std::list<PassedThrough> commands_;
};

} // namespace iscsi::shard
