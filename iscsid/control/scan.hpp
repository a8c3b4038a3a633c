// What a target shows over a session: REPORT LUNS, and each unit's INQUIRY, VPD pages, capacity and mode
// pages. Commands run on the session's shard; the scanner waits for each on control's thread. Unit attentions
// after the login are absorbed, a unit that becomes ready is waited for.
#pragma once

#include "base/result.hpp"
#include "ring/await.hpp"
#include "scsi/cdb.hpp"
#include "scsi/lun_facts.hpp"
#include "shard/nexus.hpp"

#include <vector>

namespace iscsi::control {

class Scanner {
public:
    /// `here` is control's loop, `there` the one that `nexus` lives on; both outlive the scanner.
    Scanner(ring::Loop& here, ring::Loop& there, shard::Nexus& nexus)
        : here_(here), there_(there), nexus_(nexus) {}

    /// The target's units, in its order. A target too old for REPORT LUNS has LUN 0. Errors: Errc::transport
    /// when the session was lost, Errc::login when the target does not answer as SCSI asks for.
    ring::Task<base::Result<std::vector<base::Lun>>> report_luns();

    /// Everything about one unit. A unit that is no disk comes back with what its INQUIRY said. Errors as
    /// above, and Errc::again when the unit does not become ready.
    ring::Task<base::Result<scsi::LunFacts>> inspect(base::Lun lun);

    /// Makes what the unit holds in its write cache durable.
    ring::Task<base::Result<void>> synchronize_cache(base::Lun lun);

private:
    /// What one command brought: the bytes, or an Error that says what the target said.
    using Answer = base::Result<std::vector<std::byte>>;

    struct Ask {
        base::Lun lun;
        scsi::Cdb cdb;
        std::size_t data_bytes = 0;
    };

    ring::Task<Answer> ask(Ask ask);
    ring::Task<shard::PassThroughReply> execute(const Ask& ask, std::vector<std::byte>& data);
    ring::Task<base::Result<void>> wait_until_ready(base::Lun lun);
    ring::Task<void> read_pages(scsi::LunFacts& facts);
    ring::Task<base::Result<void>> read_capacity(scsi::LunFacts& facts);
    ring::Task<void> read_modes(scsi::LunFacts& facts);
    /// Pages are optional, the session is not.
    void note_loss(const Answer& answer);

    ring::Loop& here_;
    ring::Loop& there_;
    shard::Nexus& nexus_;
    bool nexus_alive_ = true;
};

} // namespace iscsi::control
