// One iSCSI session on its shard: the link, the session engine when there is one, and those who use it.
// open() makes the first session and, after a drop, its successor with the same ISID; in between commands
// come back lost and users are told. What waits and decides (name resolution, back-off, scan, timeouts) is
// control's; it is told of drops and of the target's messages through NexusObserver, on its own thread.
// Thread of the shard, but for the observer.
#pragma once

#include "base/result.hpp"
#include "login/login.hpp"
#include "ring/await.hpp"
#include "scsi/disposition.hpp"
#include "session/session.hpp"
#include "shard/event_backlog.hpp"
#include "shard/link.hpp"
#include "shard/pass_through.hpp"
#include "shard/path.hpp"
#include "shard/views.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace iscsi::shard {

/// Everything one attempt to log in needs. Made by control for each attempt.
struct OpenRequest {
    std::vector<Endpoint> endpoints; ///< of the portal, at least one
    std::size_t preferred = 0;       ///< of them, see ConnectTimes
    TcpOptions tcp;
    login::LoginConfig login;
    base::Duration connect_timeout{};
    base::Duration connect_again_every{}; ///< see ConnectTimes
    base::Duration login_timeout{};
    std::uint32_t tasks = 128;         ///< node.session.cmds_max
    base::Duration nop_out_interval{}; ///< 0 = no liveness check
    base::Duration nop_out_timeout{};
    base::Duration logout_timeout{};
    session::RecoveryTimeouts recovery; ///< of commands without an answer
};

/// What a login brought.
struct OpenReply {
    Endpoint endpoint;          ///< which of them it was
    std::vector<Endpoint> away; ///< see OpenFailure
    wire::SessionParameters session;
    wire::ConnectionParameters connection;
    base::Tsih tsih;
    std::int32_t tpgt = -1;
    std::string target_alias;
    std::string local_address;
};

/// A failed attempt. For Errc::redirected, where to.
struct OpenFailure {
    base::Error error;
    std::optional<login::Redirect> redirect;
    /// Where the host answers, and the target is not there: the connection was refused, or the login with
    /// "not found", "removed" or "service unavailable".
    std::vector<Endpoint> away;
    bool md5_alone_may_do = false;         ///< see login::Login
    std::optional<Endpoint> at;            ///< where the login was tried; empty: there was no connection
    std::vector<std::string> transcript{}; ///< of that login, where LoginConfig asked for one
};

/// Control's ear. Called on control's loop.
class NexusObserver {
public:
    NexusObserver() = default;
    NexusObserver(const NexusObserver&) = delete;
    NexusObserver& operator=(const NexusObserver&) = delete;
    virtual ~NexusObserver() = default;

    virtual void on_nexus_dropped(const base::Error& error) = 0;
    /// What control must act on arrives, whatever else a target sends; other events may be missed, and are
    /// counted then (Event::missed).
    virtual void on_nexus_event(const session::Event& event) = 0;
    /// Commands of `lun` brought news about the unit: effects and sense data count (see LunNews).
    virtual void on_lun_effects(base::Lun lun, const scsi::Disposition& disposition) = 0;

private:
    friend class Nexus;
    EventBacklog backlog_;
};

class Nexus final : private Link::Listener {
public:
    /// `observer` lives until its last notice was delivered: control drains its loop after destroying a
    /// nexus.
    Nexus(ring::Loop& loop, ring::Loop& control, NexusObserver& observer);
    ~Nexus() override;

    /// One attempt: connect, log in, start the session. The path stays down until resume().
    ring::Task<tl::expected<OpenReply, OpenFailure>> open(OpenRequest request);
    /// The session was checked (identity): users may send, unless seal() was called.
    void resume();
    /// The network has changed: an open() that waits for an answer to its connection does not only wait.
    void hurry() { link_.hurry(); }
    /// The replacement timeout passed: what waits fails, until the next resume().
    void fail();
    /// The session is about to end and nobody will bring it back: an open() in progress ends soon, an
    /// execute() in progress comes back lost at once, and what waits fails, now or when the connection is
    /// lost. Idempotent.
    void retire();
    /// Users are shut out for good, also while the path is up: what waits and what comes fails with ENOLINK,
    /// and no resume() or new session opens the path again. Commands that are at the target may still end
    /// well; the session stays, and execute() works. Idempotent.
    void seal();
    /// Logs out and ends the connection; works in every state. Errors: the target refused or did not answer;
    /// one that closes the connection instead has answered.
    ring::Task<base::Result<void>> log_out();
    /// Ends the connection without a word.
    ring::Task<void> abandon();

    ring::Task<PassThroughReply> execute(PassThrough request);
    /// Several that do not depend on each other: all are submitted at once, and leave with one send. Their
    /// replies in their order, when the last has come.
    ring::Task<std::vector<PassThroughReply>> execute_all(std::vector<PassThrough> requests);

    /// Users (Luns) submit when the path is up; a command without a session, or for one that ends, comes back
    /// lost at once.
    void submit(PathCommand& command);
    PathState state() const { return state_; }
    /// Where news about units go, and on which loop they are told.
    NexusObserver& observer() { return observer_; }
    ring::Loop& control() { return control_; }
    void add_user(PathUser& user) { users_.push_back(&user); }
    void remove_user(PathUser& user) { std::erase(users_, &user); }

    /// When the last connection was lost that carried commands that change a unit, without their answers: the
    /// target may execute them yet, until control has fenced them off. Empty: there are none.
    base::Deadline stranded_at() const { return stranded_at_; }
    /// As if there were some: a daemon before this one may have sent them.
    void assume_stranded() { stranded_at_ = loop_.now(); }
    /// The target executes none of them any more (RFC 7143 sections 6.3.5 and 4.2.3.2).
    void on_fenced() {
        stranded_at_.reset();
        stranded_before_.reset();
    }

    /// The target owes no answer to a command.
    bool idle() const { return !has_session() || session_->idle(); }
    bool has_session() const { return session_ != nullptr && !dropped_; }
    /// The session adds up all data: it has to see them.
    bool has_data_digest() const { return has_session() && session_->connection_parameters().data_digest; }
    session::Statistics statistics() const;
    NexusView view() const;

private:
    void on_link_progress() override;
    void on_link_closed(const base::Error& error) override;
    void deliver_completions();
    void on_event(session::Event event);
    void on_logout_response(wire::LogoutResponseCode code);
    void on_task_management(const session::Event& event);
    void begin_logout();
    void leave_as_asked();
    void set_state(PathState state);
    template <class Tell>
    void for_users(Tell tell);
    void tell_users(base::Lun lun, std::uint8_t status, base::Bytes sense);
    PassedThrough& begin(const PassThrough& request);
    static void on_execute_done(void* self, PathCommand& command);
    void leave_up();
    void tell(const session::Event& event);
    void start_session(const OpenRequest& request, const login::Login& login);
    ring::Task<void> end_session(ring::Stream::Ending ending);

    ring::Loop& loop_;
    ring::Loop& control_;
    NexusObserver& observer_;
    Link link_;
    std::unique_ptr<session::Session> session_;
    session::Statistics past_; ///< of sessions that ended
    std::vector<PathUser*> users_;
    PassThroughs passed_through_;
    PathState state_ = PathState::down;
    bool retired_ = false;
    bool sealed_ = false;  ///< the path stays failed
    bool dropped_ = false; ///< session_ has lost its connection
    bool closed_ = false;  ///< the target says that session_ is
    base::Deadline stranded_at_;
    base::Deadline stranded_before_;    ///< when session_ began
    base::Cid cid_;                     ///< of its connection
    std::uint32_t told_kinds_ = 0;      ///< of events of session_: a bit each
    base::Result<void> logout_result_;  ///< of session_
    ring::Event* logged_out_ = nullptr; ///< log_out() waits here
};

} // namespace iscsi::shard
