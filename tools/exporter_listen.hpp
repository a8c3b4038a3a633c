// Where iscsi-exporter listens: at a Unix socket, at ports of loopback addresses, or at what a service
// manager gives it (sd_listen_fds(3)). Nothing but this machine ever reaches it. One thread.
#pragma once

#include "base/result.hpp"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace iscsi::tools {

/// A socket that listens; closed with it, and the file that it made is removed.
class Listening {
public:
    explicit Listening(int descriptor) : fd_(descriptor) {}
    Listening(Listening&& other) noexcept;
    Listening& operator=(Listening&&) = delete;
    Listening(const Listening&) = delete;
    Listening& operator=(const Listening&) = delete;
    ~Listening();

    int fd() const { return fd_; }
    /// The file that was made for it.
    void remove_at_end(std::string path) { path_ = std::move(path); }

private:
    int fd_;
    std::string path_; ///< empty: not ours to remove
};

/// Mode 0666, as the list of sessions is for everybody. Errors: busy (somebody listens there), invalid (no
/// such place).
base::Result<Listening> listen_at_path(const std::string& path);

/// `text`: 127.0.0.1:9891, [::1]:9891. Errors: invalid (no numeric loopback address with a port, or one that
/// cannot be listened at).
base::Result<Listening> listen_at_loopback(std::string_view text);

/// Those of sd_listen_fds(3); none without a service manager. Errors: invalid, when one of them is neither a
/// Unix socket nor one of a loopback address that listens.
base::Result<std::vector<Listening>> given_by_service_manager();

} // namespace iscsi::tools
