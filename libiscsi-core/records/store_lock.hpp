// The lock of the record database: a flock on <lock_dir>/lock, which ends with its owner, and, while that is
// held, the hard link <lock_dir>/lock.write, by which open-iscsi's tools wait for us and we for them. Our
// link has an inode of its own, so that one left behind by a killed process of ours is known as such and
// taken over; one of open-iscsi's is taken over when its maker must be dead. Blocks; one thread at a time,
// any number of processes and threads may compete.
#pragma once

#include "base/result.hpp"
#include "records/store_files.hpp"

#include <chrono>
#include <string>

namespace iscsi::records {

class Lock {
public:
    /// Waits at most `wait`; then Errc::database that says who is in the way. So it is for a lock directory
    /// of which another user than root or this process' could do what he likes with it. A link of
    /// open-iscsi's that has been there for `stale_after` and that no living process can have made is
    /// removed.
    static base::Result<Lock> take(const std::string& lock_dir, std::chrono::milliseconds wait,
                                   std::chrono::milliseconds stale_after = std::chrono::seconds(20));

    /// Holds `directory`, too: processes that see another lock directory may work on the same database. Not
    /// on file systems that cannot lock directories (NFS). As long as `directory` is open.
    base::Result<void> hold_also(const Directory& directory, std::chrono::milliseconds wait) const;

    Lock(Lock&&) = default;
    Lock& operator=(Lock&&) = delete;
    ~Lock();

private:
    Lock(Directory directory, Fd flocked) : directory_(std::move(directory)), flocked_(std::move(flocked)) {}

    Directory directory_;
    Fd flocked_; ///< empty in a Lock that was moved from
    bool linked_ = false;
};

} // namespace iscsi::records
