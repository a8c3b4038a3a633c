// Who uses a block device, and a hold on it that keeps others from beginning to. The questions block (mounts,
// sysfs, /proc): ask them on a thread of their own (ring/aside.hpp). A claim is control's thread's; opening
// and flushing go through the ring and block nobody. libmount: util-linux 2.38 and later.
#pragma once

#include "base/result.hpp"
#include "ring/loop.hpp"
#include "ring/task.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace iscsi::block {

/// Who holds the kernel device `name` ("ublkb0"), its partitions, and what is made of them (dm, md): a line
/// each for a person, e.g. "/dev/ublkb0p1 is mounted on /mnt". Empty: nobody does that this can see. Blocks.
std::vector<std::string> users_of(const std::string& name);

/// Which processes have the device or a partition of it open, as users_of; says why a claim was refused.
/// Threads and processes that cannot be looked into are left out. Blocks.
std::vector<std::string> openers_of(const std::string& name);

/// An open block device, closed when it dies. While an exclusive one lives, nobody can mount the device, swap
/// on it or build on it. The kernel's number of a removed device is free only when this is closed, too.
class DeviceClaim {
public:
    enum class Mode {
        exclusive, ///< refused while somebody mounts, swaps on or builds on the device or a partition
        shared,    ///< never refused for the sake of others
    };

    /// Opens the node at `path`. Errors: busy; not_found; internal.
    static ring::Task<base::Result<DeviceClaim>> open(ring::Loop& loop, std::string path, Mode mode);

    DeviceClaim(DeviceClaim&& other) noexcept;
    DeviceClaim& operator=(DeviceClaim&& other) noexcept;
    ~DeviceClaim();

    /// Writes out what the kernel holds of the device, and lets the device write out what it holds. As long
    /// as the path needs. Errors: transport.
    ring::Task<base::Result<void>> flush();
    const std::string& path() const { return path_; }

private:
    DeviceClaim(ring::Loop& loop, std::string path, int file);

    ring::Loop* loop_;
    std::string path_;
    int file_ = -1;
};

} // namespace iscsi::block
