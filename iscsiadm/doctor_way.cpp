// The way to a portal, tried without iscsid: the resolver, the kernel's routes, a TCP connection that is
// closed again as soon as it is there.
#include "advice.hpp"
#include "base/text.hpp"
#include "doctor.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <ifaddrs.h>
#include <memory>
#include <net/if.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace iscsi::adm {
namespace {

using base::Cause;
using base::Errc;
using records::Key;

/// For each address of the portal.
constexpr int connect_milliseconds = 5000;

struct Address {
    sockaddr_storage bytes{};
    socklen_t size = 0;
    std::string text;
};

/// What the interface record asks connections to be bound to; empty: nothing.
struct Binding {
    std::string device;
    std::string address;
};

class Socket {
public:
    explicit Socket(int fd) : fd_(fd) {}
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    ~Socket() {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }
    int fd() const { return fd_; }

private:
    int fd_;
};

std::string numeric(const sockaddr* address, socklen_t size) {
    std::array<char, NI_MAXHOST> text{};
    ::getnameinfo(address, size, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST);
    return text.data();
}

base::Result<std::vector<Address>> look_up(const records::Portal& portal) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;
    addrinfo* found = nullptr;
    const int rc = ::getaddrinfo(portal.address.c_str(), std::to_string(portal.port).c_str(), &hints, &found);
    if (rc != 0) {
        return base::fail(base::Error{Errc::transport, ::gai_strerror(rc),
                                      rc == EAI_AGAIN ? Cause::name_service_silent : Cause::name_not_found});
    }
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
    std::vector<Address> addresses;
    for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
        Address address;
        std::memcpy(&address.bytes, info->ai_addr, info->ai_addrlen);
        address.size = info->ai_addrlen;
        address.text = numeric(info->ai_addr, info->ai_addrlen);
        addresses.push_back(std::move(address));
    }
    return addresses;
}

/// The network device with that hardware address, and that of the portal group under it; empty: none.
std::string device_with(const std::string& hardware_address) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/sys/class/net", error)) {
        std::ifstream file(entry.path() / "address");
        std::string line;
        if (std::getline(file, line) && ::strcasecmp(line.c_str(), hardware_address.c_str()) == 0) {
            return entry.path().filename();
        }
    }
    return {};
}

base::Result<Binding> binding_of(const records::Record& node) {
    Binding binding{node.text(Key::iface_net_ifacename), node.text(Key::iface_ipaddress)};
    if (const std::string& hardware = node.text(Key::iface_hwaddress); !hardware.empty()) {
        binding.device = device_with(hardware);
        if (binding.device.empty()) {
            return base::fail(base::Error{
                Errc::transport,
                fmt::format("no network device has the hardware address {}", base::printable(hardware, 64)),
                Cause::binding_failed});
        }
    }
    if (!binding.device.empty() && ::if_nametoindex(binding.device.c_str()) == 0) {
        return base::fail(
            base::Error{Errc::transport,
                        fmt::format("there is no network device {}", base::printable(binding.device, 64)),
                        Cause::binding_failed});
    }
    return binding;
}

base::Result<void> bind_to(int fd, int family, const Binding& binding) {
    const auto failed = [](const std::string& what) {
        return base::fail(
            base::Error{Errc::transport,
                        fmt::format("binding to {}: {}", base::printable(what, 64), std::strerror(errno)),
                        Cause::binding_failed});
    };
    const auto bytes = static_cast<socklen_t>(binding.device.size());
    if (!binding.device.empty() &&
        ::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, binding.device.c_str(), bytes) != 0) {
        return failed(binding.device);
    }
    if (binding.address.empty()) {
        return {};
    }
    addrinfo hints{};
    hints.ai_family = family;
    hints.ai_flags = AI_NUMERICHOST;
    addrinfo* found = nullptr;
    if (::getaddrinfo(binding.address.c_str(), nullptr, &hints, &found) != 0) {
        errno = EAFNOSUPPORT;
        return failed(binding.address);
    }
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
    return ::bind(fd, found->ai_addr, found->ai_addrlen) == 0 ? base::Result<void>()
                                                              : failed(binding.address);
}

base::Error error_of(int error_number) {
    return {Errc::transport, std::strerror(error_number), base::cause_of_connect(error_number)};
}

/// A socket of `type` that is bound and connected, as far as that goes without waiting: of UDP it asks the
/// routes alone and sends nothing.
base::Result<void> begin_connect(const Socket& socket, const Address& to, const Binding& binding) {
    if (socket.fd() < 0) {
        return base::fail(error_of(errno));
    }
    if (auto bound = bind_to(socket.fd(), to.bytes.ss_family, binding); !bound) {
        return bound;
    }
    if (::connect(socket.fd(), reinterpret_cast<const sockaddr*>(&to.bytes), to.size) != 0 &&
        errno != EINPROGRESS) {
        return base::fail(error_of(errno));
    }
    return {};
}

std::string device_of_address(const std::string& text) {
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) != 0) {
        return {};
    }
    const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, &::freeifaddrs);
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
        const int family = entry->ifa_addr == nullptr ? AF_UNSPEC : entry->ifa_addr->sa_family;
        const socklen_t size = family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
        if ((family == AF_INET || family == AF_INET6) && numeric(entry->ifa_addr, size) == text) {
            return entry->ifa_name;
        }
    }
    return {};
}

/// From where packets to the address go, and through what.
base::Result<std::string> route_to(const Address& to, const Binding& binding) {
    const Socket socket(::socket(to.bytes.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (auto begun = begin_connect(socket, to, binding); !begun) {
        return base::fail(std::move(begun.error()));
    }
    sockaddr_storage local{};
    socklen_t size = sizeof local;
    if (::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&local), &size) != 0) {
        return base::fail(error_of(errno));
    }
    const std::string from = numeric(reinterpret_cast<const sockaddr*>(&local), size);
    const std::string device = device_of_address(from);
    return fmt::format("to {} from {}{}{}", to.text, from, device.empty() ? "" : " of ", device);
}

base::Result<void> connect_to(const Address& to, const Binding& binding) {
    const Socket socket(::socket(to.bytes.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (auto begun = begin_connect(socket, to, binding); !begun) {
        return begun;
    }
    pollfd waiting{socket.fd(), POLLOUT, 0};
    int ready = 0;
    do {
        ready = ::poll(&waiting, 1, connect_milliseconds);
    } while (ready < 0 && errno == EINTR);
    int error_number = 0;
    socklen_t size = sizeof error_number;
    if (ready == 0) {
        error_number = ETIMEDOUT;
    } else if (::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error_number, &size) != 0) {
        error_number = errno;
    }
    return error_number == 0 ? base::Result<void>() : base::fail(error_of(error_number));
}

Step wrong_way(std::string_view name, const Patient& patient, const std::string& where,
               const base::Error& error) {
    return step_wrong(name, error.code, where.empty() ? error.detail : where + ": " + error.detail,
                      advice_for(error, patient.node));
}

/// The first address for which `look` succeeds; else the failure of the last one.
template <class Look>
auto first_good(const std::vector<Address>& addresses, std::string& where, Look look) {
    auto result = look(addresses.front());
    where = addresses.front().text;
    for (std::size_t i = 1; i < addresses.size() && !result; ++i) {
        result = look(addresses[i]);
        where = addresses[i].text;
    }
    return result;
}

} // namespace

bool look_at_way(DoctorReport& report, const Patient& patient) {
    const records::Portal portal = records::node_id(patient.node).portal;
    auto addresses = look_up(portal);
    if (!addresses) {
        return report.add(
            wrong_way("name", patient, base::printable(portal.address, 255), addresses.error()));
    }
    std::string list;
    for (const Address& address : *addresses) {
        list += (list.empty() ? "" : ", ") + address.text;
    }
    report.add(step_ok("name", list == portal.address
                                   ? list + " is an address"
                                   : base::printable(portal.address, 255) + " is " + list));
    auto binding = binding_of(patient.node);
    if (!binding) {
        return report.add(wrong_way("route", patient, {}, binding.error()));
    }
    std::string where;
    auto route = first_good(*addresses, where, [&](const Address& to) { return route_to(to, *binding); });
    if (!route) {
        return report.add(wrong_way("route", patient, "to " + where, route.error()));
    }
    report.add(step_ok("route", std::move(*route)));
    auto connected =
        first_good(*addresses, where, [&](const Address& to) { return connect_to(to, *binding); });
    if (!connected) {
        return report.add(
            wrong_way("connect", patient, fmt::format("{} port {}", where, portal.port), connected.error()));
    }
    return report.add(step_ok("connect", fmt::format("{} port {} takes connections", where, portal.port)));
}

} // namespace iscsi::adm
