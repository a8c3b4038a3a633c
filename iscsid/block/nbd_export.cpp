#include "block/nbd_export.hpp"

#include "base/check.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <string_view>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace iscsi::block {
namespace {

constexpr int backlog = 128;
/// What a client's sockaddr_un holds beside the NUL.
constexpr std::size_t socket_path_bytes_max = sizeof(sockaddr_un::sun_path) - 1;

tl::unexpected<base::Error> fail_call(std::string_view call, std::string_view path) {
    return base::fail(base::Errc::internal, fmt::format("{} {}: {}", call, path, std::strerror(errno)));
}

base::Result<void> make_directory(const std::string& path, mode_t mode) {
    int made = ::mkdir(path.c_str(), mode);
    if (made != 0 && errno == ENOENT) {
        std::error_code error;
        std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
        made = ::mkdir(path.c_str(), mode);
    }
    if (made != 0 && errno != EEXIST) {
        return fail_call("mkdir", path);
    }
    return {};
}

/// Opens the sockets' directory and sees to it that it is ours alone.
base::Result<int> open_private_directory(const std::string& path) {
    constexpr int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int directory = ::open(path.c_str(), flags); // a login of many finds it there
    if (directory < 0 && errno == ENOENT) {
        if (auto made = make_directory(path, 0700); !made) {
            return base::fail(std::move(made.error()));
        }
        directory = ::open(path.c_str(), flags);
    }
    if (directory < 0) {
        return fail_call("open", path);
    }
    struct stat status {};
    if (::fstat(directory, &status) != 0 || status.st_uid != ::geteuid()) {
        ::close(directory);
        return base::fail(base::Errc::access_denied, path + " belongs to another user");
    }
    if ((status.st_mode & 07777) != 0700 && ::fchmod(directory, 0700) != 0) {
        auto failed = fail_call("chmod", path);
        ::close(directory);
        return failed;
    }
    return directory;
}

/// Percent-encodes what RFC 3986 does not let stand in a query.
std::string query_text(std::string_view text) {
    constexpr std::string_view plain = "-._~/:@!$'()*,;";
    std::string out;
    for (char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        const bool is_plain = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                              (byte >= 'A' && byte <= 'Z') || plain.find(c) != std::string_view::npos;
        out += is_plain ? std::string(1, c) : fmt::format("%{:02X}", byte);
    }
    return out;
}

bool points_to(const std::string& link, std::string_view target) {
    std::array<char, PATH_MAX> text;
    const ssize_t n = ::readlink(link.c_str(), text.data(), text.size());
    return n >= 0 && std::string_view(text.data(), static_cast<std::size_t>(n)) == target;
}

} // namespace

base::Result<std::unique_ptr<NbdExport>> NbdExport::create(const Place& place, const DeviceIdentity& identity,
                                                           const Attributes& attributes, unsigned queues) {
    base::check(queues >= 1 && queues <= base::limits::queues_max,
                "an export has a bounded number of queues");
    base::Result<std::string> full_name = by_path_name(identity);
    if (!full_name) {
        return base::fail(std::move(full_name.error()));
    }
    // A directory that leaves no room for any name still gets sockets: they are reached by shorter paths.
    const std::size_t left =
        socket_path_bytes_max - std::min(socket_path_bytes_max, place.socket_dir.size() + 1);
    base::Result<std::string> name =
        by_path_file_name(identity, left - std::min(left, identity.session.size()));
    base::Result<std::string> link_name = by_path_file_name(identity, NAME_MAX);
    if (!name || !link_name || name->size() + identity.session.size() > NAME_MAX ||
        link_name->size() > NAME_MAX) {
        return base::fail(base::Errc::invalid, "no file name holds " + *full_name);
    }
    base::Result<int> directory = open_private_directory(place.socket_dir);
    if (!directory) {
        return base::fail(std::move(directory.error()));
    }
    std::unique_ptr<NbdExport> device(new NbdExport);
    device->directory_ = *directory;
    device->attributes_ = attributes;
    device->queues_ = queues;
    device->shared_ = queues > 1 ? std::make_shared<NbdQueues>() : nullptr;
    device->export_name_ = std::move(*full_name);
    device->name_ = *name + identity.session;
    device->path_ = place.socket_dir + "/" + device->name_;
    device->uri_ = "nbd+unix:///?socket=" + query_text(device->path_);
    device->link_dir_ = place.by_path_dir;
    device->link_ = place.by_path_dir + "/" + *link_name;
    device->sharing_ = place.sharing;
    device->unit_ = identity.unit;
    // Short and not yet visible to ls; the process id tells leftovers of a crash from a socket in use.
    static std::uint64_t count = 0;
    const std::string hidden_name = fmt::format(".new-{}-{}", ::getpid(), count++);
    if (auto listening = device->listen(hidden_name); !listening) {
        return base::fail(std::move(listening.error()));
    }
    return device;
}

base::Result<void> NbdExport::listen(const std::string& hidden_name) {
    listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener_ < 0) {
        return fail_call("socket", path_);
    }
    // By way of the directory's descriptor, because sun_path is short; Linux gives the file the mode that the
    // socket has when it is bound, less the umask.
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string bind_path = fmt::format("/proc/self/fd/{}/{}", directory_, hidden_name);
    base::check(bind_path.size() <= socket_path_bytes_max, "the path to bind is short");
    std::memcpy(address.sun_path, bind_path.data(), bind_path.size());
    if (::fchmod(listener_, 0600) != 0) {
        return fail_call("chmod", path_);
    }
    auto bind = [&] {
        return ::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    };
    bool is_bound = bind();
    if (!is_bound && errno == EADDRINUSE) { // of a process before this one that had its number
        if (::unlinkat(directory_, hidden_name.c_str(), 0) != 0 && errno != ENOENT) {
            return fail_call("unlink", hidden_name);
        }
        is_bound = bind();
    }
    if (!is_bound) {
        return fail_call("bind", path_);
    }
    bound_name_ = hidden_name;
    struct stat bound {};
    if (::fstatat(directory_, hidden_name.c_str(), &bound, AT_SYMLINK_NOFOLLOW) != 0) {
        return fail_call("stat", path_);
    }
    inode_ = bound.st_ino;
    if (::listen(listener_, backlog) != 0) {
        return fail_call("listen", path_);
    }
    return {};
}

NbdExport::~NbdExport() {
    take_names_back();
    if (listener_ >= 0) {
        ::close(listener_);
    }
    if (directory_ >= 0) {
        ::close(directory_);
    }
}

base::Result<std::unique_ptr<BlockQueue>> NbdExport::make_queue(const QueueContext& context) {
    base::check((context.number == 0) == (listener_ >= 0) && context.number < queues_,
                "each queue of an export is made once, the first one first");
    std::string description = fmt::format("iSCSI logical unit {}", export_name_);
    return std::make_unique<NbdQueue>(context, std::exchange(listener_, -1),
                                      NbdExportInfo{export_name_, std::move(description), attributes_},
                                      shared_);
}

ring::Task<base::Result<void>> NbdExport::start() {
    co_return put_names();
}

base::Result<void> NbdExport::put_names() {
    struct stat present {};
    if (::fstatat(directory_, name_.c_str(), &present, AT_SYMLINK_NOFOLLOW) == 0 &&
        !S_ISSOCK(present.st_mode)) {
        return base::fail(base::Errc::busy, path_ + " is there and is not a socket");
    }
    // Takes the place of a socket that a crash left behind.
    if (::renameat(directory_, bound_name_.c_str(), directory_, name_.c_str()) != 0) {
        return fail_call("rename", path_);
    }
    bound_name_ = name_;
    return put_link();
}

base::Result<void> NbdExport::put_link() {
    if (auto leads = lead_to(sharing_->add(link_, path_, unit_)); !leads) {
        sharing_->remove(link_, path_);
        return leads;
    }
    links_.push_back(link_);
    return {};
}

base::Result<void> NbdExport::lead_to(const std::string& socket) {
    bool is_made = ::symlink(socket.c_str(), link_.c_str()) == 0;
    if (!is_made && errno == ENOENT) {
        if (auto made = make_directory(link_dir_, 0755); !made) {
            return made;
        }
        is_made = ::symlink(socket.c_str(), link_.c_str()) == 0;
    }
    if (is_made) {
        return {}; // nobody had the name
    }
    struct stat present {};
    if (::lstat(link_.c_str(), &present) == 0 && !S_ISLNK(present.st_mode)) {
        return base::fail(base::Errc::busy, link_ + " is there and is not a symbolic link");
    }
    const std::string hidden = fmt::format("{}/.new-{}", link_dir_, ::getpid());
    ::unlink(hidden.c_str());
    if (::symlink(socket.c_str(), hidden.c_str()) != 0) {
        return fail_call("symlink", link_);
    }
    if (::rename(hidden.c_str(), link_.c_str()) != 0) {
        auto failed = fail_call("rename", link_);
        ::unlink(hidden.c_str());
        return failed;
    }
    return {};
}

ring::Task<base::Result<void>> NbdExport::resize(Attributes attributes) {
    attributes_ = attributes;
    co_return base::Result<void>();
}

ring::Task<base::Result<void>> NbdExport::remove() {
    take_names_back();
    co_return base::Result<void>();
}

void NbdExport::take_names_back() {
    if (!links_.empty()) {
        links_.clear();
        const std::string next = sharing_->remove(link_, path_);
        const bool was_mine = points_to(link_, path_);
        if (was_mine && (next.empty() || !lead_to(next))) {
            ::unlink(link_.c_str());
        }
    }
    if (!bound_name_.empty() && owns_name()) {
        ::unlinkat(directory_, bound_name_.c_str(), 0);
    }
    bound_name_.clear();
}

bool NbdExport::owns_name() const {
    struct stat present {};
    return ::fstatat(directory_, bound_name_.c_str(), &present, AT_SYMLINK_NOFOLLOW) == 0 &&
           present.st_ino == inode_;
}

} // namespace iscsi::block
