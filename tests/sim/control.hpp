// Control's part in a schedule, played as iscsid/control/recover.cpp and compare.cpp play it: after a drop it
// waits Time2Wait, logs in again with the same ISID, compares the unit's identity and opens the path; when
// that takes longer than the replacement timeout the path fails; a doubt about the unit ends with a look at
// it. One unit, on the loop of the shard. One thread.
#pragma once

#include "ring/await.hpp"
#include "scsi/lun_facts.hpp"
#include "shard/lun.hpp"
#include "shard/nexus.hpp"
#include "sim/plan.hpp"
#include "sim/stage.hpp"

#include <optional>
#include <string_view>

namespace iscsi::sim {

/// A login as the plan has it.
shard::OpenRequest open_request(const Plan& plan);

class Control final : public shard::NexusObserver {
public:
    Control(Stage& stage, ring::Loop& loop, const Plan& plan);
    ~Control() override;

    shard::Nexus& nexus() { return *nexus_; }
    /// The unit that is served; before begin().
    void serve(shard::Lun& lun, const scsi::LunFacts& facts);
    /// Logs in, as after a drop.
    void begin();
    /// The session is up and its path open.
    bool running() const { return state_ == State::running; }
    /// A doubt about the unit was not settled in the time that the Lun waits for that.
    bool may_be_barred();
    /// Nobody brings the session back any more.
    void end();
    bool ended() const { return procedures_.empty(); }
    /// After the unit has gone.
    void log_out();
    bool logged_out() const { return logged_out_; }

private:
    enum class State : std::uint8_t { idle, running, recovering, ending };

    void on_nexus_dropped(const base::Error& error) override;
    void on_nexus_event(const session::Event& event) override;
    void on_lun_effects(base::Lun lun, const scsi::Disposition& disposition) override;

    ring::Task<void> recover();
    ring::Task<void> fail_after_timeout(ring::Event& recovered);
    ring::Task<bool> try_again();
    ring::Task<bool> is_the_unit();
    ring::Task<void> look_at_unit();
    ring::Task<void> leave();

    Stage& stage_;
    ring::Loop& loop_;
    const Plan& plan_;
    const shard::OpenRequest request_;
    std::unique_ptr<shard::Nexus> nexus_;
    shard::Lun* lun_ = nullptr;
    scsi::LunFacts facts_;
    State state_ = State::idle;
    bool dropped_ = false;
    bool barred_ = false;
    base::TimePoint look_began_;
    base::TimePoint asked_at_; ///< when the answer about the unit was asked for
    bool look_wanted_ = false;
    bool looking_ = false;
    bool logged_out_ = false;
    unsigned openings_ = 0;
    std::optional<base::Duration> time2wait_;
    ring::Event interrupted_; ///< for recover()
    ring::Event stopped_;     ///< for look_at_unit()
    ring::TaskGroup procedures_;
};

} // namespace iscsi::sim
