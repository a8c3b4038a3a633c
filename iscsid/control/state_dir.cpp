#include "control/state_dir.hpp"

#include "base/limits.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace iscsi::control {
namespace {

using base::Errc;
using base::fail;
using base::Result;
using records::Directory;
using records::Fd;

constexpr std::string_view suffix = ".json";

std::string file_name(std::uint32_t sid) {
    return fmt::format("{}{}", sid, suffix);
}

/// 0 when no session's file is called so.
std::uint32_t sid_of(std::string_view name) {
    if (!name.ends_with(suffix)) {
        return 0;
    }
    auto sid = base::parse_decimal(name.substr(0, name.size() - suffix.size()), UINT32_MAX);
    return sid && file_name(static_cast<std::uint32_t>(*sid)) == name ? static_cast<std::uint32_t>(*sid) : 0;
}

/// Nobody but root and this process's user can have put there what is in it.
bool is_ours(const struct stat& info) {
    constexpr mode_t others_write = S_IWGRP | S_IWOTH;
    return (info.st_uid == 0 || info.st_uid == ::geteuid()) && (info.st_mode & others_write) == 0;
}

Result<void> check_directory(const Directory& directory) {
    struct stat info {};
    if (::fstat(directory.fd(), &info) != 0) {
        return fail(records::system_error(directory.path(), errno));
    }
    if (!is_ours(info)) {
        return fail(Errc::access_denied,
                    fmt::format("{}: others than root may write there", base::printable(directory.path())));
    }
    return {};
}

/// `size` bytes from the start of a file that nobody writes to.
Result<std::string> read_whole(const Fd& fd, std::size_t size, const std::string& path) {
    std::string content(size, '\0');
    std::size_t have = 0;
    while (have < size) {
        ssize_t n = ::read(fd.get(), content.data() + have, size - have);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return fail(records::system_error(path, errno));
        }
        if (n == 0) {
            break;
        }
        have += static_cast<std::size_t>(n);
    }
    content.resize(have);
    return content;
}

/// As Directory::read, but a file of ours only, and longer than a record's.
Result<std::string> read_ours(const Directory& directory, const std::string& name) {
    const std::string path = fmt::format("{}/{}", directory.path(), name);
    // O_NONBLOCK: opening a FIFO that somebody put there must not hang.
    Fd fd(::openat(directory.fd(), name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    struct stat info {};
    if (!fd || ::fstat(fd.get(), &info) != 0) {
        return fail(records::system_error(path, errno));
    }
    std::string_view wrong;
    if (!S_ISREG(info.st_mode)) {
        wrong = "it is not a regular file";
    } else if (!is_ours(info)) {
        wrong = "others than root may have written it";
    } else if (std::cmp_greater(info.st_size, base::limits::state_file_bytes_max)) {
        wrong = "it is too long";
    }
    if (!wrong.empty()) {
        return fail(Errc::access_denied, fmt::format("{}: {}", base::printable(path), wrong));
    }
    return read_whole(fd, static_cast<std::size_t>(info.st_size), path);
}

Result<SessionState> read_state(const Directory& directory, const std::string& name) {
    const std::uint32_t sid = sid_of(name);
    const std::string path = base::printable(fmt::format("{}/{}", directory.path(), name));
    if (sid == 0) {
        return fail(Errc::invalid, fmt::format("{}: not the name of a session's file", path));
    }
    auto content = read_ours(directory, name);
    if (!content) {
        return fail(std::move(content.error()));
    }
    auto state = parse_state(*content);
    if (!state) {
        return fail(state.error().code, fmt::format("{}: {}", path, state.error().detail));
    }
    if (state->sid != sid) {
        return fail(Errc::invalid, fmt::format("{}: it is of session {}", path, state->sid));
    }
    return state;
}

} // namespace

Result<void> StateDir::write(const SessionState& state) {
    if (auto checked = check_state(state); !checked) {
        return checked;
    }
    auto directory = Directory::make(path_);
    if (!directory) {
        return fail(std::move(directory.error()));
    }
    if (auto checked = check_directory(*directory); !checked) {
        return checked;
    }
    const std::string text = state_text(state);
    if (text.size() > base::limits::state_file_bytes_max) {
        return fail(Errc::database, fmt::format("session {} has too many units for a file", state.sid));
    }
    return directory->replace(file_name(state.sid), text, *directory);
}

Result<void> StateDir::forget(std::uint32_t sid) {
    auto directory = Directory::open(path_);
    auto removed = directory ? directory->remove(file_name(sid)) : fail(std::move(directory.error()));
    if (!removed && removed.error().code != Errc::not_found) {
        return removed;
    }
    return {};
}

std::vector<SessionState> StateDir::read_all(std::vector<std::string>& warnings) const {
    std::vector<SessionState> states;
    auto directory = Directory::open(path_);
    if (!directory) {
        if (directory.error().code != Errc::not_found) {
            warnings.push_back(directory.error().message());
        }
        return states;
    }
    if (auto checked = check_directory(*directory); !checked) {
        warnings.push_back(checked.error().message());
        return states;
    }
    for (const std::string& name : directory->staged()) {
        if (auto removed = directory->remove(name); !removed) {
            warnings.push_back(removed.error().message());
        }
    }
    auto entries = directory->entries();
    if (!entries) {
        warnings.push_back(entries.error().message());
        return states;
    }
    for (const records::Entry& entry : *entries) {
        auto state = read_state(*directory, entry.name);
        if (state) {
            states.push_back(std::move(*state));
        } else {
            warnings.push_back(state.error().message());
        }
    }
    std::ranges::sort(states, {}, &SessionState::sid);
    return states;
}

std::vector<std::uint32_t> StateDir::sids() const {
    std::vector<std::uint32_t> sids;
    auto directory = Directory::open(path_);
    auto entries = directory ? directory->entries() : fail(std::move(directory.error()));
    if (!entries) {
        return sids; // read_all() says why
    }
    for (const records::Entry& entry : *entries) {
        if (const std::uint32_t sid = sid_of(entry.name); sid != 0) {
            sids.push_back(sid);
        }
    }
    return sids;
}

} // namespace iscsi::control
