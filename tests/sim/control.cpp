#include "sim/control.hpp"

#include <algorithm>
#include <cstring>
#include <netinet/in.h>

namespace iscsi::sim {
namespace {

using std::chrono::seconds;

constexpr base::Duration pause_first = seconds(1);
constexpr base::Duration pause_longest = seconds(30);
constexpr base::Duration recovery_step = seconds(1);

} // namespace

shard::OpenRequest open_request(const Plan& plan) {
    shard::OpenRequest request;
    request.endpoints.resize(1);
    reinterpret_cast<sockaddr_in&>(request.endpoints.front().address).sin_family = AF_INET;
    request.endpoints.front().address_bytes = sizeof(sockaddr_in);
    request.login.initiator_name = "iqn.2026-01.example:initiator";
    request.login.target_name = "iqn.2026-01.example:target";
    request.login.isid = base::Isid(0x80123456789aULL);
    request.login.cmd_sn = base::CmdSn(plan.cmd_sn);
    request.login.offers = plan.offers;
    request.connect_timeout = seconds(10);
    request.connect_again_every = std::chrono::milliseconds(200);
    request.login_timeout = seconds(10);
    request.logout_timeout = seconds(10);
    request.tasks = plan.tasks;
    if (plan.pings) {
        request.nop_out_interval = seconds(5);
        request.nop_out_timeout = seconds(5);
    }
    request.recovery = {seconds(plan.command_timeout_s), seconds(15), seconds(30), seconds(30)};
    return request;
}

Control::Control(Stage& stage, ring::Loop& loop, const Plan& plan)
    : stage_(stage), loop_(loop), plan_(plan), request_(open_request(plan)),
      nexus_(std::make_unique<shard::Nexus>(loop, loop, *this)) {}

Control::~Control() = default;

void Control::serve(shard::Lun& lun, const scsi::LunFacts& facts) {
    lun_ = &lun;
    facts_ = facts;
}

void Control::begin() {
    state_ = State::recovering;
    procedures_.spawn(recover());
}

void Control::on_nexus_dropped(const base::Error& error) {
    stage_.say("control: the session is lost: {}", error.detail);
    dropped_ = true;
    if (error.code == base::Errc::digest) {
        stage_.met.add(Encounter::digest_of_ours);
    }
    if (state_ == State::running) {
        begin();
    }
}

void Control::on_nexus_event(const session::Event& event) {
    using Kind = session::Event::Kind;
    if (event.kind == Kind::connection_dropped || event.kind == Kind::session_dropped) {
        time2wait_ = seconds(event.time2wait_s);
    } else if (event.kind == Kind::scsi) {
        constexpr std::uint8_t check_condition = 0x02;
        on_lun_effects(event.lun,
                       scsi::classify(check_condition, base::Bytes(event.sense).first(event.sense_bytes)));
    }
}

void Control::on_lun_effects(base::Lun, const scsi::Disposition&) {
    look_wanted_ = true;
    if (!looking_ && state_ != State::ending) {
        procedures_.spawn(look_at_unit());
    }
}

ring::Task<void> Control::recover() {
    ring::Event recovered;
    ring::TaskGroup timeout;
    timeout.spawn(fail_after_timeout(recovered));
    base::Duration pause = seconds(plan_.offers.time2wait_s);
    pause = std::exchange(time2wait_, std::nullopt).value_or(pause);
    while (state_ == State::recovering) {
        ring::EventOrDeadline waiting(loop_, interrupted_, loop_.now() + pause);
        const bool interrupted = co_await waiting;
        if (interrupted) {
            break;
        }
        const bool again = co_await try_again();
        if (again && !dropped_) {
            if (state_ == State::recovering) {
                stage_.say("control: the session is back");
                state_ = State::running;
            }
            break;
        }
        pause = std::clamp(pause * 2, pause_first, pause_longest);
    }
    recovered.set();
    co_await timeout.join();
}

ring::Task<void> Control::fail_after_timeout(ring::Event& recovered) {
    base::Deadline deadline = loop_.now() + seconds(plan_.replacement_timeout_s);
    ring::EventOrDeadline waiting(loop_, recovered, deadline);
    const bool in_time = co_await waiting;
    if (!in_time && state_ == State::recovering) {
        stage_.say("control: not back in time, the path fails");
        nexus_->fail();
        co_await recovered;
    }
}

ring::Task<bool> Control::try_again() {
    shard::OpenRequest request = request_;
    dropped_ = false;
    auto opened = co_await nexus_->open(std::move(request));
    if (!opened) {
        stage_.say("control: no login: {}", opened.error().error.detail);
        co_return false;
    }
    ++openings_;
    const bool same = co_await is_the_unit();
    if (state_ == State::ending) {
        co_return same;
    }
    if (same) {
        lun_->update(facts_, asked_at_);
        nexus_->resume();
        co_return true;
    }
    auto logged_out = co_await nexus_->log_out();
    co_return false;
}

/// Asks as the scan does, with its patience for unit attentions.
ring::Task<bool> Control::is_the_unit() {
    constexpr std::uint8_t page_bytes = 64;
    for (int tries = 0; tries < 10; ++tries) {
        shard::PassThrough inquiry;
        inquiry.lun = facts_.lun;
        inquiry.cdb = {std::byte{0x12}, std::byte{1}, std::byte{0x80}, std::byte{0}, std::byte{page_bytes}};
        inquiry.cdb_bytes = 6;
        inquiry.data_in_bytes = page_bytes;
        inquiry.timeout = base::limits::scsi_scan_timeout;
        asked_at_ = loop_.now();
        auto reply = co_await nexus_->execute(inquiry);
        if (reply.outcome == session::Outcome::lost) {
            co_return false;
        }
        if (reply.outcome == session::Outcome::responded && reply.status == 0) {
            co_return reply.data.size() >= 8 && std::memcmp(reply.data.data() + 4, "SIM1", 4) == 0;
        }
    }
    co_return false;
}

ring::Task<void> Control::look_at_unit() {
    looking_ = true;
    look_began_ = loop_.now();
    while (std::exchange(look_wanted_, false) && state_ != State::ending) {
        const unsigned opening = openings_;
        bool looked = false;
        if (state_ == State::running) {
            looked = co_await is_the_unit();
        }
        // A login meanwhile has compared it too; what a session before it said does not count.
        if (looked && openings_ == opening && state_ == State::running) {
            lun_->update(facts_, asked_at_);
            continue;
        }
        look_wanted_ = true;
        ring::EventOrDeadline waiting(loop_, stopped_, loop_.now() + recovery_step);
        co_await waiting;
    }
    looking_ = false;
}

bool Control::may_be_barred() {
    barred_ |= looking_ && stage_.now >= look_began_ + base::limits::scsi_doubt_max;
    return barred_;
}

void Control::end() {
    state_ = State::ending;
    interrupted_.set();
    stopped_.set();
    nexus_->retire();
}

void Control::log_out() {
    procedures_.spawn(leave());
}

ring::Task<void> Control::leave() {
    auto result = co_await nexus_->log_out();
    logged_out_ = true;
}

} // namespace iscsi::sim
