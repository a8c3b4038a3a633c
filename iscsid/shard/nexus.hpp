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
#include "shard/link.hpp"
#include "shard/path.hpp"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace iscsi::shard {

/// Everything one attempt to log in needs. Made by control for each attempt.
struct OpenRequest {
    Endpoint endpoint;
    TcpOptions tcp;
    login::LoginConfig login;
    base::Duration connect_timeout{};
    base::Duration login_timeout{};
    std::uint32_t tasks = 128;         ///< node.session.cmds_max
    base::Duration nop_out_interval{}; ///< 0 = no liveness check
    base::Duration nop_out_timeout{};
    base::Duration logout_timeout{};
};

/// What a login brought.
struct OpenReply {
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
};

/// A SCSI command of control's (scan, and whoever needs any CDB): memory and command live in the caller's
/// frame.
struct PassThrough {
    base::Lun lun;
    std::array<std::byte, 16> cdb{};
    std::uint8_t cdb_bytes = 0;
    base::MutableBytes data_in;
    base::Bytes data_out;
    base::Duration
        timeout{}; ///< after it the connection is dropped: without an answer nothing else ends the command
};

struct PassThroughReply {
    session::Outcome outcome = session::Outcome::pending;
    std::uint8_t response = 0;
    std::uint8_t status = 0;
    std::uint32_t received_bytes = 0;
    std::vector<std::byte> sense;
};

/// Control's ear. Called on control's loop.
class NexusObserver {
public:
    NexusObserver() = default;
    NexusObserver(const NexusObserver&) = delete;
    NexusObserver& operator=(const NexusObserver&) = delete;
    virtual ~NexusObserver() = default;

    virtual void on_nexus_dropped(const base::Error& error) = 0;
    virtual void on_nexus_event(const session::Event& event) = 0;
    /// A command of `lun` brought news about the unit.
    virtual void on_lun_effects(base::Lun lun, const scsi::Disposition& disposition) = 0;

private:
    friend class Nexus;
    /// Events and effects on their way. A target can send them faster than control's thread takes them.
    std::atomic<unsigned> undelivered_ = 0;
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
    /// The replacement timeout passed: what waits fails, until the next resume().
    void fail();
    /// The session is about to end and nobody will bring it back: an open() in progress ends soon, and what
    /// waits fails, now or when the connection is lost. Idempotent.
    void retire();
    /// Users are shut out for good, also while the path is up: what waits and what comes fails with ENOLINK,
    /// and no resume() or new session opens the path again. Commands that are at the target may still end
    /// well; the session stays, and execute() works. Idempotent.
    void seal();
    /// Logs out and ends the connection; works in every state. Errors: the target refused or did not answer.
    ring::Task<base::Result<void>> log_out();
    /// Ends the connection without a word.
    ring::Task<void> abandon();

    ring::Task<PassThroughReply> execute(PassThrough request);

    /// Users (Luns) submit when the path is up; a command without a session comes back lost at once.
    void submit(PathCommand& command);
    /// Passes on what a status or sense said beyond its command.
    void report_effects(base::Lun lun, const scsi::Disposition& disposition);
    PathState state() const { return state_; }
    void add_user(PathUser& user) { users_.push_back(&user); }
    void remove_user(PathUser& user) { std::erase(users_, &user); }

    bool has_session() const { return session_ != nullptr && !dropped_; }
    session::Statistics statistics() const;

private:
    void on_link_progress() override;
    void on_link_closed(const base::Error& error) override;
    void deliver_completions();
    void set_state(PathState state);
    void leave_up();
    template <class Notice, class... News>
    void tell(News&&... news);
    void start_session(const OpenRequest& request, const login::Login& login);
    ring::Task<void> end_session(ring::Stream::Ending ending);

    ring::Loop& loop_;
    ring::Loop& control_;
    NexusObserver& observer_;
    Link link_;
    std::unique_ptr<session::Session> session_;
    session::Statistics past_; ///< of sessions that ended
    std::vector<PathUser*> users_;
    PathState state_ = PathState::down;
    bool retired_ = false;
    bool sealed_ = false;               ///< the path stays failed
    bool dropped_ = false;              ///< session_ has lost its connection
    ring::Event* logged_out_ = nullptr; ///< log_out() waits here
};

} // namespace iscsi::shard
