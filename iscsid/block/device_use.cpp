#include "block/device_use.hpp"

#include "base/check.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <libmount.h>
#include <memory>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace iscsi::block {
namespace {

namespace fs = std::filesystem;
using base::Errc;
using base::fail;

/// A disk, a partition, or what is made of them.
struct Device {
    std::string name;
    std::string shown; ///< "/dev/dm-0 (vg-root)"
    dev_t number = 0;
};

std::string first_line(const fs::path& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

dev_t number_of(const fs::path& sysfs) {
    const std::string text = first_line(sysfs / "dev");
    const std::size_t colon = text.find(':');
    const auto parts = base::split(text, ':');
    if (colon == std::string::npos || parts.size() != 2) {
        return 0;
    }
    return ::makedev(static_cast<unsigned>(base::parse_decimal(parts[0]).value_or(0)),
                     static_cast<unsigned>(base::parse_decimal(parts[1]).value_or(0)));
}

/// The entries of a folder; none when it is not there.
std::vector<fs::path> entries_of(const fs::path& folder) {
    std::vector<fs::path> out;
    std::error_code error;
    fs::directory_iterator entries(folder, error);
    for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
        out.push_back(entries->path());
    }
    std::ranges::sort(out);
    return out;
}

fs::path sysfs_of(const std::string& name) {
    return fs::path("/sys/class/block") / name;
}

Device device(const std::string& name) {
    const std::string dm_name = first_line(sysfs_of(name) / "dm/name");
    std::string shown = "/dev/" + name;
    if (!dm_name.empty()) {
        shown += fmt::format(" ({})", base::printable(dm_name));
    }
    return {name, std::move(shown), number_of(sysfs_of(name))};
}

std::vector<Device> with_partitions(const std::string& name) {
    std::vector<Device> out;
    std::error_code error;
    if (!fs::exists(sysfs_of(name), error)) {
        return out;
    }
    out.push_back(device(name));
    for (const fs::path& entry : entries_of(sysfs_of(name))) {
        if (fs::exists(entry / "partition", error)) {
            out.push_back(device(entry.filename().string()));
        }
    }
    return out;
}

/// The number of the node at `path`; 0 when it is none. Nothing but nodes is looked at: other files may be on
/// a server that does not answer.
dev_t node_number(const char* path) {
    struct stat status {};
    const bool is_node =
        std::strncmp(path, "/dev/", 5) == 0 && ::stat(path, &status) == 0 && S_ISBLK(status.st_mode);
    return is_node ? status.st_rdev : 0;
}

/// Loop devices over the device: they are none of its holders, and do not keep others from opening it alone.
std::vector<std::string> loops_over(const Device& device) {
    std::vector<std::string> names;
    for (const fs::path& entry : entries_of("/sys/block")) {
        const std::string backing = first_line(entry / "loop/backing_file");
        if (!backing.empty() && (backing == "/dev/" + device.name ||
                                 (device.number != 0 && node_number(backing.c_str()) == device.number))) {
            names.push_back(entry.filename().string());
        }
    }
    return names;
}

std::vector<std::string> holders_of(const Device& device) {
    std::vector<std::string> names;
    for (const fs::path& entry : entries_of(sysfs_of(device.name) / "holders")) {
        names.push_back(entry.filename().string());
    }
    std::ranges::move(loops_over(device), std::back_inserter(names));
    return names;
}

/// Adds to `devices` what is built on them, whatever that is built on, and a line for each to `lines`.
void add_holders(std::vector<Device>& devices, std::vector<std::string>& lines) {
    // Grows while it is walked.
    for (std::size_t i = 0; i < devices.size(); ++i) {
        for (const std::string& name : holders_of(devices[i])) {
            Device holder = device(name);
            lines.push_back(
                fmt::format("{} is held by {}", devices[i].shown, holder.shown.substr(sizeof "/dev/" - 1)));
            if (std::ranges::find(devices, name, &Device::name) != devices.end()) {
                continue;
            }
            std::ranges::move(with_partitions(name), std::back_inserter(devices));
        }
    }
}

using Table = std::unique_ptr<libmnt_table, decltype(&mnt_unref_table)>;

Table table_of(const char* file) {
    return {mnt_new_table_from_file(file), mnt_unref_table};
}

/// btrfs and its like give a mount a number of its own, but name the device.
bool is_on(libmnt_fs* mount, const Device& device) {
    if (mnt_fs_get_devno(mount) == device.number) {
        return true;
    }
    const char* source = mnt_fs_get_srcpath(mount);
    return source != nullptr && device.number != 0 && node_number(source) == device.number;
}

void add_mounts(const std::vector<Device>& devices, std::vector<std::string>& lines) {
    // Those of process 1 too: whoever runs the daemon in a namespace of its own means the machine's.
    for (const char* file : {"/proc/self/mountinfo", "/proc/1/mountinfo"}) {
        Table table = table_of(file);
        if (table == nullptr) {
            continue;
        }
        for (const Device& device : devices) {
            libmnt_fs* mount = nullptr;
            std::unique_ptr<libmnt_iter, decltype(&mnt_free_iter)> walk(mnt_new_iter(MNT_ITER_FORWARD),
                                                                        mnt_free_iter);
            while (walk != nullptr && mnt_table_next_fs(table.get(), walk.get(), &mount) == 0) {
                if (const char* target = mnt_fs_get_target(mount);
                    target != nullptr && is_on(mount, device)) {
                    lines.push_back(
                        fmt::format("{} is mounted on {}", device.shown, base::printable(target)));
                }
            }
        }
    }
}

void add_swaps(const std::vector<Device>& devices, std::vector<std::string>& lines) {
    const Table table(mnt_new_table(), mnt_unref_table);
    if (table == nullptr || mnt_table_parse_swaps(table.get(), nullptr) != 0) {
        return;
    }
    for (const Device& device : devices) {
        libmnt_fs* swap = nullptr;
        std::unique_ptr<libmnt_iter, decltype(&mnt_free_iter)> walk(mnt_new_iter(MNT_ITER_FORWARD),
                                                                    mnt_free_iter);
        while (walk != nullptr && mnt_table_next_fs(table.get(), walk.get(), &swap) == 0) {
            if (is_on(swap, device)) {
                lines.push_back(fmt::format("{} is swapped on", device.shown));
            }
        }
    }
}

/// A file system of several devices, of which the mount names only one.
void add_btrfs(const std::vector<Device>& devices, std::vector<std::string>& lines) {
    for (const fs::path& volume : entries_of("/sys/fs/btrfs")) {
        for (const Device& device : devices) {
            std::error_code error;
            if (fs::exists(volume / "devices" / device.name, error)) {
                lines.push_back(fmt::format("{} is part of the mounted btrfs {}", device.shown,
                                            volume.filename().string()));
            }
        }
    }
}

/// In the order they came, each once.
void remove_doubles(std::vector<std::string>& lines) {
    std::vector<std::string> out;
    for (std::string& line : lines) {
        if (std::ranges::find(out, line) == out.end()) {
            out.push_back(std::move(line));
        }
    }
    lines = std::move(out);
}

/// The node that the process has open as `link`, if it is one of `devices`.
const Device* opened(const fs::path& link, const std::vector<Device>& devices) {
    std::error_code error;
    const std::string target = fs::read_symlink(link, error).string();
    struct stat status {};
    // Only nodes: asking for a file on a dead server would never end.
    if (error || !target.starts_with("/dev/") || ::stat(link.c_str(), &status) != 0 ||
        !S_ISBLK(status.st_mode)) {
        return nullptr;
    }
    auto found = std::ranges::find(devices, status.st_rdev, &Device::number);
    return found == devices.end() ? nullptr : &*found;
}

/// A helper of this process (device_helper.hpp), which has a claim.
bool is_helper(const fs::path& process) {
    const std::string wanted = fmt::format("PPid:\t{}", ::getpid());
    std::ifstream file(process / "status");
    for (std::string line; std::getline(file, line);) {
        if (line == wanted) {
            return true;
        }
    }
    return false;
}

} // namespace

std::vector<std::string> users_of(const std::string& name) {
    std::vector<std::string> lines;
    std::vector<Device> devices = with_partitions(name);
    add_holders(devices, lines);
    add_mounts(devices, lines);
    add_swaps(devices, lines);
    add_btrfs(devices, lines);
    remove_doubles(lines);
    return lines;
}

std::vector<std::string> openers_of(const std::string& name) {
    std::vector<std::string> lines;
    const std::vector<Device> devices = with_partitions(name);
    const std::string self = std::to_string(::getpid());
    for (const fs::path& process : entries_of("/proc")) {
        const std::string pid = process.filename().string();
        if (!base::parse_decimal(pid) || pid == self) {
            continue;
        }
        for (const fs::path& link : entries_of(process / "fd")) {
            const Device* device = opened(link, devices);
            if (device != nullptr && !is_helper(process)) {
                lines.push_back(fmt::format("{} is opened by {} (pid {})", device->shown,
                                            base::printable(first_line(process / "comm")), pid));
            }
        }
    }
    remove_doubles(lines);
    return lines;
}

DeviceClaim::DeviceClaim(std::unique_ptr<DeviceHelper> helper, std::string path)
    : helper_(std::move(helper)), path_(std::move(path)) {}

ring::Task<base::Result<DeviceClaim>> DeviceClaim::open(ring::Loop& loop, std::string path, Mode mode) {
    auto helper = DeviceHelper::start(loop);
    if (!helper) {
        co_return fail(std::move(helper.error()));
    }
    std::string request = fmt::format("claim {} {}", mode == Mode::exclusive ? "exclusive" : "shared", path);
    const auto answer = co_await (*helper)->ask(std::move(request), base::Deadline());
    const int error = -answer.result;
    if (error == 0) {
        co_return DeviceClaim(std::move(*helper), std::move(path));
    }
    if (error == EBUSY) {
        co_return fail(Errc::busy, path + " is in use");
    }
    const bool is_there = error != ENOENT && error != ENXIO && error != ENODEV;
    const Errc code = is_there ? Errc::internal : Errc::not_found;
    co_return fail(code, fmt::format("{}: {}", path, std::strerror(error)));
}

ring::Task<base::Result<void>> DeviceClaim::flush() {
    base::check(helper_ != nullptr, "a claim that is held is flushed");
    const auto answer = co_await helper_->ask("flush", base::Deadline());
    if (answer.result != 0) {
        co_return fail(Errc::transport, fmt::format("{}: {}", path_, std::strerror(-answer.result)));
    }
    co_return base::Result<void>();
}

ring::Task<void> DeviceClaim::release() {
    if (helper_ != nullptr) {
        // A helper that does not answer has ended, and what it held is closed.
        co_await helper_->ask("release", base::Deadline());
    }
    helper_.reset();
}

ring::Task<void> release(std::vector<DeviceClaim>& claims) {
    for (DeviceClaim& claim : claims) {
        co_await claim.release();
    }
    claims.clear();
}

} // namespace iscsi::block
