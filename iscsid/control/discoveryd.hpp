// The watches of all discovery records that say use_discoveryd. Records are seen as they come, change and go,
// without a restart. Control's thread.
#pragma once

#include "control/discovery_watch.hpp"
#include "control/record_watch.hpp"

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace iscsi::control {

class Discoveryd {
public:
    /// `host` outlives it; `paths` of the record database, `config_file` for new records.
    Discoveryd(DiscoveryHost& host, records::Paths paths, std::string config_file);

    /// Until end(), when all watches have ended. Once.
    ring::Task<void> run();
    /// Idempotent.
    void end();
    /// Set when run() has done all that it does.
    ring::Event& ended() { return ended_; }

private:
    std::vector<records::Record> read_watched() const;
    void match(std::vector<records::Record> wanted);
    std::vector<records::Record> without_repetitions(std::vector<records::Record> wanted);
    ring::Task<void> follow(std::string key);

    DiscoveryHost& host_;
    records::Paths paths_;
    std::string config_file_;
    records::Store store_;
    RecordWatch changes_;
    std::map<std::string, std::unique_ptr<DiscoveryWatch>> watches_;
    std::vector<records::Record> wanted_;
    std::set<std::string> repeated_; ///< pairs of spellings that the log was told of
    ring::TaskGroup following_;
    ring::Event ending_;
    ring::Event ended_;
};

} // namespace iscsi::control
