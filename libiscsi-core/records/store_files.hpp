// Directories and files as the record store uses them: opened below one another by checked names and never
// through symbolic links, replaced only by rename. A Directory owns its descriptor; its path is for messages.
// Blocks on the disk; one thread at a time.
#pragma once

#include "base/result.hpp"

#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace iscsi::records {

/// A file descriptor, closed with its owner.
class Fd {
public:
    Fd() = default;
    explicit Fd(int fd) : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Fd();

    int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }

private:
    int fd_ = -1;
};

/// The error for a failed system call: Errc::not_found for ENOENT, Errc::invalid when something else than a
/// directory lies there (ENOTDIR, ELOOP), else Errc::database; "path: reason".
base::Error system_error(std::string_view path, int error_number);

struct Entry {
    enum class Kind { file, directory, symlink, other };
    std::string name;
    Kind kind;
};

/// Directories that have changed and are to be synced later, each of them once.
class Syncs {
public:
    void add(const std::string& path) { paths_.insert(path); }
    /// Syncs them all. What is gone by now needs none: the directory above it has changed, too.
    base::Result<void> flush();

private:
    std::set<std::string> paths_;
};

/// A new file that is written but has no name yet by which anybody would find it. Removed with its owner
/// unless Directory::take() has given it one.
class StagedFile {
public:
    StagedFile(StagedFile&& other) noexcept
        : directory_(other.directory_), name_(std::exchange(other.name_, {})), path_(std::move(other.path_)),
          fd_(std::move(other.fd_)), synced_(other.synced_) {}
    StagedFile& operator=(StagedFile&&) = delete;
    ~StagedFile();

    /// Begins to write the content to the disk, so that it is under way for many files when the first one is
    /// synced. What goes wrong is said by sync().
    void start_sync() const;
    /// Returns when the content is on the disk. Needed before take().
    base::Result<void> sync();

private:
    friend class Directory;
    StagedFile(int directory, std::string name, std::string path, Fd fd)
        : directory_(directory), name_(std::move(name)), path_(std::move(path)), fd_(std::move(fd)) {}

    int directory_; ///< where it is staged; outlives this
    std::string name_;
    std::string path_;
    Fd fd_; ///< closed once synced
    bool synced_ = false;
};

class Directory {
public:
    /// Opens the absolute directory `path`; symbolic links in it are the administrator's and followed.
    static base::Result<Directory> open(const std::string& path);
    /// Opens it after creating what is missing, mode 0700.
    static base::Result<Directory> make(const std::string& path);

    const std::string& path() const { return path_; }
    int fd() const { return fd_.get(); }

    /// From now on changes in this directory, and in those that are opened from it, are synced by the owner
    /// of `syncs`; nullptr: by each function itself.
    void sync_later(Syncs* syncs) { syncs_ = syncs; }

    /// The directory `name` in this one; Errc::not_found when there is none. `name` is checked.
    base::Result<Directory> child(std::string_view name) const;
    /// The same, created when missing (mode 0700, this directory synced).
    base::Result<Directory> make_child(std::string_view name) const;

    /// Entries by name; those that begin with a dot are left out.
    base::Result<std::vector<Entry>> entries() const;
    /// Names of staged files.
    std::vector<std::string> staged() const;

    /// A whole regular file, at most record_file_bytes_max. Errc::not_found when there is none, Errc::invalid
    /// when it is no such file.
    base::Result<std::string> read(std::string_view name) const;
    /// The same of a file of the store's own, whose name begins with a dot.
    base::Result<std::string> read_hidden(std::string_view name) const;
    /// The text of a symbolic link.
    base::Result<std::string> read_link(std::string_view name) const;
    /// Puts `content` in place of the file `name` (mode 0600) in one step. `staging` holds the file until it
    /// is complete on the disk. Errc::not_supported when it cannot do so for this directory: it is of another
    /// file system or mount, or read-only.
    base::Result<void> replace(std::string_view name, std::string_view content,
                               const Directory& staging) const;
    /// The first half of replace(), in the directory that stages: the content is written, and on the disk
    /// after StagedFile::sync().
    base::Result<StagedFile> stage(std::string_view content) const;
    /// The second half: the staged file is `name` of this directory from now on. `name` is not checked.
    base::Result<void> take(StagedFile staged, std::string_view name) const;
    /// Makes `name` a symbolic link to `target`, in place of what was there, in one step; as replace().
    base::Result<void> link(std::string_view name, const std::string& target, const Directory& staging) const;

    /// Removes a file or link and syncs. Errc::not_found when there is none.
    base::Result<void> remove(std::string_view name) const;
    /// Removes the directory `name` when it is empty, and syncs; otherwise it stays, and that is no error.
    base::Result<void> remove_if_empty(std::string_view name) const;
    base::Result<void> sync() const;

private:
    Directory(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
    std::string path_of(std::string_view name) const;
    base::Result<std::vector<Entry>> all_entries() const;

    Fd fd_;
    std::string path_;
    Syncs* syncs_ = nullptr;
};

/// Staged files begin with this; one that is still there when nobody writes is left from a crash.
inline constexpr std::string_view staged_prefix = ".new-";

/// The whole file at an absolute path, bounded as Directory::read. Errc::not_found or Errc::database.
base::Result<std::string> read_file(const std::string& path);

} // namespace iscsi::records
