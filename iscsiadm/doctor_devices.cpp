// What a session shows to this machine: units, device nodes or sockets, udev's links, and what stands on the
// devices. Reads /sys; opens no device, because a disk that hangs must not hang who looks for the reason.
#include "base/text.hpp"
#include "doctor.hpp"
#include "print.hpp"
#include "words.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <set>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace iscsi::adm {
namespace {

using base::Errc;

std::string first_line(const std::filesystem::path& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

/// The numbers of a device, of its partitions and of what stands on them (LVM, multipath, MD).
void collect(const std::filesystem::path& device, std::set<std::string>& numbers) {
    const std::string number = first_line(device / "dev");
    if (number.empty() || !numbers.insert(number).second) {
        return;
    }
    std::error_code error;
    for (const auto& holder : std::filesystem::directory_iterator(device / "holders", error)) {
        collect(std::filesystem::canonical(holder.path(), error), numbers);
    }
    for (const auto& entry : std::filesystem::directory_iterator(device, error)) {
        if (std::filesystem::exists(entry.path() / "partition", error)) {
            collect(entry.path(), numbers);
        }
    }
}

bool is_forbidden(int error_number) {
    return error_number == EACCES || error_number == EPERM;
}

/// The kernel knows sizes in sectors of 512 bytes.
Step look_at_size(const ipc::AttachedLun& lun, dev_t device) {
    constexpr std::uint64_t sector_bytes = 512;
    const std::string sectors = first_line(fmt::format("/sys/dev/block/{}/size", number_of(device)));
    const auto count = base::parse_decimal(sectors);
    if (count && *count * sector_bytes != lun.size_bytes) {
        return step_wrong(
            "device", Errc::again,
            named(lun, fmt::format("{} has {}, the unit {}", lun.device, size_words(*count * sector_bytes),
                                   size_words(lun.size_bytes))),
            "'iscsiadm -m session -R' tells the kernel of the new size; ublk before Linux 6.16 "
            "needs a logout and a login");
    }
    return step_ok("device", named(lun, fmt::format("{}, {}", lun.device, size_words(lun.size_bytes))));
}

/// udev gives nodes their rights and makes none.
std::string how_to_make_the_node(const std::string& device) {
    const std::string name = std::filesystem::path(device).filename();
    std::string number = first_line("/sys/class/block/" + name + "/dev");
    if (number.empty()) {
        return "the kernel has no such device any more: log out and in again";
    }
    std::ranges::replace(number, ':', ' ');
    return fmt::format("'mknod {} b {}' makes it anew: who takes files out of /dev?", device, number);
}

Step look_at_device(const ipc::AttachedLun& lun, struct stat& found) {
    const bool is_export = !lun.uri.empty();
    if (::stat(lun.device.c_str(), &found) != 0) {
        if (is_forbidden(errno)) {
            return step_unseen("device", named(lun, lun.device + ": " + std::strerror(errno)),
                               "only root may look there");
        }
        return step_wrong("device", Errc::not_found, named(lun, lun.device + ": " + std::strerror(errno)),
                          is_export ? "somebody removed the socket: log out and in again"
                                    : how_to_make_the_node(lun.device));
    }
    if (is_export) {
        return step_ok("device",
                       named(lun, fmt::format("socket export, {}: {}", size_words(lun.size_bytes), lun.uri)));
    }
    if (!S_ISBLK(found.st_mode)) {
        return step_wrong("device", Errc::not_found, named(lun, lun.device + " is no block device"),
                          "somebody put a file in its place: remove that; " +
                              how_to_make_the_node(lun.device));
    }
    return look_at_size(lun, found.st_rdev);
}

Step look_at_link(const ipc::AttachedLun& lun, const struct stat& device) {
    const std::string wait =
        lun.uri.empty()
            ? fmt::format("'udevadm trigger --settle {0}' has udev make its links anew; are our rules "
                          "installed ('udevadm info --query=property {0}' has ID_PATH)?",
                          lun.device)
            : "somebody removed it: log out and in again";
    if (lun.link.empty()) {
        return step_wrong("link", Errc::not_found, named(lun, "there is no link by path"), wait);
    }
    struct stat found {};
    if (::stat(lun.link.c_str(), &found) != 0) {
        return is_forbidden(errno) ? step_unseen("link", named(lun, lun.link + ": " + std::strerror(errno)))
                                   : step_wrong("link", Errc::not_found,
                                                named(lun, lun.link + ": " + std::strerror(errno)), wait);
    }
    const bool is_same = S_ISBLK(device.st_mode)
                             ? found.st_rdev == device.st_rdev
                             : found.st_dev == device.st_dev && found.st_ino == device.st_ino;
    if (!is_same) {
        return step_wrong("link", Errc::busy, named(lun, lun.link + " leads to another device"),
                          "two paths to one unit share the name: see 'ls -l' of it, and use multipath's");
    }
    return step_ok("link", named(lun, lun.link));
}

Step look_at_mount(const ipc::AttachedLun& lun, const struct stat& device) {
    if (!S_ISBLK(device.st_mode)) {
        return step_ok("mount", named(lun, "a socket is not mounted"));
    }
    std::error_code error;
    const auto folder =
        std::filesystem::canonical(fmt::format("/sys/dev/block/{}", number_of(device.st_rdev)), error);
    std::set<std::string> numbers;
    collect(folder, numbers);
    return look_at_mounts(lun, numbers);
}

bool look_at_unit(DoctorReport& report, const ipc::AttachedLun& lun) {
    if (lun.state != "running" || lun.device.empty()) {
        return report.add(step_wrong(
            "LUN", Errc::session_not_connected, named(lun, base::printable(lun.state)),
            "nothing is sent to it until it answers as the unit that it was: look at the target, then "
            "'iscsiadm -m session -R'"));
    }
    struct stat device {};
    const Step step = look_at_device(lun, device);
    if (!report.add(step)) {
        return false;
    }
    // Each is of the next one's way, and both are of use where the device is not seen.
    const bool has_link = report.add(look_at_link(lun, device));
    return has_link && (step.state != Step::State::ok || report.add(look_at_mount(lun, device)));
}

} // namespace

std::string named(const ipc::AttachedLun& lun, std::string_view what) {
    return fmt::format("LUN {}: {}", lun.number, what);
}

std::string number_of(dev_t device) {
    return fmt::format("{}:{}", major(device), minor(device));
}

bool look_at_devices(DoctorReport& report, const ipc::SessionSnapshot& session) {
    std::string others;
    for (const ipc::AbsentLun& unit : session.absent) {
        others += "; not shown: " + base::printable(unit.why);
    }
    if (session.luns.empty()) {
        return report.add(step_wrong(
            "LUNs", Errc::not_found, "the target shows none to this initiator" + others,
            "map a unit to this initiator's name at the target, then 'iscsiadm -m session -R'; with "
            "node.session.scan = manual units come with that, too"));
    }
    report.add(step_ok("LUNs", fmt::format("{}{}", session.luns.size(), others)));
    bool is_well = true;
    for (const ipc::AttachedLun& lun : session.luns) {
        is_well = look_at_unit(report, lun) && is_well;
    }
    return is_well;
}

} // namespace iscsi::adm
