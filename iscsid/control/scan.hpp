// What a target shows over a session: REPORT LUNS, and each unit's INQUIRY, VPD pages, capacity and mode
// pages, port groups. Commands run on the session's shard; the scanner waits for each on control's thread. A
// unit that becomes ready is waited for, one that wants to be started is started. Unit attentions are
// absorbed; what they say that the scan itself does not find out is passed on.
#pragma once

#include "base/limits.hpp"
#include "base/result.hpp"
#include "ring/await.hpp"
#include "scsi/cdb.hpp"
#include "scsi/lun_facts.hpp"
#include "scsi/retry.hpp"
#include "shard/nexus.hpp"

#include <functional>
#include <span>
#include <vector>

namespace iscsi::control {

/// The units that a target shows.
struct UnitList {
    std::vector<base::Lun> luns; ///< in the target's order
    bool told = true;            ///< false: it knows no REPORT LUNS, these were tried
};

/// The session was lost or is being ended: an error that says nothing about the unit.
inline bool is_cut_off(const base::Error& error) {
    return error.code == base::Errc::transport || error.code == base::Errc::cancelled;
}

class Scanner {
public:
    using News = std::function<void(base::Lun lun, const scsi::Disposition& disposition)>;

    /// `here` is control's loop, `there` the one that `nexus` lives on; both outlive the scanner.
    Scanner(ring::Loop& here, ring::Loop& there, shard::Nexus& nexus, News news = {})
        : here_(here), there_(there), nexus_(nexus), news_(std::move(news)) {}
    /// Once this is set nothing more is sent, and what is asked for fails with Errc::cancelled.
    void stop_at(const ring::Event& end) { end_ = &end; }

    /// The target's units: LUN 0 is asked, then the well known unit for it; a target too old for REPORT LUNS
    /// has LUN 0 and those that follow it without a gap, up to eight. Errors: Errc::transport when the
    /// session was lost, Errc::cancelled, Errc::login when the target does not answer as SCSI asks for.
    ring::Task<base::Result<UnitList>> report_luns();

    /// Everything about one unit. A unit that is no disk comes back with what its INQUIRY said, one whose
    /// port answers inquiries only (standby) without its size. Errors as above, and Errc::again when the unit
    /// does not become ready, or for now does not say what has to be known.
    /// When the target says meanwhile that another unit may answer by now, all is asked anew.
    ring::Task<base::Result<scsi::LunFacts>> inspect(base::Lun lun);
    /// Nothing that the last inspect() has found is older (ring::monotonic_now).
    base::TimePoint began_at() const { return began_at_; }
    /// During the last inspect() the target said that another unit may answer by now: served ones are in
    /// doubt.
    bool met_doubt() const { return met_doubt_; }

    /// Returns when the unit has answered TEST UNIT READY with good status. Errors as of inspect().
    ring::Task<base::Result<void>> wait_until_ready(base::Lun lun);

    /// Makes what the unit holds in its write cache durable.
    ring::Task<base::Result<void>> synchronize_cache(base::Lun lun);

    /// Returns when the unit has done with every command that it had before, of whatever session: by a READ
    /// of its first block that is not begun earlier (ORDERED, SAM-5 8.6.3). A READ, because a unit may let
    /// those that only ask overtake others whatever their attribute (SBC-3, implicit head of queue). What the
    /// unit answers to it does not matter. It may take as long as the session lives: tgtd begins it at a
    /// moment when nobody, on any session, has a command in progress. Errors as of inspect().
    ring::Task<base::Result<void>> drain(const scsi::LunFacts& unit);

private:
    /// What one command brought: the bytes, or an Error that says what the target said.
    using Answer = base::Result<std::vector<std::byte>>;
    /// What became of a command that was sent.
    using Reply = shard::PassThroughReply;

    struct Ask {
        base::Lun lun;
        scsi::Cdb cdb;
        std::uint32_t data_bytes = 0;
        session::TaskAttribute attribute = session::TaskAttribute::simple;
        base::Duration timeout = base::limits::scsi_scan_timeout;
        bool any_answer = false; ///< that it was carried out is enough, whatever came of it
    };

    ring::Task<Answer> ask(Ask ask);
    /// Several that do not depend on each other: one trip to the shard, and one to the target. Their answers
    /// in their order.
    ring::Task<std::vector<Answer>> ask_all(std::vector<Ask> asks);
    /// What comes of the reply to its first attempt, or of the attempts that it deserves behind it.
    ring::Task<Answer> settle(Ask ask, Reply reply);
    ring::Task<void> start(base::Lun lun);
    bool stopped() const { return end_ != nullptr && end_->is_set(); }
    ring::Task<void> pause(base::TimePoint until);
    void pass_on(base::Lun lun, scsi::Disposition disposition);
    ring::Task<Answer> list_units(base::Lun lun, std::uint32_t bytes);
    ring::Task<base::Result<UnitList>> try_luns();
    ring::Task<base::Result<scsi::LunFacts>> inspect_once(base::Lun lun);
    ring::Task<base::Result<void>> inquire(scsi::LunFacts& facts);
    /// Optional as pages are; the session is not.
    ring::Task<base::Result<void>> read_access(scsi::LunFacts& facts);
    ring::Task<Reply> execute(const Ask& ask);
    ring::Task<std::vector<Reply>> execute_all(const std::vector<Ask>& asks);
    /// The VPD pages; of a port that serves data capacity and mode pages, too.
    ring::Task<base::Result<void>> read_pages(scsi::LunFacts& facts, bool serves_data);
    static std::vector<Ask> page_asks(const scsi::LunFacts& facts);
    static base::Result<void> apply_pages(scsi::LunFacts& facts, std::span<Answer> answers);
    static void add_rest(const scsi::LunFacts& facts, std::vector<Ask>& asks);
    ring::Task<base::Result<void>> take_rest(scsi::LunFacts& facts, std::span<Answer> answers);
    static Ask capacity16_ask(const scsi::LunFacts& facts);
    ring::Task<base::Result<void>> read_capacity10(scsi::LunFacts& facts);
    static base::Result<void> apply_modes(scsi::LunFacts& facts, std::span<Answer> answers);

    ring::Loop& here_;
    ring::Loop& there_;
    shard::Nexus& nexus_;
    News news_;
    const ring::Event* end_ = nullptr;
    scsi::Effects found_out_; ///< what the commands that follow will show
    bool met_doubt_ = false;
    bool doubtful_ = false; ///< by a unit attention, in the present turn of inspect()
    base::TimePoint began_at_;
};

} // namespace iscsi::control
