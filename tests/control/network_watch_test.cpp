// News of the network: which there are, and that they are heard.
#include "control/network_watch.hpp"

#include "support/in_child.hpp"

#include <catch2/catch.hpp>
#include <cerrno>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

using namespace iscsi;
using namespace std::chrono_literals;
using control::opens_a_way;

namespace {

template <class Body>
std::vector<std::byte> message(std::uint16_t type, const Body& body) {
    nlmsghdr header{};
    header.nlmsg_type = type;
    header.nlmsg_len = sizeof header + sizeof body;
    std::vector<std::byte> bytes(NLMSG_ALIGN(header.nlmsg_len));
    std::memcpy(bytes.data(), &header, sizeof header);
    std::memcpy(bytes.data() + sizeof header, &body, sizeof body);
    return bytes;
}

std::vector<std::byte> link(unsigned flags, std::uint16_t type = RTM_NEWLINK) {
    ifinfomsg body{};
    body.ifi_flags = flags;
    return message(type, body);
}

std::vector<std::byte> address(std::uint8_t flags, std::uint16_t type = RTM_NEWADDR) {
    ifaddrmsg body{};
    body.ifa_flags = flags;
    return message(type, body);
}

std::vector<std::byte> route(std::uint8_t kind, std::uint16_t type = RTM_NEWROUTE) {
    rtmsg body{};
    body.rtm_type = kind;
    return message(type, body);
}

std::vector<std::byte> operator+(std::vector<std::byte> one, const std::vector<std::byte>& other) {
    one.insert(one.end(), other.begin(), other.end());
    return one;
}

/// In a network of its own, whose loopback link is still down: 0 when its coming up is heard, 3 when there is
/// no such network to be had.
int hear_a_link_come_up() {
    if (::unshare(CLONE_NEWNET) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
        return 3;
    }
    auto loop = ring::Loop::create(8, ring::Ring::SqeSize::plain);
    if (!loop) {
        return 4;
    }
    int changes = 0;
    control::NetworkWatch watch(**loop, [&] { ++changes; });
    if (!watch.open()) {
        return 5;
    }
    ring::TaskGroup group;
    group.spawn(watch.run());
    ifreq request{};
    request.ifr_name[0] = 'l';
    request.ifr_name[1] = 'o';
    request.ifr_flags = IFF_UP;
    int any = ::socket(AF_INET, SOCK_DGRAM, 0);
    if (::ioctl(any, SIOCSIFFLAGS, &request) != 0) {
        return 6;
    }
    const base::TimePoint give_up_at = ring::monotonic_now() + 10s;
    while (changes == 0 && ring::monotonic_now() < give_up_at) {
        (*loop)->turn(ring::monotonic_now() + 20ms);
    }
    watch.end();
    while (!group.empty() && ring::monotonic_now() < give_up_at) {
        (*loop)->turn(ring::monotonic_now() + 20ms);
    }
    return changes > 0 && group.empty() ? 0 : 1;
}

} // namespace

TEST_CASE("news of a way are a link that runs, an address that is usable, a route to hosts") {
    CHECK(opens_a_way(link(IFF_UP | IFF_RUNNING)));
    CHECK_FALSE(opens_a_way(link(IFF_UP))); // no cable
    CHECK_FALSE(opens_a_way(link(IFF_RUNNING)));
    CHECK_FALSE(opens_a_way(link(IFF_UP | IFF_RUNNING, RTM_DELLINK)));
    CHECK(opens_a_way(address(IFA_F_PERMANENT)));
    CHECK_FALSE(opens_a_way(address(IFA_F_TENTATIVE)));
    CHECK_FALSE(opens_a_way(address(IFA_F_DADFAILED)));
    CHECK_FALSE(opens_a_way(address(0, RTM_DELADDR)));
    CHECK(opens_a_way(route(RTN_UNICAST)));
    CHECK_FALSE(opens_a_way(route(RTN_BLACKHOLE)));
    CHECK_FALSE(opens_a_way(route(RTN_UNICAST, RTM_DELROUTE)));
}

TEST_CASE("one message among others is found, and lengths are not believed") {
    const auto down = link(IFF_UP);
    const auto up = link(IFF_UP | IFF_RUNNING);
    CHECK(opens_a_way(down + down + up));
    CHECK_FALSE(opens_a_way(down + down));
    CHECK_FALSE(opens_a_way({}));
    for (std::size_t cut = 0; cut < sizeof(nlmsghdr) + sizeof(ifinfomsg); ++cut) {
        CHECK_FALSE(opens_a_way(base::Bytes(up).first(cut)));
    }
    for (std::uint32_t length : {0U, 1U, 15U, 16U, 17U, 0x7fffffffU, 0xffffffffU}) {
        auto lying = up;
        std::memcpy(lying.data(), &length, sizeof length);
        CHECK_FALSE(opens_a_way(lying));
    }
}

TEST_CASE("a link that comes up is heard") {
    const int heard = test::in_child(hear_a_link_come_up);
    if (heard == 3) {
        WARN("skipped: no network namespace");
        return;
    }
    CHECK(heard == 0);
}
