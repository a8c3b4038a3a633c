#include "shard/nexus.hpp"

#include "base/check.hpp"
#include "scsi/cdb.hpp"

#include <algorithm>
#include <utility>

namespace iscsi::shard {
namespace {

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
    EventNotice(NexusObserver& observer, EventBacklog& backlog, const session::Event& event)
        : observer_(observer), backlog_(backlog), event_(event) {}
    void deliver() override {
        event_.missed += backlog_.take();
        observer_.on_nexus_event(event_);
        delete this;
    }

private:
    NexusObserver& observer_;
    EventBacklog& backlog_;
    session::Event event_;
};

constexpr std::uint8_t check_condition = 0x02;

bool is_away(wire::LoginStatus status) {
    using wire::LoginStatus;
    return status == LoginStatus::not_found || status == LoginStatus::target_removed ||
           status == LoginStatus::service_unavailable;
}

std::vector<Endpoint> who_refused(const Link& link) {
    std::vector<Endpoint> refused;
    for (const ConnectFailure& failure : link.failures()) {
        if (failure.was_refused) {
            refused.push_back(failure.endpoint);
        }
    }
    return refused;
}

} // namespace

Nexus::Nexus(ring::Loop& loop, ring::Loop& control, NexusObserver& observer)
    : loop_(loop), control_(control), observer_(observer), link_(loop) {}

Nexus::~Nexus() {
    base::check(users_.empty(), "a nexus outlives its users");
}

ring::Task<tl::expected<OpenReply, OpenFailure>> Nexus::open(OpenRequest request) {
    using Reply = tl::expected<OpenReply, OpenFailure>;
    base::check(!has_session() && !link_.is_open(), "a nexus has one session at a time");
    const ConnectTimes times{loop_.now() + request.connect_timeout, request.connect_again_every,
                             request.preferred};
    auto connected = co_await link_.connect(request.endpoints, request.tcp, times);
    if (!connected) {
        OpenFailure failure{std::move(connected.error()), {}, who_refused(link_), false, {}};
        co_return Reply(tl::unexpect, std::move(failure));
    }
    request.login.deadline = ring::monotonic_now() + request.login_timeout;
    auto made = login::Login::make(request.login);
    if (!made) {
        OpenFailure failure{std::move(made.error()), {}, who_refused(link_), false, {}};
        co_await link_.end(ring::Stream::Ending::abort);
        co_return Reply(tl::unexpect, std::move(failure));
    }
    std::unique_ptr<login::Login> login = std::move(*made);
    auto driven = co_await link_.drive(*login);
    if (!driven) {
        OpenFailure failure{std::move(driven.error()), login->redirect(), who_refused(link_),
                            login->md5_alone_may_do(), *connected,        login->transcript()};
        if (is_away(login->status())) {
            failure.away.push_back(std::move(*connected));
        }
        co_await link_.end(ring::Stream::Ending::abort);
        co_return Reply(tl::unexpect, std::move(failure));
    }
    start_session(request, *login);
    OpenReply reply;
    reply.endpoint = std::move(*connected);
    reply.away = who_refused(link_);
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
    config.recovery = request.recovery;
    cid_ = request.login.cid;
    logout_result_ = base::fail(base::Errc::logout, "the target did not answer the logout");
    past_ = statistics();
    session_ = std::make_unique<session::Session>(config, loop_.now());
    dropped_ = false;
    closed_ = false;
    stranded_before_ = stranded_at_;
    told_kinds_ = 0;
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
    passed_through_.give_up();
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
    for_users([state](PathUser& user) { user.on_path_state(state); });
}

/// A user may leave while it is told.
template <class Tell>
void Nexus::for_users(Tell tell) {
    std::vector<PathUser*> users = users_;
    for (PathUser* user : users) {
        if (std::ranges::find(users_, user) != users_.end()) {
            tell(*user);
        }
    }
}

/// At once, on this thread: users must not send anything between the word and the look at the unit.
void Nexus::tell_users(base::Lun lun, std::uint8_t status, base::Bytes sense) {
    const scsi::Effects effects = scsi::classify(status, sense).effects;
    if (!effects.none()) {
        for_users([lun, effects](PathUser& user) { user.on_lun_effects(lun, effects); });
    }
}

ring::Task<base::Result<void>> Nexus::log_out() {
    base::Result<void> result;
    leave_up();
    if (has_session()) {
        ring::Event done;
        logged_out_ = &done;
        begin_logout();
        co_await done;
        logged_out_ = nullptr;
        result = logout_result_;
    }
    co_await end_session(ring::Stream::Ending::orderly);
    co_return result;
}

/// What the target has not seen comes back now, not with its answer.
void Nexus::begin_logout() {
    session_->begin_logout(loop_.now());
    link_.mark();
    deliver_completions();
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
    PassedThrough& command = begin(request);
    co_await command.answered;
    co_return passed_through_.take(command);
}

ring::Task<std::vector<PassThroughReply>> Nexus::execute_all(std::vector<PassThrough> requests) {
    std::vector<PassedThrough*> commands;
    commands.reserve(requests.size());
    for (const PassThrough& request : requests) {
        commands.push_back(&begin(request));
    }
    std::vector<PassThroughReply> replies;
    replies.reserve(requests.size());
    for (PassedThrough* command : commands) {
        co_await command->answered;
        replies.push_back(passed_through_.take(*command));
    }
    co_return replies;
}

PassedThrough& Nexus::begin(const PassThrough& request) {
    PassedThrough& command = passed_through_.add(request);
    command.owner = this;
    command.on_done = &Nexus::on_execute_done;
    submit(command);
    return command;
}

void Nexus::on_execute_done(void* self, PathCommand& command) {
    auto& nexus = *static_cast<Nexus*>(self);
    if (command.outcome == session::Outcome::responded) {
        nexus.tell_users(command.lun, command.status, base::Bytes(command.sense).first(command.sense_bytes));
    }
    nexus.passed_through_.on_done(static_cast<PassedThrough&>(command));
}

void Nexus::submit(PathCommand& command) {
    if (!has_session()) {
        command.outcome = session::Outcome::lost;
        command.blamed = false;
        command.on_done(command.owner, command);
        return;
    }
    session_->submit(command, loop_.now());
    link_.mark();
    // A session that ends takes nothing more.
    if (command.outcome != session::Outcome::pending) [[unlikely]] {
        deliver_completions();
    }
}

/// Of each kind that control must act on the first one of a session arrives: what it says more often is no
/// more than other news.
void Nexus::tell(const session::Event& event) {
    const std::uint32_t kind = std::uint32_t{1} << static_cast<unsigned>(event.kind);
    const bool must_arrive = session::must_act(event.kind) && (told_kinds_ & kind) == 0;
    told_kinds_ |= kind;
    if (observer_.backlog_.add(must_arrive, event.missed)) {
        control_.post(*new EventNotice(observer_, observer_.backlog_, event));
    }
}

session::Statistics Nexus::statistics() const {
    return session_ == nullptr ? past_ : base::sum(past_, session_->statistics());
}

void Nexus::deliver_completions() {
    while (session::Command* done = session_->next_completion()) {
        auto& command = static_cast<PathCommand&>(*done);
        if (command.outcome == session::Outcome::lost && !closed_ && !scsi::only_reads(command.cdb[0])) {
            stranded_at_ = loop_.now();
        }
        command.on_done(command.owner, command);
    }
}

void Nexus::on_link_progress() {
    deliver_completions();
    while (auto event = session_->next_event()) {
        on_event(*event);
    }
    if (!session_->logged_out()) {
        return;
    }
    if (logged_out_ != nullptr) {
        logged_out_->set();
    } else {
        base::Error reason{base::Errc::disconnected, "logged out, as the target asked"};
        link_.drop(std::move(reason), ring::Stream::Ending::orderly);
    }
}

void Nexus::on_event(session::Event event) {
    using Kind = session::Event::Kind;
    if (event.kind == Kind::connection_dropped && event.cid != cid_) {
        event.kind = Kind::other; // of a connection that is not ours
    }
    tell(event);
    if (event.missed != 0) {
        for_users([](PathUser& user) { user.on_news_missed(); });
    }
    switch (event.kind) {
    case Kind::scsi:
        return tell_users(event.lun, check_condition, base::Bytes(event.sense).first(event.sense_bytes));
    case Kind::logout_requested:
    case Kind::renegotiation_requested: // a new login negotiates (RFC 7143 section 11.9.1)
        return leave_as_asked();
    case Kind::connection_dropped:
    case Kind::session_dropped: {
        base::Error reason{base::Errc::disconnected, "the target ended the session"};
        return link_.drop(std::move(reason));
    }
    case Kind::logout_response:
        return on_logout_response(static_cast<wire::LogoutResponseCode>(event.code));
    case Kind::task_management:
        return on_task_management(event);
    default:
        return;
    }
}

void Nexus::on_task_management(const session::Event& event) {
    using Function = wire::TaskManagementFunction;
    const auto function = static_cast<Function>(event.code);
    if (function == Function::abort_task) {
        return;
    }
    std::optional<base::Lun> lun;
    if (function == Function::logical_unit_reset) {
        lun = event.lun;
    }
    for_users([lun](PathUser& user) { user.on_reset_by_us(lun); });
}

void Nexus::on_logout_response(wire::LogoutResponseCode code) {
    logout_result_ = {};
    if (code != wire::LogoutResponseCode::closed) {
        logout_result_ = base::fail(base::Errc::logout, std::string(wire::text(code)));
        return;
    }
    // Its tasks have ended with it, those that come back as lost included.
    closed_ = true;
    stranded_at_ = stranded_before_;
}

/// The target wants the session to end: it is logged out of at once, and control opens it again. What was at
/// the target is sent anew then, what waits or comes meanwhile is parked.
void Nexus::leave_as_asked() {
    begin_logout();
    leave_up();
}

void Nexus::on_link_closed(const base::Error& error) {
    dropped_ = true;
    session_->abandon();
    deliver_completions();
    if (logged_out_ != nullptr) {
        if (error.code == base::Errc::disconnected && !session_->logged_out()) {
            logout_result_ = {};
        }
        logged_out_->set();
        return;
    }
    leave_up();
    control_.post(*new DropNotice(observer_, error));
}

} // namespace iscsi::shard
