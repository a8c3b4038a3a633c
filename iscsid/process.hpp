// The process around the daemon: options, the background, the pid file, signals. Start-up only, one thread.
#pragma once

#include "base/result.hpp"
#include "records/store.hpp"

#include <optional>
#include <string>
#include <sys/types.h>

namespace iscsi::process {

/// iscsid's command line, as open-iscsi's.
struct Options {
    std::string config_file;         ///< -c; empty = the usual one
    std::string initiator_name_file; ///< -i; empty = the usual one
    bool foreground = false;         ///< -f
    int debug_level = 0;             ///< -d
    std::optional<uid_t> uid;        ///< -u
    std::optional<gid_t> gid;        ///< -g
    bool no_pid_file = false;        ///< -n
    std::string pid_file;            ///< -p; empty = the usual one
    bool help = false;
    bool version = false;
};

/// Errc::invalid names what is wrong.
base::Result<Options> parse_options(int argc, char** argv);
std::string usage();

/// What the files say that the daemon starts with.
struct Files {
    records::Config config;
    records::InitiatorName initiator; ///< empty when there is none
};
Files read_files(const Options& options, const records::Paths& paths, records::Warnings& warnings);

/// Forks; only the child comes back, without a terminal. The parent leaves with 0 when the child has said
/// ready(), with 1 when it ended before.
class Background {
public:
    Background() = default;
    Background(const Background&) = delete;
    Background& operator=(const Background&) = delete;
    ~Background();
    base::Result<void> enter();
    void ready();

private:
    int ready_fd_ = -1;
};

/// Holds the lock on the pid file while it lives. Removed at the end.
class PidFile {
public:
    PidFile() = default;
    PidFile(const PidFile&) = delete;
    PidFile& operator=(const PidFile&) = delete;
    ~PidFile();
    /// Errors: Errc::busy when another daemon holds it.
    base::Result<void> create(const std::string& path);

private:
    std::string path_;
    int fd_ = -1;
};

/// Directories of mode 0700 that the daemon needs.
base::Result<void> make_directories(const records::Paths& paths);

/// More descriptors, no core dump of secrets.
void set_limits();

base::Result<void> become(const Options& options);

/// SIGTERM, SIGINT and SIGHUP as a descriptor to read, blocked in every thread made later.
int signal_descriptor();

} // namespace iscsi::process
