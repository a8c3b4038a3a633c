// The lock of the record database: a flock on <lock_dir>/lock, which ends with its owner, and, while that is
// held, the hard link <lock_dir>/lock.write, by which open-iscsi's tools wait for us and we for them. Our
// link has an inode of its own, so that one left behind by a killed process of ours is known as such and
// taken over. Blocks; one thread at a time, any number of processes and threads may compete.
#pragma once

#include "base/result.hpp"
#include "records/store_files.hpp"

#include <chrono>
#include <string>

namespace iscsi::records {

class Lock {
public:
    /// Waits at most `wait`; then Errc::database that says who is in the way.
    static base::Result<Lock> take(const std::string& lock_dir, std::chrono::milliseconds wait);

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
