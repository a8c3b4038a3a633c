#include "records/store_files.hpp"

#include "base/check.hpp"
#include "base/limits.hpp"
#include "base/text.hpp"
#include "base/wiped.hpp"
#include "records/names.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace iscsi::records {
namespace {

using base::Errc;
using base::fail;
using base::Result;

constexpr int directory_flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
constexpr mode_t directory_mode = 0700;
constexpr mode_t file_mode = 0600;

Result<void> write_all(int fd, std::string_view content, const std::string& path) {
    while (!content.empty()) {
        ssize_t n = ::write(fd, content.data(), content.size());
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return fail(system_error(path, errno));
        }
        content.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
}

Result<std::string> read_all(const Fd& fd, const std::string& path) {
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) {
        return fail(system_error(path, errno));
    }
    if (!S_ISREG(info.st_mode)) {
        return fail(Errc::invalid, fmt::format("{}: not a regular file", base::printable(path)));
    }
    std::string content;
    char piece[8192]; // more than a record has
    for (;;) {
        ssize_t n = ::read(fd.get(), piece, sizeof piece);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return fail(system_error(path, errno));
        }
        if (n == 0) {
            return content;
        }
        content.append(piece, static_cast<std::size_t>(n));
        base::wipe(std::as_writable_bytes(std::span(piece).first(static_cast<std::size_t>(n))));
        if (content.size() > base::limits::record_file_bytes_max) {
            return fail(Errc::invalid, fmt::format("{}: longer than {} bytes", base::printable(path),
                                                   base::limits::record_file_bytes_max));
        }
    }
}

/// An absolute path is the administrator's: what is wrong with it is no stray file to be passed over.
tl::unexpected<base::Error> own_error(const base::Error& error) {
    return fail(error.code == Errc::invalid ? Errc::database : error.code, error.detail);
}

/// The error of a step by which something is staged.
tl::unexpected<base::Error> staging_error(const std::string& path, int error_number) {
    bool elsewhere = error_number == EXDEV || error_number == EROFS;
    return fail(elsewhere ? Errc::not_supported : Errc::database, system_error(path, error_number).detail);
}

/// A name for a staged file that this process has not used before.
std::string staged_name() {
    static std::atomic<unsigned> count{0};
    return fmt::format("{}{}-{}", staged_prefix, ::getpid(), count.fetch_add(1));
}

Entry::Kind kind_of(const Directory& directory, const dirent64& found) {
    unsigned char type = found.d_type;
    if (type == DT_UNKNOWN) {
        struct stat info {};
        if (::fstatat(directory.fd(), found.d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
            return Entry::Kind::other;
        }
        type = static_cast<unsigned char>(IFTODT(info.st_mode));
    }
    switch (type) {
    case DT_REG:
        return Entry::Kind::file;
    case DT_DIR:
        return Entry::Kind::directory;
    case DT_LNK:
        return Entry::Kind::symlink;
    default:
        return Entry::Kind::other;
    }
}

} // namespace

Fd::~Fd() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

Result<void> Syncs::flush() {
    for (const std::string& path : std::exchange(paths_, {})) {
        Result<Directory> directory = Directory::open(path);
        Result<void> synced = directory ? directory->sync() : fail(directory.error());
        if (!synced && synced.error().code != Errc::not_found) {
            return synced;
        }
    }
    return {};
}

StagedFile::~StagedFile() {
    if (!name_.empty()) {
        ::unlinkat(directory_, name_.c_str(), 0);
    }
}

// The file systems that have delayed allocation give the blocks now: then one commit of their journal serves
// all files, and the later fsync() of them find it done. syncfs() would wait for what others have written,
// too.
void StagedFile::start_sync() const {
    static_cast<void>(::sync_file_range(fd_.get(), 0, 0, SYNC_FILE_RANGE_WRITE));
}

Result<void> StagedFile::sync() {
    if (::fsync(fd_.get()) != 0) {
        return fail(system_error(path_, errno));
    }
    fd_ = Fd();
    synced_ = true;
    return {};
}

base::Error system_error(std::string_view path, int error_number) {
    std::string reason = std::error_code(error_number, std::generic_category()).message();
    bool is_foreign = error_number == ENOTDIR || error_number == ELOOP;
    return {error_number == ENOENT ? Errc::not_found
            : is_foreign           ? Errc::invalid
                                   : Errc::database,
            fmt::format("{}: {}", base::printable(path), reason)};
}

Result<Directory> Directory::open(const std::string& path) {
    Fd fd(::open(path.c_str(), directory_flags));
    if (!fd) {
        return own_error(system_error(path, errno));
    }
    return Directory(std::move(fd), path);
}

Result<Directory> Directory::make(const std::string& path) {
    Result<Directory> present = open(path);
    if (present) {
        return present;
    }
    for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
        std::string part = path.substr(0, end);
        if (::mkdir(part.c_str(), directory_mode) == 0) {
            Result<Directory> above = open(path.substr(0, std::max<std::size_t>(part.rfind('/'), 1)));
            Result<void> synced = above ? above->sync() : Result<void>(fail(above.error()));
            if (!synced) {
                return fail(Errc::database, synced.error().detail);
            }
        } else if (errno != EEXIST) {
            // The directory may be there all the same, above it a file system that is not ours to write.
            int error_number = errno;
            struct stat info {};
            if (::stat(part.c_str(), &info) != 0) {
                return fail(Errc::database, system_error(part, error_number).detail);
            }
        }
        if (end == std::string::npos) {
            return open(path);
        }
    }
}

std::string Directory::path_of(std::string_view name) const {
    return fmt::format("{}/{}", path_, name);
}

Result<Directory> Directory::child(std::string_view name) const {
    Result<void> named = check_file_name(name);
    if (!named) {
        return fail(named.error());
    }
    std::string path = path_of(name);
    Fd fd(::openat(fd_.get(), std::string(name).c_str(), directory_flags | O_NOFOLLOW));
    if (!fd) {
        return fail(system_error(path, errno));
    }
    Directory found(std::move(fd), std::move(path));
    found.sync_later(syncs_);
    return found;
}

Result<Directory> Directory::make_child(std::string_view name) const {
    Result<Directory> present = child(name);
    if (present || present.error().code != Errc::not_found) {
        return present;
    }
    if (::mkdirat(fd_.get(), std::string(name).c_str(), directory_mode) == 0) {
        Result<void> synced = sync();
        if (!synced) {
            return fail(synced.error());
        }
    } else if (errno != EEXIST) {
        return fail(Errc::database, system_error(path_of(name), errno).detail);
    }
    return child(name);
}

Result<std::vector<Entry>> Directory::entries() const {
    Result<std::vector<Entry>> found = all_entries();
    if (found) {
        std::erase_if(*found, [](const Entry& entry) { return entry.name.starts_with('.'); });
        std::ranges::sort(*found, {}, &Entry::name);
    }
    return found;
}

std::vector<std::string> Directory::staged() const {
    std::vector<std::string> names;
    Result<std::vector<Entry>> found = all_entries();
    for (Entry& entry : found ? *found : std::vector<Entry>{}) {
        if (entry.name.starts_with(staged_prefix)) {
            names.push_back(std::move(entry.name));
        }
    }
    return names;
}

// Without opendir(), which would open the directory once more: a listing of ten thousand records is mostly
// system calls.
Result<std::vector<Entry>> Directory::all_entries() const {
    if (::lseek(fd_.get(), 0, SEEK_SET) != 0) {
        return fail(system_error(path_, errno));
    }
    std::vector<Entry> found;
    alignas(dirent64) char buffer[16384];
    for (;;) {
        ssize_t n = ::getdents64(fd_.get(), buffer, sizeof buffer);
        if (n < 0) {
            return fail(system_error(path_, errno));
        }
        if (n == 0) {
            return found;
        }
        for (ssize_t at = 0; at < n;) {
            const auto* next = reinterpret_cast<const dirent64*>(buffer + at);
            found.push_back({next->d_name, kind_of(*this, *next)});
            at += next->d_reclen;
        }
    }
}

Result<std::string> Directory::read(std::string_view name) const {
    Result<void> named = check_file_name(name);
    return named ? read_hidden(name) : fail(named.error());
}

Result<std::string> Directory::read_hidden(std::string_view name) const {
    std::string path = path_of(name);
    // O_NONBLOCK: opening a FIFO that somebody put there must not hang.
    Fd fd(::openat(fd_.get(), std::string(name).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd) {
        return fail(system_error(path, errno));
    }
    return read_all(fd, path);
}

Result<std::string> Directory::read_link(std::string_view name) const {
    char target[4096];
    ssize_t n = ::readlinkat(fd_.get(), std::string(name).c_str(), target, sizeof target);
    if (n < 0) {
        return fail(system_error(path_of(name), errno));
    }
    return std::string(target, static_cast<std::size_t>(n));
}

Result<void> Directory::replace(std::string_view name, std::string_view content,
                                const Directory& staging) const {
    Result<void> named = check_file_name(name);
    if (!named) {
        return named;
    }
    Result<StagedFile> staged = staging.stage(content);
    Result<void> done = staged ? staged->sync() : fail(staged.error());
    return done ? take(std::move(*staged), name) : done;
}

Result<StagedFile> Directory::stage(std::string_view content) const {
    std::string name = staged_name();
    std::string path = path_of(name);
    Fd fd(::openat(fd_.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, file_mode));
    if (!fd) {
        return staging_error(path, errno);
    }
    StagedFile staged(fd_.get(), std::move(name), std::move(path), std::move(fd));
    Result<void> written = write_all(staged.fd_.get(), content, staged.path_);
    return written ? Result<StagedFile>(std::move(staged)) : fail(written.error());
}

Result<void> Directory::take(StagedFile staged, std::string_view name) const {
    base::check(staged.synced_, "content is on the disk before its name");
    if (::renameat(staged.directory_, staged.name_.c_str(), fd_.get(), std::string(name).c_str()) != 0) {
        return staging_error(path_of(name), errno);
    }
    staged.name_.clear();
    return sync();
}

Result<void> Directory::link(std::string_view name, const std::string& target,
                             const Directory& staging) const {
    Result<void> named = check_file_name(name);
    if (!named) {
        return named;
    }
    Result<std::string> present = read_link(name);
    if (present && *present == target) {
        return {};
    }
    std::string staged = staged_name();
    if (::symlinkat(target.c_str(), staging.fd(), staged.c_str()) != 0) {
        return staging_error(staging.path_of(staged), errno);
    }
    if (::renameat(staging.fd(), staged.c_str(), fd_.get(), std::string(name).c_str()) != 0) {
        int error_number = errno;
        ::unlinkat(staging.fd(), staged.c_str(), 0);
        return staging_error(path_of(name), error_number);
    }
    return sync();
}

Result<void> Directory::remove(std::string_view name) const {
    if (::unlinkat(fd_.get(), std::string(name).c_str(), 0) != 0) {
        return fail(system_error(path_of(name), errno));
    }
    return sync();
}

Result<void> Directory::remove_if_empty(std::string_view name) const {
    if (::unlinkat(fd_.get(), std::string(name).c_str(), AT_REMOVEDIR) == 0) {
        return sync();
    }
    bool stays = errno == ENOTEMPTY || errno == EEXIST || errno == ENOENT || errno == EBUSY;
    return stays ? Result<void>() : fail(Errc::database, system_error(path_of(name), errno).detail);
}

Result<void> Directory::sync() const {
    if (syncs_ != nullptr) {
        syncs_->add(path_);
        return {};
    }
    if (::fsync(fd_.get()) != 0) {
        return fail(system_error(path_, errno));
    }
    return {};
}

Result<std::string> read_file(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd) {
        return own_error(system_error(path, errno));
    }
    Result<std::string> content = read_all(fd, path);
    return content ? content : own_error(content.error());
}

} // namespace iscsi::records
