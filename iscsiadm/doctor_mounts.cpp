// The last step of the chain: whether the file systems of a unit are where they are to be, and still take
// writes. Reads /proc/self/mountinfo, /sys and fstab; opens no device.
#include "base/text.hpp"
#include "doctor.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <memory>
#include <mntent.h>
#include <sstream>
#include <string_view>
#include <sys/stat.h>
#include <utility>
#include <vector>

namespace iscsi::adm {
namespace {

using base::Errc;

/// A mounted file system (proc(5): /proc/PID/mountinfo).
struct Mount {
    std::string place;
    std::string type;
    bool is_read_only = false; ///< as it was asked for
    std::string trouble;       ///< what befell it, in a few words; empty: nothing
};

/// A line of fstab.
struct Wanted {
    std::string place;
    bool is_automatic = true; ///< "noauto" is not among its options
};

bool has_option(std::string_view options, std::string_view option) {
    const auto all = base::split(options, ',');
    return std::ranges::find(all, option) != all.end();
}

/// "\040" is a space there.
std::string plain(const std::string& escaped) {
    constexpr std::size_t digits = 3;
    constexpr int octal = 8;
    std::string text;
    for (std::size_t i = 0; i < escaped.size(); ++i) {
        if (escaped[i] == '\\' && i + digits < escaped.size()) {
            text += static_cast<char>(std::stoi("0" + escaped.substr(i + 1, digits), nullptr, octal));
            i += digits;
        } else {
            text += escaped[i];
        }
    }
    return text;
}

/// A path of a device that is one of these. No other path is looked at: it may be of a file system (an image
/// that is to be mounted, a directory to be bound) whose server does not answer.
bool is_one_of(const std::string& path, const std::set<std::string>& numbers) {
    struct stat found {};
    return path.starts_with("/dev/") && ::stat(path.c_str(), &found) == 0 && S_ISBLK(found.st_mode) &&
           numbers.contains(number_of(found.st_rdev));
}

/// Those that turn read-only when they meet an error. Others (squashfs, iso9660) are so from the beginning,
/// however they were mounted.
bool turns_read_only(std::string_view type) {
    constexpr std::array<std::string_view, 13> types{"ext2",   "ext3",  "ext4",    "xfs",   "btrfs",
                                                     "f2fs",   "vfat",  "msdos",   "exfat", "jfs",
                                                     "nilfs2", "ocfs2", "reiserfs"};
    return std::ranges::find(types, type) != types.end();
}

/// ext4 counts its errors until it is checked; of those of Linux 6.12 to 6.14 that stopped nothing else
/// tells.
std::string trouble_of(const std::string& number, std::string_view type, bool is_read_only,
                       std::string_view options) {
    if (!is_read_only && turns_read_only(type) &&
        (has_option(options, "ro") || has_option(options, "emergency_ro") ||
         has_option(options, "shutdown"))) {
        return "was mounted for writing and takes no more";
    }
    std::error_code error;
    const auto device = std::filesystem::canonical("/sys/dev/block/" + number, error);
    std::ifstream file("/sys/fs/ext4/" + device.filename().string() + "/errors_count");
    std::uint64_t errors = 0;
    file >> errors;
    return errors == 0
               ? std::string()
               : fmt::format("has met {} error(s) since it was last checked, and may have stopped", errors);
}

std::vector<Mount> mounts_of(const std::set<std::string>& numbers) {
    std::vector<Mount> mounts;
    std::ifstream table("/proc/self/mountinfo");
    for (std::string line; std::getline(table, line);) {
        std::array<std::string, 6> before; // id, parent, number, root, place, options
        std::istringstream fields(line);
        for (std::string& field : before) {
            fields >> field;
        }
        const std::size_t dash = line.find(" - ");
        std::istringstream behind(dash == std::string::npos ? "" : line.substr(dash + 3));
        std::string type;
        std::string source;
        std::string options;
        behind >> type >> source >> options;
        // btrfs has numbers of its own making.
        if (numbers.contains(before[2]) || (type == "btrfs" && is_one_of(plain(source), numbers))) {
            const bool is_read_only = has_option(before[5], "ro");
            mounts.push_back(
                {plain(before[4]), type, is_read_only, trouble_of(before[2], type, is_read_only, options)});
        }
    }
    return mounts;
}

/// Where fstab names a device: a path, or what udev has links for.
std::string path_of(std::string_view named) {
    constexpr std::array<std::pair<std::string_view, std::string_view>, 4> tags{
        {{"UUID=", "uuid"}, {"LABEL=", "label"}, {"PARTUUID=", "partuuid"}, {"PARTLABEL=", "partlabel"}}};
    for (const auto& [tag, folder] : tags) {
        if (named.starts_with(tag)) {
            std::string_view value = named.substr(tag.size());
            if (value.size() > 1 && value.front() == '"' && value.back() == '"') {
                value = value.substr(1, value.size() - 2);
            }
            return fmt::format("/dev/disk/by-{}/{}", folder, value);
        }
    }
    return std::string(named);
}

std::vector<Wanted> wanted_of(const std::set<std::string>& numbers) {
    constexpr const char* fstab = "/etc/fstab";
    const std::unique_ptr<FILE, decltype(&::endmntent)> table(::setmntent(fstab, "re"), &::endmntent);
    std::vector<Wanted> all;
    mntent entry{};
    std::array<char, 4096> text{};
    while (table && ::getmntent_r(table.get(), &entry, text.data(), text.size()) != nullptr) {
        if (std::string_view(entry.mnt_dir).starts_with('/') &&
            is_one_of(path_of(entry.mnt_fsname), numbers)) {
            all.push_back({entry.mnt_dir, !has_option(entry.mnt_opts, "noauto")});
        }
    }
    return all;
}

} // namespace

Step look_at_mounts(const ipc::AttachedLun& lun, const std::set<std::string>& numbers) {
    const std::vector<Mount> mounts = mounts_of(numbers);
    std::string text;
    for (const Mount& mount : mounts) {
        const std::string place = base::printable(mount.place, 128);
        if (!mount.trouble.empty()) {
            return step_wrong(
                "mount", Errc::transport,
                named(lun, fmt::format("the file system at {} {}", place, mount.trouble)),
                fmt::format(
                    "I/O failed under it ('dmesg' says when and how): once the disk is well, unmount {}, "
                    "check it ('fsck') and mount it",
                    place));
        }
        text += fmt::format("{}{} ({}{})", text.empty() ? "mounted at " : ", ", place,
                            base::printable(mount.type, 32), mount.is_read_only ? ", read-only" : "");
    }
    std::string manual;
    for (const Wanted& wanted : wanted_of(numbers)) {
        const std::string place = base::printable(wanted.place, 128);
        if (std::ranges::find(mounts, wanted.place, &Mount::place) != mounts.end()) {
            continue;
        }
        if (wanted.is_automatic) {
            return step_wrong(
                "mount", Errc::not_found,
                named(lun, fmt::format("fstab has it at {}, and it is not mounted there", place)),
                fmt::format("'mount {0}'; 'journalctl -b' may say why it was not: without the option "
                            "_netdev it is tried before there is a network",
                            place));
        }
        manual = fmt::format("; fstab has it at {}, noauto", place);
    }
    return step_ok("mount", named(lun, (text.empty() ? "not mounted" : text) + manual));
}

} // namespace iscsi::adm
