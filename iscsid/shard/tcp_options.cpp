#include "shard/tcp_options.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <utility>
#include <vector>

namespace iscsi::shard {
namespace {

tl::unexpected<base::Error> call_failed(const std::string& call, int error_number) {
    return base::fail(base::Errc::transport, call + ": " + std::strerror(error_number));
}

tl::unexpected<base::Error> cannot_bind(std::string detail) {
    return base::fail(base::Error{base::Errc::transport, std::move(detail), base::Cause::binding_failed});
}

std::string first_line(const std::filesystem::path& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

bool is_same_text(std::string_view a, std::string_view b) {
    auto is_same = [](char x, char y) { return x == y || ((x | 0x20) == (y | 0x20) && (x | 0x20) >= 'a'); };
    return std::ranges::equal(a, b, is_same);
}

struct Candidate {
    std::string name;
    bool is_up = false;
    bool is_below = false; ///< another interface stands on it, which has the addresses

    /// The smaller one is the better one.
    auto rank() const { return std::tuple(!is_up, is_below, name); }
};

Candidate candidate_of(const std::filesystem::path& folder) {
    Candidate candidate{folder.filename(), first_line(folder / "operstate") != "down", false};
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
        candidate.is_below |= entry.path().filename().string().starts_with("upper_");
    }
    return candidate;
}

base::Result<void> bind_to_device(int fd, const std::string& device) {
    if (::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device.c_str(),
                     static_cast<socklen_t>(device.size())) != 0) {
        return cannot_bind("binding to " + base::printable(device, 64) + ": " + std::strerror(errno));
    }
    return {};
}

base::Result<void> bind_to_address(int fd, int family, const std::string& address) {
    addrinfo hints{};
    hints.ai_family = family;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICHOST;
    addrinfo* found = nullptr;
    const std::string call = "binding to the address " + base::printable(address, 64);
    if (const int error = ::getaddrinfo(address.c_str(), nullptr, &hints, &found); error != 0) {
        return cannot_bind(call + ": " + ::gai_strerror(error));
    }
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
    // The port is chosen with the connection: one for each pair of addresses, not one for all of the machine.
    const int on = 1;
    ::setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (::bind(fd, found->ai_addr, found->ai_addrlen) != 0) {
        return cannot_bind(call + ": " + std::strerror(errno));
    }
    return {};
}

} // namespace

base::Result<std::string> device_of(const std::string& hardware_address, const std::string& folder) {
    std::vector<Candidate> candidates;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
        if (is_same_text(first_line(entry.path() / "address"), hardware_address)) {
            candidates.push_back(candidate_of(entry.path()));
        }
    }
    auto best = std::ranges::min_element(candidates, {}, &Candidate::rank);
    if (best == candidates.end()) {
        return cannot_bind(fmt::format("no network interface has the hardware address {}",
                                       base::printable(hardware_address, 64)));
    }
    return best->name;
}

base::Result<TcpOptions> with_device(TcpOptions options) {
    if (!options.hardware_address.empty()) {
        auto device = device_of(options.hardware_address);
        if (!device) {
            return base::fail(std::move(device.error()));
        }
        options.net_device = std::move(*device);
        options.hardware_address.clear();
    }
    return options;
}

base::Result<void> apply_before_connect(int fd, int family, const TcpOptions& options) {
    int on = 1;
    if (::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
        return call_failed("TCP_NODELAY", errno);
    }
    if (options.window_bytes > 0) {
        // The kernel caps them at net.core.[rw]mem_max without an error.
        ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &options.window_bytes, sizeof options.window_bytes);
        ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &options.window_bytes, sizeof options.window_bytes);
    }
    const std::string& congestion = options.congestion_control;
    if (!congestion.empty() && ::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion.c_str(),
                                            static_cast<socklen_t>(congestion.size())) != 0) {
        return call_failed("congestion control " + congestion, errno);
    }
    // Once: Linux lets nobody without CAP_NET_RAW change it.
    base::Result<void> bound =
        options.net_device.empty() ? base::Result<void>() : bind_to_device(fd, options.net_device);
    return bound && !options.local_address.empty() ? bind_to_address(fd, family, options.local_address)
                                                   : bound;
}

base::Result<void> apply_user_timeout(int fd, const TcpOptions& options) {
    const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(options.user_timeout);
    const auto value = static_cast<unsigned>(std::min<std::int64_t>(milliseconds.count(), INT_MAX));
    if (value != 0 && ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, sizeof value) != 0) {
        return call_failed("TCP_USER_TIMEOUT", errno);
    }
    return {};
}

} // namespace iscsi::shard
