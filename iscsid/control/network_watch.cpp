#include "control/network_watch.hpp"

#include "control/log.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace iscsi::control {
namespace {

/// The body of a message as what it is; false when it is too short for that.
template <class Body>
bool take(base::Bytes body, Body& value) {
    if (body.size() < sizeof value) {
        return false;
    }
    std::memcpy(&value, body.data(), sizeof value);
    return true;
}

bool opens_a_way(std::uint16_t type, base::Bytes body) {
    if (ifinfomsg link{}; type == RTM_NEWLINK && take(body, link)) {
        constexpr unsigned up = IFF_UP | IFF_RUNNING;
        return (link.ifi_flags & up) == up;
    }
    if (ifaddrmsg address{}; type == RTM_NEWADDR && take(body, address)) {
        return (address.ifa_flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) == 0;
    }
    if (rtmsg route{}; type == RTM_NEWROUTE && take(body, route)) {
        return route.rtm_type == RTN_UNICAST;
    }
    return false;
}

/// More messages than the socket holds are one large change.
constexpr std::size_t buffer_bytes = std::size_t{32} * 1024;

} // namespace

bool opens_a_way(base::Bytes messages) {
    nlmsghdr header{};
    while (take(messages, header)) {
        if (header.nlmsg_len < sizeof header || header.nlmsg_len > messages.size()) {
            return false;
        }
        if (opens_a_way(header.nlmsg_type, messages.first(header.nlmsg_len).subspan(sizeof header))) {
            return true;
        }
        messages = messages.subspan(std::min<std::size_t>(NLMSG_ALIGN(header.nlmsg_len), messages.size()));
    }
    return false;
}

NetworkWatch::~NetworkWatch() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

base::Result<void> NetworkWatch::open() {
    fd_ = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    address.nl_groups =
        RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
    if (fd_ < 0 || ::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return base::fail(base::Errc::internal, std::string("rtnetlink: ") + std::strerror(errno));
    }
    return {};
}

ring::Task<void> NetworkWatch::run() {
    std::vector<std::byte> buffer(buffer_bytes);
    while (!ended_) {
        ring::OpWait receiving(loop_);
        io_uring_prep_recv(receiving.sqe(), fd_, buffer.data(), buffer.size(), 0);
        receiving_ = &receiving;
        int bytes = co_await receiving;
        receiving_ = nullptr;
        if (ended_) {
            co_return;
        }
        if (bytes < 0 && bytes != -ENOBUFS && bytes != -EINTR) {
            log::warning("changes of the network are not noticed any more: {}", std::strerror(-bytes));
            co_return;
        }
        const std::size_t length = bytes > 0 ? static_cast<std::size_t>(bytes) : 0;
        if (bytes == -ENOBUFS || opens_a_way(base::Bytes(buffer).first(length))) {
            on_change_();
        }
    }
}

void NetworkWatch::end() {
    ended_ = true;
    if (receiving_ != nullptr) {
        receiving_->cancel();
    }
}

} // namespace iscsi::control
