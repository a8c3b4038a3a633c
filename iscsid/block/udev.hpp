// Our side of udev: the properties of a kernel device are laid down in a file before the device appears, our
// rules (udev/58-iscsi-block.rules) read it, and the database that udev writes tells when links are made or
// gone. The folder is /run/iscsid/udev whatever else is configured: kernel devices are the machine's.
// Control's thread; the tasks wait by looking again (udev's database has no notices that need no library).
// The database's form: systemd, src/libsystemd/sd-device (the same from 252 to 262).
#pragma once

#include "base/result.hpp"
#include "block/kernel_device.hpp"
#include "ring/loop.hpp"
#include "ring/task.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::block {

/// Lays down what udev shall know of the kernel device `name` ("ublkb0", "nbd3"). Before the device appears.
/// Values may come from a target: what does not fit on one line of such a file is written as '_'. Errors:
/// invalid (a name that is none), internal (the file cannot be written).
base::Result<void> write_udev_properties(std::string_view name, std::uint64_t cookie,
                                         const UdevProperties& properties);

/// Removes the file; not there is fine. Before the device goes: an nbd device's last event must not find it.
void forget_udev_properties(std::string_view name);

/// Removes the file of the device with `cookie`, which is gone: somebody else's device may have its name by
/// now.
void forget_udev_properties_of(std::uint64_t cookie);

bool udev_is_running();

/// Waits, 3 s at most, until udev has worked off its events: what it reads from a device that is about to go
/// would fail.
ring::Task<void> wait_until_udev_is_idle(ring::Loop& loop);

/// udev has worked on the disk, so the kernel has shown it.
bool udev_knows(std::string_view name, std::uint64_t cookie);

/// Waits until the node of the device is there and, where udev runs, until udev has worked on the disk that
/// carries `cookie` and on each of its partitions, and the links it made are there. Errors: request_timed_out
/// after 20 s; the device can be used all the same.
ring::Task<base::Result<void>> wait_for_udev(ring::Loop& loop, std::string name, std::uint64_t cookie);

/// Absolute paths of the links that udev has made for the disk, sorted; the one in by-path first.
std::vector<std::string> links_of(std::string_view name, std::string_view by_path_name);

/// What there is of a device and its partitions: sysfs entries, nodes, udev's entries and links. Made while
/// the device is there, to know later that all of it is gone.
class UdevTrace {
public:
    explicit UdevTrace(std::string_view name);

    /// Waits, 10 s at most, until nothing of it is left: an nbd device can stay as long as it is not
    /// connected. What another device has taken over (a link, a number) counts as gone. While somebody has
    /// an nbd device open, that device cannot go.
    ring::Task<void> wait_until_gone(ring::Loop& loop);
    bool is_gone() const;

private:
    struct Part {
        std::string name;
        std::string number; ///< "259:3"
        std::string cookie; ///< as udev has it; "" when udev knows nothing
        std::vector<std::string> links;
    };
    bool is_gone(const Part& part) const;

    std::vector<Part> parts_;
};

} // namespace iscsi::block
