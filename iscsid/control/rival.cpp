#include "control/rival.hpp"

#include "base/limits.hpp"

#include <utility>

namespace iscsi::control {

ring::Task<tl::expected<shard::OpenReply, shard::OpenFailure>> Rival::open(shard::OpenRequest request) {
    constexpr std::uint32_t tasks_min = 2;
    request.tasks = tasks_min;
    request.nop_out_interval = {};
    request.nop_out_timeout = {};
    return nexus_.open(std::move(request));
}

ring::Task<std::optional<base::Duration>> Rival::ended_after(base::TimePoint begun_at) {
    ring::EventOrDeadline waiting(loop_, ended_, loop_.now() + base::limits::reinstatement_wait);
    bool ended = co_await waiting;
    std::optional<base::Duration> after;
    if (ended && ended_at_ >= begun_at && !asked_to_leave_) {
        after = ended_at_ - begun_at;
    }
    co_return after;
}

void Rival::interrupt() {
    nexus_.retire();
    ended_.set();
}

ring::Task<void> Rival::end() {
    co_await nexus_.abandon();
    // What the nexus still had to tell was posted before this.
    auto nothing = [] {};
    ring::Call after_notices(loop_, loop_, nothing);
    co_await after_notices;
}

void Rival::on_nexus_dropped(const base::Error& error) {
    if (error.code == base::Errc::disconnected) {
        ended_at_ = ring::monotonic_now();
        ended_.set();
    }
}

void Rival::on_nexus_event(const session::Event& event) {
    using Kind = session::Event::Kind;
    asked_to_leave_ |= event.kind == Kind::logout_requested || event.kind == Kind::renegotiation_requested;
}

void Rival::on_lun_effects(base::Lun /*lun*/, const scsi::Disposition& /*disposition*/) {}

} // namespace iscsi::control
