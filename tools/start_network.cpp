#include "start_network.hpp"

#include "boot_firmware.hpp"
#include "boot_values.hpp"

#include "base/names.hpp"
#include "base/result.hpp"

#include <arpa/inet.h>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <memory>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <optional>
#include <string_view>

namespace iscsi::tools {
namespace {

using adm::BootNic;
using adm::BootTarget;
using base::Errc;
using base::fail;
using base::Result;

/// An address in the kernel's form.
struct Address {
    unsigned char family = AF_INET;
    std::array<unsigned char, 16> bytes{};

    int length() const { return family == AF_INET ? 4 : 16; }
    unsigned char bits() const { return static_cast<unsigned char>(length() * 8); }
};

/// Nothing for what is none, or is the address of nobody (0.0.0.0, ::).
std::optional<Address> parse_address(const std::string& text) {
    Address address;
    address.family = base::is_ipv4_address(text) ? AF_INET : AF_INET6;
    const bool is_address = ::inet_pton(address.family, text.c_str(), address.bytes.data()) == 1;
    return is_address && address.bytes != std::array<unsigned char, 16>{} ? std::optional(address)
                                                                          : std::nullopt;
}

/// Bits of a contiguous mask.
std::optional<unsigned char> bits_of_mask(const std::string& mask) {
    in_addr parsed{};
    if (::inet_pton(AF_INET, mask.c_str(), &parsed) != 1) {
        return std::nullopt;
    }
    const std::uint32_t bits = ntohl(parsed.s_addr);
    const int ones = std::countl_one(bits);
    return std::popcount(bits) == ones && ones > 0 ? std::optional(static_cast<unsigned char>(ones))
                                                   : std::nullopt;
}

std::optional<unsigned char> prefix_of(const BootNic& nic, const Address& address) {
    if (nic.prefix_len.value_or(0) != 0) {
        return *nic.prefix_len <= address.bits() ? nic.prefix_len : std::nullopt;
    }
    return address.family == AF_INET ? bits_of_mask(nic.subnet_mask) : std::nullopt;
}

bool same_net(const Address& a, const Address& b, unsigned char prefix) {
    for (unsigned bit = 0; bit < prefix; ++bit) {
        const unsigned mask = 0x80U >> (bit % 8);
        if (((a.bytes.at(bit / 8) ^ b.bytes.at(bit / 8)) & mask) != 0) {
            return false;
        }
    }
    return true;
}

std::string device_of(const BootNic& nic) {
    const bool is_there = !nic.net_device.empty() && ::if_nametoindex(nic.net_device.c_str()) != 0;
    return is_there ? nic.net_device : adm::device_with_mac(nic.mac);
}

/// A message that is being built.
class Message {
public:
    template <class Body>
    Message(int type, int flags, Body body) : message_(::nlmsg_alloc_simple(type, NLM_F_REQUEST | flags)) {
        whole_ =
            message_ != nullptr && ::nlmsg_append(message_.get(), &body, sizeof body, NLMSG_ALIGNTO) == 0;
    }

    void put(int attribute, const void* data, int bytes) {
        whole_ = whole_ && ::nla_put(message_.get(), attribute, bytes, data) == 0;
    }
    void put(int attribute, const Address& address) {
        put(attribute, address.bytes.data(), address.length());
    }
    template <class Number>
    void put_number(int attribute, Number number) {
        put(attribute, &number, sizeof number);
    }
    void put(int attribute, const std::string& text) {
        put(attribute, text.c_str(), static_cast<int>(text.size()) + 1);
    }
    nlattr* open(int attribute) { return whole_ ? ::nla_nest_start(message_.get(), attribute) : nullptr; }
    void close(nlattr* nest) {
        whole_ = whole_ && nest != nullptr && ::nla_nest_end(message_.get(), nest) == 0;
    }
    /// Nothing when it did not fit.
    nl_msg* release() { return whole_ ? message_.release() : nullptr; }

private:
    struct Free {
        void operator()(nl_msg* message) const { ::nlmsg_free(message); }
    };
    std::unique_ptr<nl_msg, Free> message_;
    bool whole_ = false;
};

class RouteSocket {
public:
    RouteSocket() : socket_(::nl_socket_alloc()) {
        connected_ = socket_ != nullptr && ::nl_connect(socket_, NETLINK_ROUTE) == 0;
    }
    RouteSocket(const RouteSocket&) = delete;
    RouteSocket& operator=(const RouteSocket&) = delete;
    ~RouteSocket() { ::nl_socket_free(socket_); }

    /// Waits for the kernel's answer. What is there already is as good.
    Result<void> send(std::string_view what, Message message) {
        nl_msg* whole = connected_ ? message.release() : nullptr;
        const int sent = whole == nullptr ? -NLE_NOMEM : ::nl_send_sync(socket_, whole); // frees it
        return sent >= 0 || sent == -NLE_EXIST
                   ? Result<void>()
                   : fail(Errc::transport, fmt::format("{}: {}", what, ::nl_geterror(sent)));
    }

private:
    nl_sock* socket_;
    bool connected_ = false;
};

Result<void> bring_up(RouteSocket& socket, const std::string& device) {
    ifinfomsg link{};
    link.ifi_index = static_cast<int>(::if_nametoindex(device.c_str()));
    link.ifi_flags = IFF_UP;
    link.ifi_change = IFF_UP;
    return socket.send(device + " cannot be brought up", Message(RTM_NEWLINK, 0, link));
}

/// The interface of a VLAN above a device: its name.
Result<std::string> make_vlan(RouteSocket& socket, const std::string& device, std::uint16_t vlan) {
    const std::string name = fmt::format("{}.{}", device, vlan);
    if (name.size() >= IFNAMSIZ) {
        return fail(Errc::invalid, fmt::format("{} is too long for an interface's name", name));
    }
    Message message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, ifinfomsg{});
    message.put(IFLA_IFNAME, name);
    message.put_number(IFLA_LINK, static_cast<std::uint32_t>(::if_nametoindex(device.c_str())));
    nlattr* info = message.open(IFLA_LINKINFO);
    message.put(IFLA_INFO_KIND, std::string("vlan"));
    nlattr* data = message.open(IFLA_INFO_DATA);
    message.put_number(IFLA_VLAN_ID, vlan);
    message.close(data);
    message.close(info);
    auto made = socket.send(name + " cannot be made", std::move(message));
    return made ? Result<std::string>(name) : fail(std::move(made.error()));
}

Result<void> give_address(RouteSocket& socket, const std::string& device, const Address& address,
                          unsigned char prefix) {
    ifaddrmsg body{};
    body.ifa_family = address.family;
    body.ifa_prefixlen = prefix;
    body.ifa_index = ::if_nametoindex(device.c_str());
    // The firmware has used it already: nobody is asked whether it is free, and it can be used at once.
    body.ifa_flags = address.family == AF_INET6 ? IFA_F_NODAD : 0;
    Message message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body);
    message.put(IFA_LOCAL, address);
    message.put(IFA_ADDRESS, address);
    return socket.send(device + " cannot have its address", std::move(message));
}

/// To one host, or without one to everybody.
Result<void> add_route(RouteSocket& socket, const std::string& device, const std::optional<Address>& host,
                       const Address& gateway) {
    rtmsg body{};
    body.rtm_family = gateway.family;
    body.rtm_dst_len = host ? host->bits() : 0;
    body.rtm_table = RT_TABLE_MAIN;
    body.rtm_protocol = RTPROT_BOOT;
    body.rtm_scope = RT_SCOPE_UNIVERSE;
    body.rtm_type = RTN_UNICAST;
    Message message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body);
    if (host) {
        message.put(RTA_DST, *host);
    }
    message.put(RTA_GATEWAY, gateway);
    message.put_number(RTA_OIF, static_cast<std::uint32_t>(::if_nametoindex(device.c_str())));
    return socket.send(device + " cannot have its route", std::move(message));
}

Result<void> add_routes(RouteSocket& socket, const std::string& device, const BootTarget& target,
                        const Address& own, unsigned char prefix) {
    auto gateway = parse_address(target.nic.gateway);
    auto host = parse_address(target.address);
    if (!gateway || gateway->family != own.family) {
        return {};
    }
    if (host && host->family == own.family && !same_net(*host, own, prefix)) {
        if (auto added = add_route(socket, device, host, *gateway); !added) {
            return added;
        }
    }
    return add_route(socket, device, std::nullopt, *gateway);
}

/// As klibc's ipconfig leaves it.
Result<void> write_state(const std::string& root, const std::string& device, const BootNic& nic) {
    const bool v4 = base::is_ipv4_address(nic.address);
    const std::string path = fmt::format("{}/run/net-{}.conf", root, device);
    const std::string text =
        fmt::format("DEVICE='{}'\nPROTO='none'\nIPV4ADDR='{}'\nIPV4BROADCAST=''\nIPV4NETMASK='{}'\n"
                    "IPV4GATEWAY='{}'\nIPV4DNS0='{}'\nIPV4DNS1='{}'\nHOSTNAME=''\nDNSDOMAIN=''\n"
                    "NISDOMAIN=''\nROOTSERVER=''\nROOTPATH=''\nfilename=''\nUPTIME='0'\n"
                    "DHCPLEASETIME='0'\nDOMAINSEARCH=''\n",
                    device, v4 ? nic.address : "", nic.subnet_mask, v4 ? nic.gateway : "", nic.primary_dns,
                    nic.secondary_dns);
    constexpr mode_t for_all_to_read = 0644;
    const int fd =
        ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, for_all_to_read);
    std::FILE* file = fd < 0 ? nullptr : ::fdopen(fd, "w");
    const bool written = file != nullptr && std::fputs(text.c_str(), file) >= 0;
    const bool closed = file != nullptr && std::fclose(file) == 0;
    return written && closed ? Result<void>()
                             : fail(Errc::database, fmt::format("{}: {}", path, std::strerror(errno)));
}

Result<void> set_up(RouteSocket& socket, const std::string& root, std::string device,
                    const BootTarget& target) {
    const BootNic& nic = target.nic;
    // That of the table has been checked; this one may have been found by its address.
    if (auto named = adm::check_device_name(device); !named) {
        return named;
    }
    auto own = parse_address(nic.address);
    if (!own) {
        return fail(Errc::invalid, fmt::format("the firmware has no address for {}", device));
    }
    auto prefix = prefix_of(nic, *own);
    if (!prefix) {
        return fail(Errc::invalid, fmt::format("the firmware has no network mask for {}", device));
    }
    auto done = bring_up(socket, device);
    if (done && nic.vlan.value_or(0) != 0) {
        auto made = make_vlan(socket, device, *nic.vlan);
        device = made.value_or(device);
        done = made ? bring_up(socket, device) : fail(std::move(made.error()));
    }
    if (done) {
        done = give_address(socket, device, *own, *prefix);
    }
    if (done) {
        done = add_routes(socket, device, target, *own, *prefix);
    }
    return done ? write_state(root, device, nic) : done;
}

} // namespace

bool set_up_network(const std::string& root, const std::vector<adm::BootTarget>& targets) {
    RouteSocket socket;
    bool all = true;
    for (const BootTarget& target : targets) {
        const std::string device = device_of(target.nic);
        std::printf("Setting up software interface %s\n", device.c_str());
        auto done = device.empty() ? fail(Errc::transport_not_found,
                                          fmt::format("no interface has the address {}", target.nic.mac))
                                   : set_up(socket, root, device, target);
        if (!done) {
            std::printf("Setting up software interface %s failed\n", device.c_str());
            std::fflush(stdout);
            std::fprintf(stderr, "iscsistart: %s\n", done.error().detail.c_str());
            all = false;
        }
    }
    return all;
}

} // namespace iscsi::tools
