#include "shard/nexus.hpp"

#include "base/check.hpp"

#include <algorithm>
#include <utility>

namespace iscsi::shard {
namespace {

/// Events and effects that may be on their way to control; what exceeds them is not told.
constexpr unsigned notices_max = 256;

/// Something the observer is told on its own thread. Rare, so it may allocate.
class DropNotice final : public ring::Message {
public:
    DropNotice(NexusObserver& observer, base::Error error) : observer_(observer), error_(std::move(error)) {}
    void deliver() override {
        observer_.on_nexus_dropped(error_);
        delete this;
    }

private:
    NexusObserver& observer_;
    base::Error error_;
};

class EventNotice final : public ring::Message {
public:
    EventNotice(NexusObserver& observer, std::atomic<unsigned>& undelivered, const session::Event& event)
        : observer_(observer), undelivered_(undelivered), event_(event) {}
    void deliver() override {
        --undelivered_;
        observer_.on_nexus_event(event_);
        delete this;
    }

private:
    NexusObserver& observer_;
    std::atomic<unsigned>& undelivered_;
    session::Event event_;
};

class EffectsNotice final : public ring::Message {
public:
    EffectsNotice(NexusObserver& observer, std::atomic<unsigned>& undelivered, base::Lun lun,
                  const scsi::Disposition& disposition)
        : observer_(observer), undelivered_(undelivered), lun_(lun), disposition_(disposition) {}
    void deliver() override {
        --undelivered_;
        observer_.on_lun_effects(lun_, disposition_);
        delete this;
    }

private:
    NexusObserver& observer_;
    std::atomic<unsigned>& undelivered_;
    base::Lun lun_;
    scsi::Disposition disposition_;
};

struct Waiting : PathCommand {
    ring::Event done;
};

} // namespace

Nexus::Nexus(ring::Loop& loop, ring::Loop& control, NexusObserver& observer)
    : loop_(loop), control_(control), observer_(observer), link_(loop) {}

Nexus::~Nexus() {
    base::check(users_.empty(), "a nexus outlives its users");
}

ring::Task<tl::expected<OpenReply, OpenFailure>> Nexus::open(OpenRequest request) {
    using Reply = tl::expected<OpenReply, OpenFailure>;
    base::check(!has_session() && !link_.is_open(), "a nexus has one session at a time");
    base::Deadline connect_by = loop_.now() + request.connect_timeout;
    auto connected = co_await link_.connect(request.endpoint, request.tcp, connect_by);
    if (!connected) {
        OpenFailure failure{std::move(connected.error()), {}};
        co_return Reply(tl::unexpect, std::move(failure));
    }
    request.login.deadline = ring::monotonic_now() + request.login_timeout;
    auto made = login::Login::make(request.login);
    if (!made) {
        OpenFailure failure{std::move(made.error()), {}};
        co_await link_.end(ring::Stream::Ending::abort);
        co_return Reply(tl::unexpect, std::move(failure));
    }
    std::unique_ptr<login::Login> login = std::move(*made);
    auto driven = co_await link_.drive(*login);
    if (!driven) {
        OpenFailure failure{std::move(driven.error()), login->redirect()};
        co_await link_.end(ring::Stream::Ending::abort);
        co_return Reply(tl::unexpect, std::move(failure));
    }
    start_session(request, *login);
    OpenReply reply;
    reply.session = login->negotiated().session;
    reply.connection = login->negotiated().connection;
    reply.tsih = login->tsih();
    reply.tpgt = login->tpgt();
    reply.target_alias = login->target_alias();
    reply.local_address = link_.local_address();
    co_return Reply(std::move(reply));
}

void Nexus::start_session(const OpenRequest& request, const login::Login& login) {
    session::SessionConfig config;
    config.session = login.negotiated().session;
    config.connection = login.negotiated().connection;
    config.numbers = login.sequence_numbers();
    config.cid = request.login.cid;
    config.tasks = request.tasks;
    config.nop_out_interval = request.nop_out_interval;
    config.nop_out_timeout = request.nop_out_timeout;
    config.logout_timeout = request.logout_timeout;
    past_ = statistics();
    session_ = std::make_unique<session::Session>(config, loop_.now());
    dropped_ = false;
    link_.attach(*session_, *this);
}

void Nexus::resume() {
    if (has_session() && !sealed_) {
        set_state(PathState::up);
    }
}

void Nexus::fail() {
    if (state_ == PathState::down) {
        set_state(PathState::failed);
    }
}

void Nexus::retire() {
    retired_ = true;
    link_.interrupt();
    if (state_ == PathState::down) {
        set_state(PathState::failed);
    }
}

void Nexus::seal() {
    sealed_ = true;
    set_state(PathState::failed);
}

/// The session ends. What has failed stays failed: only a resume() makes waiting worth while again.
void Nexus::leave_up() {
    if (retired_) {
        set_state(PathState::failed);
    } else if (state_ == PathState::up) {
        set_state(PathState::down);
    }
}

void Nexus::set_state(PathState state) {
    if (state_ == state) {
        return;
    }
    state_ = state;
    // A user may leave while it is told.
    std::vector<PathUser*> users = users_;
    for (PathUser* user : users) {
        if (std::ranges::find(users_, user) != users_.end()) {
            user->on_path_state(state);
        }
    }
}

ring::Task<base::Result<void>> Nexus::log_out() {
    base::Result<void> result;
    leave_up();
    if (has_session()) {
        ring::Event done;
        logged_out_ = &done;
        session_->begin_logout(loop_.now());
        link_.mark();
        co_await done;
        logged_out_ = nullptr;
        if (!session_->logged_out()) {
            result = base::fail(base::Errc::logout, "the target did not answer the logout");
        }
    }
    co_await end_session(ring::Stream::Ending::orderly);
    co_return result;
}

ring::Task<void> Nexus::abandon() {
    leave_up();
    co_await end_session(ring::Stream::Ending::abort);
}

ring::Task<void> Nexus::end_session(ring::Stream::Ending ending) {
    co_await link_.end(ending);
    if (has_session()) {
        dropped_ = true;
        session_->abandon();
        deliver_completions();
    }
}

ring::Task<PassThroughReply> Nexus::execute(PassThrough request) {
    Waiting command;
    command.lun = request.lun;
    command.cdb = request.cdb;
    command.cdb_bytes = request.cdb_bytes;
    command.data_in = request.data_in;
    command.data_out = request.data_out;
    command.direction = !request.data_in.empty()    ? session::Direction::in
                        : !request.data_out.empty() ? session::Direction::out
                                                    : session::Direction::none;
    command.owner = &command.done;
    command.on_done = [](void* done, PathCommand&) { static_cast<ring::Event*>(done)->set(); };
    submit(command);
    ring::EventOrDeadline answered(loop_, command.done, loop_.now() + request.timeout);
    bool in_time = co_await answered;
    if (!in_time) {
        base::Error reason{base::Errc::transport, "a SCSI command was not answered in time"};
        link_.drop(std::move(reason));
        co_await command.done;
    }
    PassThroughReply reply;
    reply.outcome = command.outcome;
    reply.response = command.response;
    reply.status = command.status;
    reply.received_bytes = command.received_bytes;
    reply.sense.assign(command.sense.begin(), command.sense.begin() + command.sense_bytes);
    co_return reply;
}

void Nexus::submit(PathCommand& command) {
    if (!has_session()) {
        command.outcome = session::Outcome::lost;
        command.on_done(command.owner, command);
        return;
    }
    session_->submit(command);
    link_.mark();
}

template <class Notice, class... News>
void Nexus::tell(News&&... news) {
    std::atomic<unsigned>& undelivered = observer_.undelivered_;
    if (undelivered < notices_max) {
        ++undelivered;
        control_.post(*new Notice(observer_, undelivered, std::forward<News>(news)...));
    }
}

void Nexus::report_effects(base::Lun lun, const scsi::Disposition& disposition) {
    tell<EffectsNotice>(lun, disposition);
}

session::Statistics Nexus::statistics() const {
    return session_ == nullptr ? past_ : base::sum(past_, session_->statistics());
}

void Nexus::deliver_completions() {
    while (session::Command* done = session_->next_completion()) {
        auto& command = static_cast<PathCommand&>(*done);
        command.on_done(command.owner, command);
    }
}

void Nexus::on_link_progress() {
    deliver_completions();
    while (auto event = session_->next_event()) {
        tell<EventNotice>(*event);
    }
    if (logged_out_ != nullptr && session_->logged_out()) {
        logged_out_->set();
    }
}

void Nexus::on_link_closed(const base::Error& error) {
    dropped_ = true;
    session_->abandon();
    deliver_completions();
    if (logged_out_ != nullptr) {
        logged_out_->set();
        return;
    }
    leave_up();
    control_.post(*new DropNotice(observer_, error));
}

} // namespace iscsi::shard
