// One discovery record that says use_discoveryd: its portal is asked again and again, or when it reports a
// change. What is new gets a record and is logged in to; what is gone (absences.hpp says when that is) is
// logged out of and its record removed, unless somebody uses it. A session that a person has ended stays
// ended until its portal was away or iscsid starts anew. Control's thread.
#pragma once

#include "base/discovered.hpp"
#include "base/result.hpp"
#include "control/absences.hpp"
#include "control/interrupt.hpp"
#include "control/isns_registration.hpp"
#include "records/store.hpp"
#include "ring/await.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace iscsi::control {

/// What a watch needs of the daemon. Control's thread.
class DiscoveryHost {
public:
    DiscoveryHost() = default;
    DiscoveryHost(const DiscoveryHost&) = delete;
    DiscoveryHost& operator=(const DiscoveryHost&) = delete;
    virtual ~DiscoveryHost() = default;

    virtual ring::Loop& loop() = 0;
    virtual const records::InitiatorName& initiator() const = 0;
    /// What a discovery record gives through an interface, with the secrets that it refers to. Ends soon,
    /// with an error, when `interrupt` is set.
    virtual ring::Task<base::Result<base::DiscoveredTargets>>
    ask(const records::Record& discovery, const records::Record& iface, Interrupt& interrupt) = 0;
    /// The records of all sessions, also of those that are logging in or out, by their numbers.
    virtual std::vector<std::pair<std::uint32_t, records::NodeId>> sessions() const = 0;
    /// Those of one record.
    virtual std::size_t count_sessions(const records::NodeId& id) const = 0;
    /// Logs in with a record; both outcomes are in the log.
    virtual ring::Task<base::Result<void>> begin_session(records::Record node, bool multiple) = 0;
    /// Logs out of a session, but only when nobody uses its devices, whatever iscsid.safe_logout says.
    virtual ring::Task<base::Result<void>> end_session_if_unused(std::uint32_t sid) = 0;
};

class DiscoveryWatch {
public:
    /// `config_file`: iscsid.conf, for new records.
    DiscoveryWatch(DiscoveryHost& host, records::Store store, std::string config_file,
                   records::Record discovery);

    /// Until end(). Once.
    ring::Task<void> run();
    /// The record was changed: its portal is asked at once.
    void change(records::Record discovery);
    const records::Record& discovery() const { return discovery_; }
    /// run() ends soon; sessions stay. Idempotent.
    void end();

private:
    /// What is read from the disk before each look.
    struct Settings {
        std::vector<records::Record> ifaces;
        records::Config config;
    };
    /// What a look has brought into the database.
    struct Outcome {
        records::DiscoveryChanges changes;
        std::vector<records::Record> fresh;           ///< nodes that were not there at the last look
        std::map<std::string, records::Record> taken; ///< nodes that were removed, as they were
        base::Result<void> done;                      ///< if not, the rest is what was done nevertheless
    };

    bool is_isns() const { return discovery_.kind() == records::RecordKind::isns; }
    ring::Task<bool> look();
    ring::Task<base::Result<void>> try_to_look();
    base::Result<Settings> read_settings() const;
    ring::Task<base::Result<void>> keep_registered(const Settings& settings);
    ring::Task<base::Result<records::DiscoveryUpdate>> ask_all(const Settings& settings);
    ring::Task<base::Result<Outcome>> bring_in(const records::DiscoveryUpdate& update,
                                               const Settings& settings);
    base::Result<Outcome> apply(records::DiscoveryUpdate update, const Settings& settings,
                                const std::set<std::string>& settled) const;
    bool is_used(const records::NodeId& id) const;
    records::Store store_aside() const;
    ring::Task<void> look_after(const Outcome& outcome);
    std::set<std::string> settled() const;
    void begin_logins(std::vector<records::Record> fresh);
    ring::Task<void> log_in_to_all();
    ring::Task<bool> end_sessions(const std::vector<records::NodeId>& gone);
    ring::Task<void> log_in(records::Record node);
    void say(const records::DiscoveryChanges& changes) const;
    void say_failure(const std::string& why);
    void note_registration(const base::Result<void>& registered);
    void note_absences(const std::vector<records::NodeId>& lacking, const std::set<std::string>& present);
    std::optional<base::Duration> poll_interval() const;
    base::Deadline next_look(bool looked) const;
    void look_again_soon();
    void on_again() { wake_.set(); }

    DiscoveryHost& host_;
    records::Store store_;
    std::string config_file_;
    records::Record discovery_;
    std::string title_; ///< of the portal, for the log
    std::unique_ptr<IsnsRegistration> registration_;
    Absences absences_;
    std::set<std::string> known_;  ///< what the last answer had, or lacked and is not gone
    std::set<std::string> failed_; ///< what could not be logged in to: tried once more at the next look
    std::deque<records::Record> to_log_in_;
    std::size_t log_in_tasks_ = 0;
    std::map<std::string, std::string> kept_; ///< gone, and why its session is still there
    std::string failure_;                     ///< of the last look; empty: it succeeded
    std::string refusal_;                     ///< why the server does not register us; empty: it does
    std::string rejected_;                    ///< what the last answer had that was left out
    ring::TaskGroup logins_;
    ring::Event wake_;
    ring::Event ending_;
    Interrupt ended_;   ///< set with it
    ring::Timer again_; ///< something could not be done: it is tried once more
};

} // namespace iscsi::control
