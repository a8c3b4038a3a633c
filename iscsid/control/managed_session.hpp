// A session as control knows it: the record it was made from, where its nexus lives, its block devices, and
// what state it is in. Control's thread; the shard's objects inside are only touched on their shard.
#pragma once

#include "block/kernel_device.hpp"
#include "control/state_dir.hpp"
#include "ipc/snapshot.hpp"
#include "records/record.hpp"
#include "ring/await.hpp"
#include "scsi/lun_facts.hpp"
#include "shard/lun.hpp"
#include "shard/nexus.hpp"
#include "shard/shard.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace iscsi::control {

/// A logical unit of a session and the block device that shows it.
struct ServedLun {
    scsi::LunFacts facts;
    block::Backend backend = block::Backend::socket;
    std::uint64_t cookie = 0; ///< what the kernel device is known by; see KernelDeviceRequest
    bool shown_cache = true;  ///< the device was made with a volatile cache: its users flush
    bool barred = false;      ///< another unit answers in its place, or none: nothing is sent to it
    /// ManagedSession::openings when the facts were last compared with what the target says.
    unsigned compared_in = 0;
    /// The kernel has yet to be told: it may wait for I/O in progress, so only while the path is up.
    std::optional<block::Attributes> resize_later;
    std::unique_ptr<block::BlockDevice> device;
    std::unique_ptr<block::BlockQueue> queue; ///< lives on the shard
    std::unique_ptr<shard::Lun> lun;          ///< lives on the shard
};

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
    };

    enum class State : std::uint8_t {
        logging_in, ///< the first login and scan
        running,
        recovering, ///< dropped, on its way back
        ending,     ///< logout or the daemon's end
    };

    ManagedSession(Listener& session_listener, std::uint32_t session_id, records::Record record,
                   shard::Shard& its_shard);

    void on_nexus_dropped(const base::Error& error) override;
    void on_nexus_event(const session::Event& event) override;
    void on_lun_effects(base::Lun lun, const scsi::Disposition& disposition) override;

    /// "[iface: default, target: iqn…, portal: 10.0.0.1,3260]", as open-iscsi writes it.
    std::string title() const;
    ipc::SessionSnapshot snapshot(const base::SessionStatistics& statistics) const;

    Listener& listener;
    const std::uint32_t sid;
    const records::Record node;
    const records::NodeId id;
    shard::Shard& shard;
    std::unique_ptr<shard::Nexus> nexus; ///< lives on the shard
    base::Isid isid;
    std::string initiator_name; ///< as sent at login
    State state = State::logging_in;
    bool dropped = false;                     ///< the connection was lost since the last successful open
    bool overdue = false;                     ///< recovering for longer than the replacement timeout
    bool rescanning = false;                  ///< one rescan at a time
    bool leaving = false;                     ///< a logout was asked for; it may still be refused
    bool keep_state = false;                  ///< ends with the daemon only: the next one brings it back
    bool established = false;                 ///< the first login and scan were done
    bool ended_before = false;                ///< a daemon before this one was logging it out
    bool restored = false;                    ///< of a daemon before this one, and not scanned since
    std::optional<base::Duration> down_since; ///< CLOCK_BOOTTIME of the drop, until the path is up
    shard::Endpoint endpoint;                 ///< of the connection, or of the last one
    shard::OpenReply opened;
    unsigned openings = 0;        ///< successful logins
    unsigned resumed_in = 0;      ///< the one whose path was opened to users
    bool watching_barred = false; ///< somebody waits for barred units to come back
    std::vector<std::shared_ptr<ServedLun>> luns;
    std::vector<std::shared_ptr<ServedLun>> attaching; ///< those that are on their way into luns
    std::vector<UnitState> orphans; ///< kernel devices that could not be taken back, or not removed
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

private:
    unsigned users_ = 0;
    ring::Event unused_;
};

UnitState unit_state(const ServedLun& served);

/// Sets resize_later when the kernel shows another size than the unit has.
void compare_size(ServedLun& served);

ipc::AttachedLun attached_lun(const ServedLun& served);

/// What the kernel device of a unit is made from. Errors: invalid, a name that no file can have.
base::Result<block::KernelDeviceRequest> device_request(const ManagedSession& session,
                                                        const ServedLun& served);

/// Names of the devices that the kernel keeps while no daemon runs.
std::vector<std::string> lasting_devices(const ManagedSession& session);
/// One of them is being made or taken back.
bool makes_lasting_device(const ManagedSession& session);

} // namespace iscsi::control
