#include "run_lock.hpp"

#include "base/text.hpp"

#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <limits>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <vector>

namespace iscsi::adm {

std::optional<pid_t> lock_holder_in(std::string_view locks, dev_t device, ino_t inode) {
    // "1: FLOCK  ADVISORY  WRITE 4711 00:19:1234 0 EOF"; who waits for it has an arrow behind the number.
    constexpr std::size_t words_min = 6;
    const std::string file = fmt::format("{:02x}:{:02x}:{}", major(device), minor(device), inode);
    for (std::string_view line : base::split(locks, '\n')) {
        std::vector<std::string_view> words = base::split(line, ' ');
        std::erase_if(words, [](std::string_view word) { return word.empty(); });
        if (words.size() < words_min || words[1] != "FLOCK" || words[3] != "WRITE" || words[5] != file) {
            continue;
        }
        const auto pid = base::parse_decimal(words[4], std::numeric_limits<pid_t>::max());
        return pid ? std::optional(static_cast<pid_t>(*pid)) : std::nullopt;
    }
    return std::nullopt;
}

std::optional<pid_t> lock_holder(const std::string& directory) {
    struct stat info {};
    if (::stat(directory.c_str(), &info) != 0) {
        return std::nullopt;
    }
    std::ifstream file("/proc/locks");
    const std::string locks{std::istreambuf_iterator<char>(file), {}};
    return lock_holder_in(locks, info.st_dev, info.st_ino);
}

} // namespace iscsi::adm
