// The daemon: owns control's loop, the shards and the sessions, and answers requests. Its procedures are
// coroutines on control's thread, one file each: discover.cpp, discovery_host.cpp, log_in.cpp, attach.cpp,
// serve.cpp, companions.cpp, absent.cpp, compare.cpp, scan_news.cpp, resize.cpp, log_out.cpp,
// safe_logout.cpp, recover.cpp, fence.cpp, lost_caches.cpp, restore.cpp, tell_state.cpp.
#pragma once

#include "base/discovered.hpp"
#include "base/limits.hpp"
#include "base/result.hpp"
#include "block/backends.hpp"
#include "block/device_use.hpp"
#include "control/discoveryd.hpp"
#include "control/interrupt.hpp"
#include "control/network_watch.hpp"
#include "control/registry.hpp"
#include "control/scan.hpp"
#include "control/state_dir.hpp"
#include "control/state_lines.hpp"
#include "ipc/requests.hpp"
#include "records/store.hpp"
#include "ring/await.hpp"
#include "shard/shard.hpp"

#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace iscsi::control {

struct DaemonConfig {
    records::Paths paths;
    unsigned shards = 1;
    unsigned queues = 1;              ///< iscsid.queues; no more than shards are made
    records::InitiatorName initiator; ///< empty when there is none: logins then fail, the daemon runs
    std::string block = "auto";       ///< iscsid.block
    bool safe_logout = true;          ///< iscsid.safe_logout
    std::uint32_t ublk_zero_copy_bytes_min = 0; ///< iscsid.ublk_zero_copy_min_kb
    /// That long the users of a unit wait for a look at it.
    base::Duration doubt_max = base::limits::scsi_doubt_max;
    /// Between two looks at a unit that could not be shown yet.
    base::Duration absent_pause = std::chrono::seconds(30);
    /// iscsid.conf, for what is discovered; empty: that of `paths`.
    std::string config_file;
    /// See block::Backends::Config; may be empty.
    std::function<void(const std::string& module)> load_module;
};

class Daemon final : public ManagedSession::Listener, private DiscoveryHost {
public:
    /// Starts the shards. On the thread that will run the loop.
    static base::Result<std::unique_ptr<Daemon>> create(DaemonConfig config);
    ~Daemon() override;

    /// Takes back the sessions and devices of a daemon before this one, which log in by themselves, and
    /// chooses how new block devices are made. Before the first request.
    ring::Task<void> begin();

    ring::Loop& loop() override { return *loop_; }
    /// One for each shard, until stop_shards().
    std::vector<ring::Loop*> shard_loops() const;
    const records::Paths& paths() const { return config_.paths; }

    /// Answers one request; long ones (login) take as long as they take.
    ring::Task<ipc::Reply> handle(ipc::Request request);

    /// Set when a Stop request or a signal asks for the end.
    ring::Event& stop_requested() { return stop_requested_; }

    void on_session_dropped(ManagedSession& session, const base::Error& error) override;
    void on_lun_news(ManagedSession& session, base::Lun lun, const scsi::Disposition& news) override;
    /// There may be a way to targets that were not reached: sessions that wait for their next try make it
    /// now.
    void on_network_change();
    void on_news_missed(ManagedSession& session) override;

    /// Logs what everything is at (state_lines.hpp), soon and some lines at a time; nothing while it does.
    void tell_state();

    /// Ends all sessions without logging out, as open-iscsi's SIGTERM does; the next daemon brings them back.
    /// Logins in progress are interrupted; their requests end by themselves. New requests are refused.
    ring::Task<void> end_sessions();
    /// True after end_sessions() when kernel devices wait for the next daemon. Nothing may be taken down
    /// then: the process ends as by a crash, which is the one way that there is.
    bool leaves_devices() const { return leaves_devices_; }
    /// When no session and no request is left: ends the shards. Afterwards the daemon can be destroyed.
    void stop_shards();

private:
    explicit Daemon(DaemonConfig config);

    // One for each request.
    ring::Task<ipc::Reply> discover(ipc::Discover request);
    ring::Task<ipc::Reply> log_in(ipc::Login request);
    ring::Task<ipc::Reply> log_out(ipc::Logout request);
    ring::Task<ipc::Reply> rescan(ipc::Rescan request);
    ring::Task<ipc::Reply> list_sessions(ipc::Sessions request);
    ipc::Reply info() const;
    void watch_network();

    // discover.cpp
    /// What a discovery record (with its secrets) gives through an interface. Errors carry open-iscsi's exit
    /// code, and a line for each try; cancelled when `interrupt` is set. `told`: transcripts of its logins.
    ring::Task<base::Result<base::DiscoveredTargets>> find_targets(const records::Record& discovery,
                                                                   const records::Record& iface,
                                                                   Interrupt& interrupt, ToldFailures& told);

    // As the host of discoveryd.
    const records::InitiatorName& initiator() const override { return config_.initiator; }
    ring::Task<base::Result<base::DiscoveredTargets>>
    ask(const records::Record& discovery, const records::Record& iface, Interrupt& interrupt) override;
    std::vector<std::pair<std::uint32_t, records::NodeId>> sessions() const override;
    std::size_t count_sessions(const records::NodeId& id) const override;
    ring::Task<base::Result<void>> begin_session(records::Record node, bool multiple) override;
    ring::Task<base::Result<void>> end_session_if_unused(std::uint32_t sid) override;

    // log_in.cpp
    base::Result<void> check_login(const ipc::Login& request, const records::Record& node_with_secrets);
    ring::Task<base::Result<records::Record>> read_secrets(const records::Record& record);
    void use_secrets(ManagedSession& session, records::Record node_with_secrets);
    ManagedSession& make_session(const ipc::Login& request);
    base::Isid choose_isid(const records::NodeId& id) const;
    shard::Shard& least_loaded_shard();
    ring::Task<void> make_nexus(ManagedSession& session);
    ring::Task<base::Result<void>> first_login(ManagedSession& session);
    /// One try over all addresses of the record's portal, redirects followed.
    ring::Task<base::Result<void>> open_session(ManagedSession& session);
    ring::Task<base::Result<void>> open_portal(ManagedSession& session);
    ring::Task<base::Result<void>> open_along(ManagedSession& session, LoginRoute& route);
    ring::Task<tl::expected<void, shard::OpenFailure>> open_place(ManagedSession& session,
                                                                  const LoginRoute& route);
    ring::Task<tl::expected<shard::OpenReply, shard::OpenFailure>> open_offering(ManagedSession& session,
                                                                                 shard::OpenRequest& request);
    ring::Task<tl::expected<shard::OpenReply, shard::OpenFailure>> open_at(ManagedSession& session,
                                                                           shard::OpenRequest request);

    // attach.cpp
    /// Looks for units and serves those that are new; `note` says in words what a person should know.
    ring::Task<base::Result<void>> scan_and_attach(ManagedSession& session, std::string& note);
    /// Units that are new; those that are served are looked at again.
    ring::Task<base::Result<void>>
    find_units(ManagedSession& session, std::vector<std::shared_ptr<ServedLun>>& found, std::string& note);
    ring::Task<void> attach_all(ManagedSession& session, std::vector<std::shared_ptr<ServedLun>> units,
                                std::string& note);
    /// Shows a unit whose device was made, or says why it was not.
    ring::Task<void> attach(ManagedSession& session, std::shared_ptr<ServedLun> served,
                            base::Result<void> attached, std::string& note);
    ring::Task<base::Result<void>> make_device(ManagedSession& session, ServedLun& served);
    ring::Task<void> detach(ManagedSession& session, ServedLun& served);
    ring::Task<void> detach_all(ManagedSession& session);

    // serve.cpp
    /// The unit at the companions, each for one more queue of its device, as many as that has; of one that is
    /// yet to be made, up to the first that does not see the unit.
    ring::Task<void> make_mirrors(ManagedSession& session, const ServedLun& served);
    /// Puts a unit that has a device on its shards and shows it.
    ring::Task<base::Result<void>> serve(ManagedSession& session, ServedLun& served);
    ring::Task<base::Result<void>> put_on_shard(ManagedSession& session, ServedLun& served,
                                                DeviceQueue place);
    ring::Task<void> take_off_shard(ManagedSession& session, ServedLun& served);
    ring::Task<void> close_queue(ManagedSession& session, ServedLun& served);

    // companions.cpp
    /// Of a session that was opened: as many as iscsid.queues asks for and the target takes.
    ring::Task<void> open_companions(ManagedSession& leader);
    ring::Task<base::Result<void>> open_companion(ManagedSession& companion);
    ManagedSession& make_companion(ManagedSession& leader, base::Isid isid);
    ring::Task<void> restore_companions(ManagedSession& leader, std::vector<CompanionState> states);
    ring::Task<void> until_companions_are_fenced(ManagedSession& leader);
    /// Nobody works on it any more and it has no unit; a live one is logged out of.
    ring::Task<void> end_companion(ManagedSession& companion);
    ring::Task<void> end_companions(ManagedSession& leader);
    /// Logs out of the session's nexus and destroys it.
    ring::Task<void> end_nexus(ManagedSession& session);
    ring::Task<void> until_unused(ManagedSession& session);
    /// Another queue of the unit's device may be served by another unit by now: nothing more is sent until it
    /// was looked at, through each of the other sessions.
    void doubt_others(ManagedSession& session, base::Lun lun);
    ring::Task<void> doubt(ManagedSession& session, std::shared_ptr<ServedLun> served);
    /// The unit has changed: the others look, too.
    void tell_others(ManagedSession& session, base::Lun lun);

    // compare.cpp
    /// Of all units, before the path of a new login is opened to their users. Errors: transport; or a unit is
    /// another one, or not there, and its users still wait for it.
    ring::Task<base::Result<void>> check_identity(ManagedSession& session);
    ring::Task<base::Result<void>> check_unit(ManagedSession& session, ServedLun& served,
                                              base::Result<scsi::LunFacts> now);
    /// What was found, `now`, is taken over: it is the same unit.
    ring::Task<void> accept(ManagedSession& session, ServedLun& served, const scsi::LunFacts& now);
    /// Of one that is about to be served, when the session was opened anew since it was found. Errors: it is
    /// another one, or does not answer.
    ring::Task<base::Result<void>> compare_again(ManagedSession& session, ServedLun& served);
    ring::Task<void> look_again(ManagedSession& session, ServedLun& served, base::Result<scsi::LunFacts> now);
    /// Units that are served and that the target does not list any more.
    ring::Task<void> bar_unlisted(ManagedSession& session, const UnitList& units);
    ring::Task<void> update(ManagedSession& session, ServedLun& served, const scsi::LunFacts& facts);
    ring::Task<void> flush_new_cache(ManagedSession& session, base::Lun lun);
    ring::Task<void> bar(ManagedSession& session, ServedLun& served);
    /// Sees to it that what is barred or could not be shown is looked at again.
    void watch(ManagedSession& session);
    ring::Task<void> watch_units(ManagedSession& session);

    // scan_news.cpp
    void on_given_up(ManagedSession& session, ServedLun& served);
    void begin_reacting(ManagedSession& session);
    void look_later(ManagedSession& session, base::Lun lun, bool in_doubt);
    ring::Task<void> react(ManagedSession& session);
    ring::Task<void> scan_again(ManagedSession& session);
    ring::Task<void> look_at(ManagedSession& session, ScanAgenda::Unit unit);
    ring::Task<void> look_at_unit(ManagedSession& session, ScanAgenda::Unit unit);
    ring::Task<void> look_at_absent(ManagedSession& session, base::Lun lun);
    /// That passes on what it hears, and stops when the session ends.
    Scanner scanner_of(ManagedSession& session);

    // resize.cpp
    void start_resizing(ManagedSession& session);

    // log_out.cpp
    ring::Task<base::Result<void>> end_safely(ManagedSession& session);
    ring::Task<base::Result<void>> wait_for_queues(ManagedSession& session, bool devices, bool was_running);
    ring::Task<void> retire(ManagedSession& session);
    ring::Task<void> seal(ManagedSession& session);
    ring::Task<void> detach_in_time(ManagedSession& session);
    ring::Task<void> abandon_unless(ManagedSession& session, ring::Event& detached);
    ring::Task<void> abandon(ManagedSession& session);
    ring::Task<void> flush_caches(ManagedSession& session);
    ring::Task<void> destroy_session(ManagedSession& session);
    ring::Task<void> abandon_session(ManagedSession& session);

    // safe_logout.cpp
    bool spares_users(const ManagedSession& session) const {
        return config_.safe_logout || session.only_if_unused;
    }
    /// Of exports, whose users the kernel does not know. `and_seal`: when nobody uses one, nobody can any
    /// more. Errors: busy.
    ring::Task<base::Result<void>> check_exports(ManagedSession& session, bool and_seal);
    /// Sees to it that nobody uses the session's devices, and keeps it so while the claims live. Errors:
    /// busy, saying who does.
    ring::Task<base::Result<void>> claim_devices(ManagedSession& session,
                                                 std::vector<block::DeviceClaim>& claims);
    ring::Task<base::Result<void>> flush_devices(ManagedSession& session,
                                                 std::vector<block::DeviceClaim>& claims);

    // restore.cpp
    /// Writes down what the next daemon has to know of the session.
    /// False (and a line in the log) when it cannot be written.
    bool save(const ManagedSession& session);
    void forget(std::uint32_t sid);
    ring::Task<void> restore(SessionState state);
    ring::Task<void> bring_back(ManagedSession& session, std::vector<UnitState> units);
    ring::Task<void> take_back(ManagedSession& session, UnitState unit);
    ring::Task<void> hand_over(ManagedSession& session);
    /// True: its units have nothing in hand.
    ring::Task<bool> become_idle(ManagedSession& session, base::TimePoint give_up_at);
    ring::Task<void> adopt_orphans(ManagedSession& session);
    ring::Task<base::Result<void>> find_device(ManagedSession& session, ServedLun& served);

    // fence.cpp
    ring::Task<void> assume_stranded(ManagedSession& session);
    ring::Task<void> look_for_stranded(ManagedSession& session);
    ring::Task<tl::expected<shard::OpenReply, shard::OpenFailure>>
    open_beside_rival(ManagedSession& session, const shard::OpenRequest& request);
    void leave_behind(const ManagedSession& session, base::Deadline stranded_at);
    std::optional<Stranded> take_left_behind(const ManagedSession& session);
    ring::Task<void> outlast_left_behind(ManagedSession& session);
    void on_successor(ManagedSession& session, const shard::OpenReply& opened,
                      std::optional<base::Duration> ended_after);
    /// After a new login, before anything is sent again: what the lost connection left at the target is not
    /// executed any more. Errors: cancelled; disconnected, lost again meanwhile.
    ring::Task<base::Result<void>> fence(ManagedSession& session);
    /// Before anything is sent again to a unit, whose facts are these now: it has done with what was fenced
    /// off, in seconds; or its users wait on (Lun::doubt), the path may be opened to others, and a look
    /// drains it.
    ring::Task<void> drain_soon(ManagedSession& session, ServedLun& served, const scsi::LunFacts& now);
    /// Of a look at a unit that has_leftovers(): it has none any more. What was seen of it before is old
    /// then. Errors: those of Scanner::drain, which takes its time.
    ring::Task<base::Result<void>> drain(ManagedSession& session, ServedLun& served,
                                         const scsi::LunFacts& now);

    // lost_caches.cpp
    /// Of all units, before the path of a new login is opened to their users: a unit whose cache was lost
    /// with writes in it fails the next flush. True: another login has to tell first.
    ring::Task<bool> judge_caches(ManagedSession& session);
    /// What the session says of the unit's cache another one of its family has said, and it is no other loss.
    ring::Task<bool> is_known_loss(ManagedSession& session, std::shared_ptr<ServedLun> served);
    ring::Task<bool> has_kept_writes(ManagedSession& session, base::Lun lun);
    ring::Task<void> lose_cache(ManagedSession& session, ServedLun& served);
    ring::Task<void> tell_of_losses(ManagedSession& session, std::shared_ptr<ServedLun> served);

    // tell_state.cpp
    ring::Task<void> log_state();
    std::vector<StateLine> state_lines(const std::vector<std::optional<ShardView>>& shards);

    // recover.cpp
    void start_recovery(ManagedSession& session);
    base::Duration pause_of_flapping(ManagedSession& session);
    ring::Task<void> hurry(ManagedSession& session);
    base::Duration reconnect_pause_of(const ManagedSession& session) const;
    ring::Task<void> pause_before_try(ManagedSession& session, base::Duration pause, base::Duration least);
    ring::Task<void> recover(ManagedSession& session);
    void on_recovered(ManagedSession& session, std::int64_t tries);
    ring::Task<void> find_again(ManagedSession& session);
    ring::Task<void> fail_login(ManagedSession& session);
    ring::Task<base::Result<void>> try_again(ManagedSession& session);
    ring::Task<base::Result<void>> come_back(ManagedSession& session);
    ring::Task<void> resume(ManagedSession& session);
    ring::Task<void> fail_path(ManagedSession& session);
    ring::Task<void> fail_after_timeout(ManagedSession& session, ring::Event& recovered);

    DaemonConfig config_;
    StateDir state_;
    std::unique_ptr<ring::Loop> loop_;
    std::unique_ptr<block::Backends> backends_;
    std::vector<std::unique_ptr<shard::Shard>> shards_;
    Registry registry_;
    std::unique_ptr<Discoveryd> discoveryd_;
    ToldFailures told_of_discoveryd_;
    ring::TaskGroup discovering_;
    ring::TaskGroup recoveries_;
    std::unique_ptr<NetworkWatch> network_;
    std::mt19937 dice_; ///< for pauses
    /// Of sessions that have ended, by target and ISID.
    std::map<std::pair<std::string, std::uint64_t>, Stranded> left_behind_;
    ring::Event stop_requested_;
    bool backend_is_chosen_ = false;
    bool stopping_ = false;
    bool telling_state_ = false;
    Interrupt stop_; ///< of discoveries that somebody asked for; set with it
    bool leaves_devices_ = false;
};

} // namespace iscsi::control
