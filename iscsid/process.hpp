// The process around the daemon: options, the background, the pid file, signals, its memory. Start-up only,
// one thread; except run_program().
#pragma once

#include "base/result.hpp"
#include "records/store.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace iscsi::process {

/// iscsid's command line, as open-iscsi's.
struct Options {
    std::string config_file;         ///< -c, absolute; empty = the usual one
    std::string initiator_name_file; ///< -i, absolute; empty = the usual one
    bool foreground = false;         ///< -f
    int debug_level = 0;             ///< -d
    std::optional<uid_t> uid;        ///< -u
    std::optional<gid_t> gid;        ///< -g
    bool no_pid_file = false;        ///< -n
    std::string pid_file;            ///< -p, absolute; empty = the usual one
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
/// A configuration that -c names has to be there; what else cannot be read is a warning.
base::Result<Files> read_files(const Options& options, const records::Paths& paths,
                               records::Warnings& warnings);

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
    /// Removes the file now, for a process that ends without destructors.
    void remove();

private:
    std::string path_;
    int fd_ = -1;
};

/// The right to serve what the run directory tells of, held while it lives: two daemons would take sessions
/// and devices from one another. Not inherited by programs that this process starts.
class RunLock {
public:
    RunLock() = default;
    RunLock(const RunLock&) = delete;
    RunLock& operator=(const RunLock&) = delete;
    ~RunLock();
    /// Waits for the end of one that holds it and is ending, `patience` at most. Errors: Errc::busy when it
    /// still does; internal.
    base::Result<void> take(const std::string& run_dir, std::chrono::seconds patience);

private:
    int fd_ = -1;
};

/// Directories that the daemon needs: the one of the request socket with mode 0711, those below with 0700.
base::Result<void> make_directories(const records::Paths& paths);

/// More descriptors, no core dump of secrets (nor onto a disk that this process serves).
void set_limits();

/// One heap for all threads. glibc would give each its own, which grows by a page at a time, and where what
/// one thread has freed is of no use to another: many sessions cost more time and memory so. No I/O waits for
/// the heap's lock, because none takes memory. Call it before the first thread.
void share_heap();

/// Memory for a process that the kernel's own writing to disk waits for: it must never wait for that in its
/// turn, nor be killed to make room. Locks what is mapped now and what is touched later, says to the kernel
/// that this is an I/O flusher, takes it off the OOM killer's list, and keeps freed memory. None of it is
/// inherited by a fork that does not ask for it again: call it in the daemon's process, before the first
/// thread (threads inherit) and before rights are given up. What the kernel refuses is a warning, one line
/// each; the daemon then works, with less safety.
std::vector<std::string> protect_memory();

/// Runs a program to its end, without what protect_memory() gave to this process: standard streams are
/// /dev/null, the environment is a plain PATH. `argv[0]` is an absolute path, or looked for in /usr/sbin,
/// /usr/bin, /sbin and /bin. Blocks the calling thread; any thread; copies no memory of this process. Gives
/// the exit status, 128 + the number for the end by a signal. Errors: not_found, request_timed_out (the
/// program was killed), internal.
base::Result<int> run_program(const std::vector<std::string>& argv, std::chrono::milliseconds time_max);

/// Ends the daemon that an initramfs has started for the root file system, if one runs. Its devices wait
/// until this one serves them, and this one may lie on them: by now it has to have in memory what it needs.
/// Gives whether there was one. Errors: Errc::busy when it does not end.
base::Result<bool> replace_daemon_of_initramfs(const records::Paths& paths);

base::Result<void> become(const Options& options);

/// SIGTERM, SIGINT, SIGHUP and SIGUSR1 as a descriptor to read, blocked in every thread made later.
int signal_descriptor();

} // namespace iscsi::process
