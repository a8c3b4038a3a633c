// The daemon: owns control's loop, the shards and the sessions, and answers requests. Its procedures are
// coroutines on control's thread, one file each: discover.cpp, log_in.cpp, attach.cpp, log_out.cpp,
// recover.cpp.
#pragma once

#include "base/result.hpp"
#include "control/registry.hpp"
#include "ipc/requests.hpp"
#include "records/store.hpp"
#include "ring/await.hpp"
#include "shard/shard.hpp"

#include <memory>
#include <string>
#include <vector>

namespace iscsi::control {

class Scanner;

struct DaemonConfig {
    records::Paths paths;
    unsigned shards = 1;
    records::InitiatorName initiator; ///< empty when there is none: logins then fail, the daemon runs
};

class Daemon final : public ManagedSession::Listener {
public:
    /// Starts the shards. On the thread that will run the loop.
    static base::Result<std::unique_ptr<Daemon>> create(DaemonConfig config);
    ~Daemon() override;

    ring::Loop& loop() { return *loop_; }
    const records::Paths& paths() const { return config_.paths; }

    /// Answers one request; long ones (login) take as long as they take.
    ring::Task<ipc::Reply> handle(ipc::Request request);

    /// Set when a Stop request or a signal asks for the end.
    ring::Event& stop_requested() { return stop_requested_; }

    void on_session_dropped(ManagedSession& session, const base::Error& error) override;

    /// Ends all sessions without logging out, as open-iscsi's SIGTERM does. Logins in progress are
    /// interrupted; their requests end by themselves. New requests are refused.
    ring::Task<void> end_sessions();
    /// When no session and no request is left: ends the shards. Afterwards the daemon can be destroyed.
    void stop_shards();

private:
    explicit Daemon(DaemonConfig config) : config_(std::move(config)) {}

    // One for each request.
    ring::Task<ipc::Reply> discover(ipc::Discover request);
    ring::Task<ipc::Reply> log_in(ipc::Login request);
    ring::Task<ipc::Reply> log_out(ipc::Logout request);
    ring::Task<ipc::Reply> rescan(ipc::Rescan request);
    ring::Task<ipc::Reply> list_sessions();
    ipc::Reply info() const;

    // log_in.cpp
    base::Result<void> check_login(const ipc::Login& request);
    ManagedSession& make_session(const ipc::Login& request);
    base::Isid choose_isid(const records::NodeId& id) const;
    shard::Shard& least_loaded_shard();
    ring::Task<void> make_nexus(ManagedSession& session);
    ring::Task<base::Result<void>> first_login(ManagedSession& session);
    /// One try over all addresses of the record's portal, redirects followed.
    ring::Task<base::Result<void>> open_session(ManagedSession& session);
    ring::Task<tl::expected<shard::OpenReply, shard::OpenFailure>> open_at(ManagedSession& session,
                                                                           shard::OpenRequest request);

    // attach.cpp
    /// Looks for units and serves those that are new; `note` says in words what a person should know.
    ring::Task<base::Result<void>> scan_and_attach(ManagedSession& session, std::string& note);
    ring::Task<base::Result<void>> attach(ManagedSession& session, const scsi::LunFacts& facts);
    ring::Task<void> update(ManagedSession& session, ServedLun& served, const scsi::LunFacts& facts);
    ring::Task<void> look_again(ManagedSession& session, ServedLun& served, const scsi::LunFacts& facts);
    ring::Task<void> bar(ManagedSession& session, ServedLun& served);
    ring::Task<void> detach(ManagedSession& session, ServedLun& served);
    ring::Task<void> resume(ManagedSession& session);
    ring::Task<void> fail_path(ManagedSession& session);

    // log_out.cpp
    ring::Task<void> retire(ManagedSession& session);
    ring::Task<void> flush_caches(ManagedSession& session);
    ring::Task<void> destroy_session(ManagedSession& session);
    ring::Task<void> abandon_session(ManagedSession& session);

    // recover.cpp
    void start_recovery(ManagedSession& session);
    ring::Task<void> recover(ManagedSession& session);
    ring::Task<base::Result<void>> try_again(ManagedSession& session);
    ring::Task<base::Result<void>> check_identity(ManagedSession& session);
    ring::Task<base::Result<void>> check_unit(ManagedSession& session, ServedLun& served,
                                              base::Result<scsi::LunFacts> now);
    ring::Task<void> fail_after_timeout(ManagedSession& session, ring::Event& recovered);

    DaemonConfig config_;
    std::unique_ptr<ring::Loop> loop_;
    std::vector<std::unique_ptr<shard::Shard>> shards_;
    Registry registry_;
    ring::TaskGroup recoveries_;
    ring::Event stop_requested_;
    bool stopping_ = false;
};

} // namespace iscsi::control
