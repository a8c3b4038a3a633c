#include "block/udev.hpp"

#include "base/text.hpp"
#include "block/udev_text.hpp"
#include "ring/await.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <optional>
#include <sys/stat.h>
#include <system_error>
#include <tuple>
#include <unistd.h>

namespace iscsi::block {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using base::Errc;
using base::fail;

constexpr const char* runtime_dir = "/run/iscsid";
constexpr const char* properties_dir = "/run/iscsid/udev";
constexpr auto settle_timeout = 20s;
constexpr auto vanish_timeout = 10s;
constexpr auto idle_timeout = 3s;
constexpr std::size_t file_name_bytes_max = 255;

bool is_device_name(std::string_view name) {
    auto is_part = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
    return !name.empty() && name.size() <= 32 && std::ranges::all_of(name, is_part);
}

bool exists(const std::string& path) {
    struct stat status {};
    return ::lstat(path.c_str(), &status) == 0;
}

std::optional<std::string> read_file(const std::string& path) {
    std::ifstream file(path);
    if (!file) {
        return std::nullopt;
    }
    // Not with stream iterators: a sysfs file whose device goes meanwhile would throw through them.
    std::string text;
    std::getline(file, text, '\0');
    return text;
}

std::string properties_path(std::string_view name) {
    return fmt::format("{}/{}", properties_dir, name);
}

std::string sysfs_path(std::string_view name) {
    return fmt::format("/sys/class/block/{}", name);
}

/// "259:3"; "" without such a device.
std::string device_number(std::string_view name) {
    auto text = read_file(sysfs_path(name) + "/dev");
    return text ? std::string(base::trim(*text)) : std::string();
}

UdevEntry udev_entry(const std::string& number) {
    auto text = read_file("/run/udev/data/b" + number);
    return text ? parse_udev_entry(*text) : UdevEntry();
}

std::vector<std::string> partitions_of(std::string_view name) {
    std::vector<std::string> out;
    std::error_code error;
    fs::directory_iterator entries(sysfs_path(name), error);
    for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
        std::error_code ignored;
        if (fs::exists(entries->path() / "partition", ignored)) {
            out.push_back(entries->path().filename().string());
        }
    }
    return out;
}

/// A link name that is too long stays in the database, although udev could not make the link.
bool can_exist(const std::string& link) {
    return link.size() - link.rfind('/') - 1 <= file_name_bytes_max;
}

bool is_settled(const std::string& name, std::string_view cookie) {
    const std::string number = device_number(name);
    if (number.empty() || !exists("/dev/" + name)) {
        return false;
    }
    const UdevEntry entry = udev_entry(number);
    auto is_there = [](const std::string& link) { return !can_exist(link) || exists(link); };
    return entry.cookie == cookie && std::ranges::all_of(entry.links, is_there);
}

bool is_settled_with_partitions(const std::string& name, std::string_view cookie) {
    // The disk first: the kernel may look for partitions only when udev opens it.
    auto is_ready = [&](const std::string& part) { return is_settled(part, cookie); };
    return is_settled(name, cookie) && std::ranges::all_of(partitions_of(name), is_ready);
}

/// An nbd device that stays after it was disconnected.
bool is_idle_nbd(const std::string& name) {
    return name.starts_with("nbd") && !exists(sysfs_path(name) + "/pid") &&
           !exists(sysfs_path(name) + "/partition");
}

/// Looks again, soon at first, and then less and less often.
class Patience {
public:
    Patience(ring::Loop& loop, base::Duration limit) : loop_(loop), end_(ring::monotonic_now() + limit) {}

    bool is_over() const { return ring::monotonic_now() >= end_; }
    ring::Sleep pause() {
        const base::TimePoint until = ring::monotonic_now() + step_;
        step_ = std::min<base::Duration>(step_ * 2, 100ms);
        return {loop_, until};
    }

private:
    ring::Loop& loop_;
    base::TimePoint end_;
    base::Duration step_ = 2ms;
};

base::Result<void> write_whole(const std::string& path, std::string_view text) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (file < 0) {
        return fail(Errc::internal, fmt::format("{}: {}", path, std::strerror(errno)));
    }
    const ssize_t written = ::write(file, text.data(), text.size());
    const int number = errno;
    ::close(file);
    if (written != static_cast<ssize_t>(text.size())) {
        return fail(Errc::internal, fmt::format("{}: {}", path, std::strerror(number)));
    }
    return {};
}

} // namespace

base::Result<void> write_udev_properties(std::string_view name, std::uint64_t cookie,
                                         const UdevProperties& properties) {
    if (!is_device_name(name)) {
        return fail(Errc::invalid, "not the name of a device: " + base::printable(name));
    }
    auto text = udev_file_text(cookie, properties);
    if (!text) {
        return fail(std::move(text.error()));
    }
    // Where the first is already, its mode stays. The second is for udev's daemon alone.
    ::mkdir(runtime_dir, 0711);
    ::mkdir(properties_dir, 0700);
    ::chmod(properties_dir, 0700);
    // udev imports by the device's name, which never begins with a dot.
    const std::string unfinished = fmt::format("{}/.{}", properties_dir, name);
    auto written = write_whole(unfinished, *text);
    if (written && ::rename(unfinished.c_str(), properties_path(name).c_str()) != 0) {
        written = fail(Errc::internal, fmt::format("{}: {}", properties_path(name), std::strerror(errno)));
    }
    if (!written) {
        ::unlink(unfinished.c_str());
    }
    return written;
}

void forget_udev_properties(std::string_view name) {
    if (is_device_name(name)) {
        ::unlink(properties_path(name).c_str());
    }
}

void forget_udev_properties_of(std::uint64_t cookie) {
    std::vector<fs::path> found;
    std::error_code error;
    fs::directory_iterator entries(properties_dir, error);
    for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
        if (is_udev_file_of(read_file(entries->path()).value_or(""), cookie)) {
            found.push_back(entries->path());
        }
    }
    for (const fs::path& path : found) {
        ::unlink(path.c_str());
    }
}

bool udev_is_running() {
    return ::access("/run/udev/control", F_OK) == 0;
}

ring::Task<void> wait_until_udev_is_idle(ring::Loop& loop) {
    Patience patience(loop, idle_timeout);
    // Its daemon has this file as long as it has work.
    while (udev_is_running() && exists("/run/udev/queue") && !patience.is_over()) {
        ring::Sleep pause = patience.pause();
        co_await pause;
    }
}

bool udev_knows(std::string_view name, std::uint64_t cookie) {
    return udev_is_running() && udev_entry(device_number(name)).cookie == udev_cookie_text(cookie);
}

ring::Task<base::Result<void>> wait_for_udev(ring::Loop& loop, std::string name, std::uint64_t cookie) {
    const std::string cookie_text = udev_cookie_text(cookie);
    Patience patience(loop, settle_timeout);
    while (true) {
        const bool settled =
            udev_is_running() ? is_settled_with_partitions(name, cookie_text) : exists("/dev/" + name);
        if (settled) {
            co_return base::Result<void>();
        }
        if (patience.is_over()) {
            break;
        }
        ring::Sleep pause = patience.pause();
        co_await pause;
    }
    co_return fail(Errc::request_timed_out, fmt::format("udev has not named {} yet", name));
}

std::vector<std::string> links_of(std::string_view name, std::string_view by_path_name) {
    std::vector<std::string> links;
    if (const std::string number = device_number(name); !number.empty()) {
        links = udev_entry(number).links;
    }
    const std::string first = fmt::format("/dev/disk/by-path/{}", by_path_name);
    auto key = [&](const std::string& link) {
        return std::make_tuple(link != first, !link.starts_with("/dev/disk/by-path/"), link);
    };
    std::ranges::sort(links, {}, key);
    return links;
}

UdevTrace::UdevTrace(std::string_view name) {
    std::vector<std::string> names = partitions_of(name);
    names.emplace_back(name);
    for (std::string& each : names) {
        const std::string number = device_number(each);
        UdevEntry entry = udev_entry(number);
        parts_.push_back({std::move(each), number, std::move(entry.cookie), std::move(entry.links)});
    }
}

bool UdevTrace::is_gone(const Part& part) const {
    const bool stays = is_idle_nbd(part.name);
    if (!stays && (exists(sysfs_path(part.name)) || exists("/dev/" + part.name))) {
        return false;
    }
    if (part.cookie.empty() || !udev_is_running()) {
        return true;
    }
    auto is_ours = [&](const std::string& link) {
        std::error_code error;
        return fs::read_symlink(link, error).filename() == part.name;
    };
    return udev_entry(part.number).cookie != part.cookie && std::ranges::none_of(part.links, is_ours);
}

bool UdevTrace::is_gone() const {
    return std::ranges::all_of(parts_, [this](const Part& part) { return is_gone(part); });
}

ring::Task<void> UdevTrace::wait_until_gone(ring::Loop& loop) {
    Patience patience(loop, vanish_timeout);
    while (!is_gone() && !patience.is_over()) {
        ring::Sleep pause = patience.pause();
        co_await pause;
    }
}

} // namespace iscsi::block
