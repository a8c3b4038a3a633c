// The control commands of the ublk driver, as procedures that give the kernel's result (0 or -errno) as it
// is. Every command runs on a worker of the kernel's, so several can be in progress, and one that waits for
// I/O (START_DEV reads the partition table) holds up nothing here. What a command reads or writes lies in the
// waiting frame. Owns /dev/ublk-control. Thread of its loop, which must be wide and must serve no I/O of the
// devices that it controls, but for the self-test's. Source: Linux 6.12 drivers/block/ublk_drv.c.
#pragma once

#include "base/result.hpp"
#include "block/ublk_abi.hpp"
#include "ring/loop.hpp"
#include "ring/task.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <sys/types.h>

namespace iscsi::block {

class DeviceHelper;

class UblkControl {
public:
    /// Errors: not_supported (the kernel has no such driver, or its module is not loaded), access_denied.
    static base::Result<std::unique_ptr<UblkControl>> open(ring::Loop& loop);

    UblkControl(const UblkControl&) = delete;
    UblkControl& operator=(const UblkControl&) = delete;
    ~UblkControl();

    ring::Loop& loop() { return loop_; }

    /// What the driver can do. -EOPNOTSUPP before Linux 6.5.
    ring::Task<int> get_features(std::uint64_t& features);
    /// Makes a device and its /dev/ublkcN; `info` is what is asked for and comes back as what was granted.
    ring::Task<int> add_device(ublk::DeviceInfo& info);
    ring::Task<int> get_device_info(std::uint32_t dev_id, ublk::DeviceInfo& info);
    /// Before the start only.
    ring::Task<int> set_parameters(std::uint32_t dev_id, const ublk::Parameters& parameters);
    /// Makes /dev/ublkbN when every tag of the queue has been fetched, -EINTR when that has not happened at
    /// `deadline`. The process `server` has fetched them. Before Linux 7 it then waits for the partition
    /// table.
    ring::Task<int> start_device(std::uint32_t dev_id, pid_t server, base::Deadline deadline);
    /// Takes /dev/ublkbN away, whoever uses it. The queue ends what it has in progress meanwhile; then the
    /// commands of all its tags end with -ENODEV.
    ring::Task<int> stop_device(std::uint32_t dev_id);
    /// The same from a helper: it waits for I/O of the device, or for its lock, and a daemon that dies
    /// meanwhile must not wait with it. -ETIME after `deadline`; -EPIPE: there is no helper to be had.
    ring::Task<int> stop_device_aside(std::uint32_t dev_id, base::Deadline deadline);
    /// Deletes a device and waits until nobody has it open, /dev/ublkcN included.
    ring::Task<int> delete_device(std::uint32_t dev_id);
    /// Deletes a device; its number is free when nobody has it open.
    ring::Task<int> delete_device_async(std::uint32_t dev_id);
    /// The device's former server has died: -EBUSY until the kernel has noticed that.
    ring::Task<int> start_user_recovery(std::uint32_t dev_id);
    /// The same from a helper, for a device whose start may not have ended with its server: the kernel then
    /// holds the device's lock until I/O has ended that nobody will ever serve, and whoever wants the lock
    /// waits with it. -ETIME after ten seconds, and at once as long as the helper of this device still stands
    /// there: there is never a second one. -EPIPE: there is no helper to be had.
    ring::Task<int> start_user_recovery_aside(std::uint32_t dev_id);
    /// This process serves the device from now on; waits as start_device does.
    ring::Task<int> end_user_recovery(std::uint32_t dev_id, base::Deadline deadline);
    /// The size changed. Linux 6.16.
    ring::Task<int> update_size(std::uint32_t dev_id, std::uint64_t sectors);
    /// Takes the device away from its server, with I/O waiting for the next. -EBUSY when every tag is in
    /// progress for `patience`. Linux 6.16.
    ring::Task<int> quiesce_device(std::uint32_t dev_id, std::chrono::milliseconds patience);

private:
    UblkControl(ring::Loop& loop, int fd);
    ring::Task<int> run(std::uint32_t operation, ublk::ControlCommand command, base::Deadline deadline);

    ring::Loop& loop_;
    int fd_;
    std::map<std::uint32_t, std::unique_ptr<DeviceHelper>>
        recoverers_; ///< those that are not done, by device
};

} // namespace iscsi::block
