// A session as control knows it: the record it was made from, where its nexus lives, its block devices, and
// what state it is in. Control's thread; the shard's objects inside are only touched on their shard.
#pragma once

#include "block/kernel_device.hpp"
#include "control/cache_doubt.hpp"
#include "control/fence.hpp"
#include "control/flapping.hpp"
#include "control/log_in.hpp"
#include "control/login_transcript.hpp"
#include "control/scan_agenda.hpp"
#include "control/state_dir.hpp"
#include "control/told_lately.hpp"
#include "ipc/events.hpp"
#include "ipc/snapshot.hpp"
#include "records/record.hpp"
#include "ring/await.hpp"
#include "scsi/lun_facts.hpp"
#include "shard/lun.hpp"
#include "shard/nexus.hpp"
#include "shard/shard.hpp"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace iscsi::control {

/// A logical unit of a session and the block device that shows it.
struct ServedLun {
    scsi::LunFacts facts;
    block::Backend backend = block::Backend::socket;
    std::uint64_t cookie = 0; ///< what the kernel device is known by; see KernelDeviceRequest
    bool shown_cache = true;  ///< the device was made with a volatile cache: its users flush
    CacheDoubt cache;
    bool may_hold_writes = false;   ///< its cache, of a daemon before this one
    bool cache_was_lost = false;    ///< in an outage: a Lun that is made behind it has to tell its users
    std::uint64_t cache_losses = 0; ///< that the session was told of
    shard::LunCounters told_of;     ///< losses of its cache that the log knows
    bool barred = false;            ///< another unit answers in its place, or none: nothing is sent to it
    bool was_another = false;       ///< when last compared; the other queues of its device were told to look
    /// ManagedSession::openings when the facts were last compared with what the target says.
    unsigned compared_in = 0;
    unsigned drained_in = 0; ///< ManagedSession::fences whose writes the unit has done with
    /// The kernel has yet to be told: it may wait for I/O in progress, so only while the path is up.
    std::optional<block::Attributes> resize_later;
    std::optional<std::uint64_t> refused_bytes; ///< a size that this kernel will never take
    std::optional<std::uint64_t> failed_bytes;  ///< one that it did not take, which the log knows
    /// When the newest look at it that was used began (ring::monotonic_now).
    base::TimePoint looked_at;
    ToldLately told;
    LineLimit trouble; ///< of looks that brought nothing
    LineLimit losses;
    shard::LunStatistics statistics;            ///< counted on the shard
    std::unique_ptr<block::BlockDevice> device; ///< none: a queue of the device that the leading session has
    std::unique_ptr<block::BlockQueue> queue;   ///< lives on the shard
    std::unique_ptr<shard::Lun> lun;            ///< lives on the shard
};

/// A queue of a unit's device.
struct DeviceQueue {
    DeviceQueue(block::BlockDevice& its_device, std::shared_ptr<shard::UnitCache> unit_cache,
                unsigned queue_number)
        : device(its_device), cache(std::move(unit_cache)), number(queue_number) {}

    block::BlockDevice& device;
    std::shared_ptr<shard::UnitCache> cache; ///< none: it is the only queue
    unsigned number;
};

/// A unit that the target lists and that is not shown.
struct AbsentUnit {
    std::string why;      ///< as the log knows it
    bool may_come = true; ///< it is a matter of time: its port is in standby, or it was not ready
};

/// What a look has found is the unit that is served.
bool is_the_same(const ServedLun& served, const base::Result<scsi::LunFacts>& now);
/// What a look that began then has found is to be used: none that began later was. It is taken as used.
bool use_look(ServedLun& served, base::TimePoint began_at);

class Rival;

class ManagedSession final : public shard::NexusObserver {
public:
    /// Told on control's thread.
    class Listener {
    public:
        Listener() = default;
        Listener(const Listener&) = delete;
        Listener& operator=(const Listener&) = delete;
        virtual ~Listener() = default;
        virtual void on_session_dropped(ManagedSession& session, const base::Error& error) = 0;
        /// Of a unit, or of the target when `lun` is none that is served.
        virtual void on_lun_news(ManagedSession& session, base::Lun lun, const scsi::Disposition& news) = 0;
        /// The target said more than could be kept: nobody knows what, and of which units.
        virtual void on_news_missed(ManagedSession& session) = 0;
    };

    enum class State : std::uint8_t {
        logging_in, ///< the first login and scan
        running,
        recovering, ///< dropped, on its way back
        ending,     ///< logout or the daemon's end
    };

    ManagedSession(Listener& session_listener, std::uint32_t session_id, records::Record record,
                   shard::Shard& its_shard);
    ~ManagedSession() override;

    void on_nexus_dropped(const base::Error& error) override;
    void on_nexus_event(const session::Event& event) override;
    void on_lun_effects(base::Lun lun, const scsi::Disposition& disposition) override;

    /// Those that are served and those on their way there.
    std::vector<std::shared_ptr<ServedLun>> units() const;

    /// "[iface: default, target: iqn…, portal: 10.0.0.1,3260]", as open-iscsi writes it.
    std::string title() const;
    ipc::SessionSnapshot snapshot(const base::SessionStatistics& statistics) const;

    Listener& listener;
    /// Of a companion: the session that was asked for, and that has the devices. A companion serves one more
    /// queue of each, on another shard. It is logged in, recovers and looks at its units by itself; it scans
    /// for none, has the number of its leader, and ends with it.
    ManagedSession* leader = nullptr;
    /// Companion i serves queue i + 1, also after a restart: what it lost may still be at the target, and
    /// only its own next login ends that.
    std::vector<std::unique_ptr<ManagedSession>> companions;
    const std::uint32_t sid;
    const records::Record node;
    const records::NodeId id;
    /// `node` with the secrets that it refers to. Kept, because at a reconnect their files may be on this
    /// very disk; read anew when the target has refused them.
    std::optional<records::Record> node_with_secrets;
    bool secrets_refused = false;
    shard::Shard& shard;
    std::unique_ptr<shard::Nexus> nexus; ///< lives on the shard
    base::Isid isid;
    std::string initiator_name; ///< as sent at login
    State state = State::logging_in;
    bool dropped = false; ///< the connection was lost since the last successful open
    base::Errc lost_by{}; ///< the last time; Errc::disconnected: its other end closed it; Errc::transport:
                          ///< nothing was heard of it, or not what was due
    bool target_was_away = false; ///< not only the connection to it, since the path was open
    bool overdue = false;         ///< recovering for longer than the replacement timeout
    bool rescanning = false;      ///< one rescan at a time
    bool leaving = false;         ///< a logout was asked for; it may still be refused
    /// The logout that it is in spares who uses a device, whatever iscsid.safe_logout says: of
    /// discoveryd's, nobody has asked for it; of doctor's, for no more than a look.
    bool only_if_unused = false;
    bool keep_state = false;   ///< ends with the daemon only: the next one brings it back
    bool established = false;  ///< the first login and scan were done
    bool ended_before = false; ///< a daemon before this one was logging it out
    bool restored = false;     ///< of a daemon before this one, and not scanned since
    /// The target named a Time2Wait of its own for the next login.
    std::optional<base::Duration> time2wait;
    Flapping flapping;
    std::optional<base::Duration> down_since;   ///< CLOCK_BOOTTIME of the drop, until the path is up
    std::optional<base::Duration> logged_in_at; ///< CLOCK_BOOTTIME of the first login, when it is known
    std::int64_t tries = 0;                     ///< to log in, of the login or outage that it is in
    base::Deadline next_try_at;                 ///< of the next one, while it is waited for
    std::string last_error;   ///< of the latest try to come back, or why the connection was lost; for people
    shard::Endpoint endpoint; ///< of the connection, or of the last one
    AddressOrder addresses;   ///< of the portal's name, at the next try
    bool md5_alone = false;   ///< of CHAP's algorithms the target takes no list
    std::optional<Place> moved_to; ///< by permanent redirections, as long as this daemon lives
    shard::OpenReply opened;
    std::optional<ReinstatedAt> reinstated_at;
    std::optional<Stranded> stranded;    ///< what may be executed late
    unsigned fences = 0;                 ///< times that something was, and was fenced off
    Rival* rival = nullptr;              ///< a login beside the session's own that is in progress
    unsigned openings = 0;               ///< successful logins
    ToldFailures told_failures;          ///< of logins, since the last that did not fail
    std::uint64_t recoveries = 0;        ///< times that it came back
    std::uint64_t failed_recoveries = 0; ///< times that I/O began to fail, because it did not
    unsigned resumed_in = 0;             ///< the one whose path was opened to users
    bool watching = false;               ///< somebody sees to barred and absent units
    std::map<base::Lun, AbsentUnit> absent;
    std::string absent_note;   ///< that of the last scan, when there is no unit at all
    ScanAgenda agenda;         ///< what its units want to have looked at
    ToldLately told;           ///< of units that are not served
    ring::Event news;          ///< on the agenda, or the end of the session
    bool reacting = false;     ///< somebody works on the agenda
    bool resizing = false;     ///< somebody tells the kernel of new sizes
    bool resize_again = false; ///< and has to look once more
    std::vector<std::shared_ptr<ServedLun>> luns;
    std::vector<std::shared_ptr<ServedLun>> attaching; ///< those that are on their way into luns
    std::vector<UnitState> orphans; ///< kernel devices that could not be taken back, or not removed
    ring::Event hurry;              ///< the pause before the next try may end
    ring::Event interrupted;        ///< set when state becomes ending: pauses end early

    /// A procedure that works on the session holds one; who ends the session waits until there is none.
    class Use {
    public:
        explicit Use(ManagedSession& session) : session_(session) { ++session_.users_; }
        Use(const Use&) = delete;
        Use& operator=(const Use&) = delete;
        ~Use() {
            if (--session_.users_ == 0) {
                session_.unused_.set();
            }
        }

    private:
        ManagedSession& session_;
    };
    ring::Task<void> until_unused();

    /// Until then, or until the session ends. Any number of procedures may pause.
    ring::Task<void> pause(ring::Loop& loop, base::TimePoint until);
    /// The session is ending: pauses end, and who works on the session looks at its state.
    void interrupt();

private:
    void log_event(const session::Event& event, ipc::Event name, std::string_view words);
    void say(ipc::Event event, std::string_view words) const;

    /// Of events: by kind, and by what was done about a command.
    std::map<std::pair<session::Event::Kind, std::uint8_t>, LineLimit> lines_;
    LineLimit lines_of_missed_;
    unsigned users_ = 0;
    ring::Event unused_;
    std::vector<ring::Event*> pauses_; ///< an event has one waiter
};

/// What tells the exports of several sessions with one portal apart: the interface unless it is the default
/// one, and for a second session through it the ISID, both of which stay the same over a restart.
std::string session_suffix(const ManagedSession& session);
/// The target at this endpoint was seen to reinstate sessions of this portal group; empty: none was.
std::optional<std::uint16_t> reinstating_group(const ManagedSession& session,
                                               const shard::Endpoint& endpoint);
/// It was seen so on the connection that there is.
void note_reinstatement(ManagedSession& session);

/// The sessions that serve the same devices, the leading one first.
std::vector<ManagedSession*> family(ManagedSession& session);
inline ManagedSession& leader_of(ManagedSession& session) {
    return session.leader == nullptr ? session : *session.leader;
}

/// In luns, or on its way there; empty when it is in neither.
std::shared_ptr<ServedLun> find_served(const ManagedSession& session, base::Lun lun);

UnitState unit_state(const ServedLun& served);

/// A look at the unit brought nothing.
void report_trouble(const ManagedSession& session, ServedLun& served, const base::Error& error);

ipc::AttachedLun attached_lun(const ManagedSession& session, const ServedLun& served);
/// AttachedLun::io of the units in the snapshot: of all queues of a unit's device.
void add_io(const ManagedSession& session, ipc::SessionSnapshot& snapshot);

/// Commands at a time of one unit.
std::uint32_t queue_depth(const ManagedSession& session);

/// How many queues of a device of the unit somebody is there for: the session and the first companions that
/// have the unit, served or on its way there.
unsigned queues_ready(const ManagedSession& session, base::Lun lun);

/// What the kernel device of a unit is made from. Errors: invalid, a name that no file can have.
base::Result<block::KernelDeviceRequest> device_request(const ManagedSession& session,
                                                        const ServedLun& served);

/// Names of the devices that the kernel keeps while no daemon runs.
std::vector<std::string> lasting_devices(const ManagedSession& session);
/// One of them is being made or taken back.
bool makes_lasting_device(const ManagedSession& session);

} // namespace iscsi::control
