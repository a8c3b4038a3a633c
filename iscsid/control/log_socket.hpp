// A logger's datagram socket: syslog's, or the journal's. Nothing here waits, which syslog(3) and
// sd_journal_send(3) do when the logger does not read: its own disk may be one of ours. Owns its descriptor;
// one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace iscsi::control {

class LogSocket {
public:
    enum class Outcome : std::uint8_t {
        sent,
        full, ///< the logger does not read: this one is lost
        gone, ///< nobody has the socket
    };

    explicit LogSocket(std::string path) : path_(std::move(path)) {}
    LogSocket(const LogSocket&) = delete;
    LogSocket& operator=(const LogSocket&) = delete;
    ~LogSocket();

    /// A logger that was started anew is found again.
    Outcome send(std::string_view datagram);
    /// Whether somebody has the socket now.
    bool is_there();

private:
    /// Stays connected: the daemon of an initramfs finds no path after the switch to the real root.
    bool connect();
    void close();

    std::string path_;
    int fd_ = -1;
};

} // namespace iscsi::control
