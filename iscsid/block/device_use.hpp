// Who uses a block device, and a hold on it that keeps others from beginning to. The questions block (mounts,
// sysfs, /proc): ask them on a thread of their own (ring/aside.hpp). A claim is control's thread's; the
// device is open in a helper's process, since to open, flush and close it can mean to wait for I/O that this
// process serves. libmount: util-linux 2.38 and later.
#pragma once

#include "base/result.hpp"
#include "block/device_helper.hpp"
#include "ring/loop.hpp"
#include "ring/task.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::block {

/// Who holds the kernel device `name` ("ublkb0"), its partitions, and what is made of them (dm, md, loop
/// devices): a line each for a person, e.g. "/dev/ublkb0p1 is mounted on /mnt". Empty: nobody does that this
/// can see; whoever merely has it open is not seen. Blocks.
std::vector<std::string> users_of(const std::string& name);

/// Which processes have the device or a partition of it open, as users_of, but for this one and its helpers.
/// Threads and processes that cannot be looked into are left out. Blocks.
std::vector<std::string> openers_of(const std::string& name);

/// An open block device. While an exclusive one is held, nobody can mount the device, swap on it or build on
/// it; udev does not look into a device that is claimed. The kernel's number of a removed device is free only
/// when it is released, too.
class DeviceClaim {
public:
    enum class Mode {
        exclusive, ///< refused while somebody mounts, swaps on or builds on the device or a partition
        shared,    ///< never refused for the sake of others
    };

    /// Opens the node at `path`, which holds no blank. Errors: busy; not_found; internal.
    static ring::Task<base::Result<DeviceClaim>> open(ring::Loop& loop, std::string path, Mode mode);

    // A claim that dies without release() is given up some time later.
    DeviceClaim(DeviceClaim&&) noexcept = default;
    DeviceClaim& operator=(DeviceClaim&&) noexcept = default;
    ~DeviceClaim() = default;

    /// Writes out what the kernel holds of the device, and lets the device write out what it holds. As long
    /// as the path needs. Errors: transport.
    ring::Task<base::Result<void>> flush();
    /// Closes the device. The claim holds nothing any more.
    ring::Task<void> release();
    const std::string& path() const { return path_; }

private:
    DeviceClaim(std::unique_ptr<DeviceHelper> helper, std::string path);

    std::unique_ptr<DeviceHelper> helper_;
    std::string path_;
};

/// Releases all of them, and waits for that.
ring::Task<void> release(std::vector<DeviceClaim>& claims);

} // namespace iscsi::block
