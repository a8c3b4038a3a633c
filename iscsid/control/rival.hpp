// A session that is opened beside another one of the same name (initiator name, ISID, target portal group),
// to see whether the target ends it when the other one logs in, as RFC 7143 section 6.3.5 asks of it. It
// carries no command. Lives on control's loop; control's thread.
#pragma once

#include "ring/await.hpp"
#include "shard/nexus.hpp"

#include <optional>

namespace iscsi::control {

class Rival final : private shard::NexusObserver {
public:
    explicit Rival(ring::Loop& loop) : loop_(loop), nexus_(loop, loop, *this) {}

    /// Logs in. The failures are those of any login.
    ring::Task<tl::expected<shard::OpenReply, shard::OpenFailure>> open(shard::OpenRequest request);
    /// Called when the other one, whose login was begun at `begun_at`, has logged in: how long after that the
    /// target closes this one. Empty when it has not within limits::reinstatement_wait from now, or when it
    /// was closed for another reason: before, or because the target asked for it; and after interrupt().
    ring::Task<std::optional<base::Duration>> ended_after(base::TimePoint begun_at);
    /// An open() or ended_after() in progress ends soon. Idempotent.
    void interrupt();
    void hurry() { nexus_.hurry(); }
    /// To be awaited after an open() that succeeded.
    ring::Task<void> end();

private:
    void on_nexus_dropped(const base::Error& error) override;
    void on_nexus_event(const session::Event& event) override;
    void on_lun_effects(base::Lun lun, const scsi::Disposition& disposition) override;

    ring::Loop& loop_;
    shard::Nexus nexus_;
    ring::Event ended_;
    base::TimePoint ended_at_;
    bool asked_to_leave_ = false;
};

} // namespace iscsi::control
