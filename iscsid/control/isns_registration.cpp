#include "control/isns_registration.hpp"

#include "base/endian.hpp"
#include "base/limits.hpp"
#include "control/log.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace iscsi::control {
namespace {

using base::Errc;
using std::chrono::seconds;

/// That often a server is asked to look whether we are there; by its silence we notice that it forgot us.
constexpr std::uint32_t inquiry_interval_s = 60;
/// Between two refreshes when the server sets no time.
constexpr base::Duration refresh_default = std::chrono::minutes(5);
constexpr base::Duration refresh_least = seconds(1);
constexpr IsnsTimes times_of_a_farewell{seconds(1), seconds(1)};

/// For IPv4 in its mapped form.
isns::Address address_of(const sockaddr_storage& from) {
    isns::Address address{};
    if (from.ss_family == AF_INET6) {
        std::memcpy(address.data(), &reinterpret_cast<const sockaddr_in6&>(from).sin6_addr, address.size());
    } else {
        address.at(10) = address.at(11) = std::byte{0xff};
        std::memcpy(&address.at(12), &reinterpret_cast<const sockaddr_in&>(from).sin_addr, 4);
    }
    return address;
}

bool is_ipv4(const isns::Address& address) {
    const bool zeros =
        std::all_of(address.begin(), address.begin() + 10, [](std::byte b) { return b == std::byte{0}; });
    return zeros && base::load<base::Be16>(address, 10).get() == 0xffff;
}

/// The reverse of address_of(), with any port.
socklen_t make_socket_address(const isns::Address& address, sockaddr_storage& out) {
    out = {};
    if (is_ipv4(address)) {
        auto& v4 = reinterpret_cast<sockaddr_in&>(out);
        v4.sin_family = AF_INET;
        std::memcpy(&v4.sin_addr, &address.at(12), 4);
        return sizeof v4;
    }
    auto& v6 = reinterpret_cast<sockaddr_in6&>(out);
    v6.sin6_family = AF_INET6;
    std::memcpy(&v6.sin6_addr, address.data(), address.size());
    return sizeof v6;
}

} // namespace

IsnsRegistration::IsnsRegistration(ring::Loop& loop, records::Portal server, std::function<void()> on_change)
    : loop_(loop), server_(std::move(server)), on_change_(std::move(on_change)) {}

IsnsRegistration::~IsnsRegistration() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

base::Deadline IsnsRegistration::due() const {
    if (!registered_) {
        return {};
    }
    base::Duration period = seconds(terms_.period_s) / 2;
    period = terms_.period_s == 0 ? refresh_default : std::max(period, refresh_least);
    base::Deadline due = refreshed_at_ + period;
    if (terms_.inquiry_interval_s != 0) {
        // It has two intervals for its inquiry (section 6.3.4).
        const base::TimePoint heard = std::max(inquired_at_, refreshed_at_);
        due = base::earliest(due, heard + 2 * seconds(terms_.inquiry_interval_s) + seconds(5));
    }
    return due;
}

ring::Task<base::Result<void>> IsnsRegistration::keep(std::vector<std::string> nodes, std::string alias) {
    registered_ = registered_ && nodes == nodes_;
    nodes_ = std::move(nodes);
    IsnsClient client(loop_, nodes_.front());
    const Interrupt::Action interrupting(interrupt_, [&] { client.interrupt(); });
    auto kept = co_await client.connect(server_);
    bool known = false;
    if (kept && registered_ && listening_) {
        auto answer = co_await client.ask(isns::query_entity(nodes_.front(), nodes_.front()));
        known = answer && isns::knows_entity(*answer).value_or(false);
        if (!known && answer) {
            log::warning("iSNS server {}: it does not know us any more", server_.address);
        }
        if (!answer) {
            kept = base::fail(std::move(answer.error()));
        }
    }
    if (kept && !known) {
        registered_ = false;
        kept = co_await enroll(client, std::move(alias));
    }
    if (kept) {
        refreshed_at_ = loop_.now();
    }
    co_await client.end();
    co_return kept;
}

ring::Task<base::Result<void>> IsnsRegistration::enroll(IsnsClient& client, std::string alias) {
    server_text_ = client.server_text();
    server_address_ = client.server_address();
    const isns::Address here = client.local_address();
    if (!listening_ || here != address_) {
        co_await stop_listening();
        if (auto listens = listen(here); !listens) {
            co_return listens;
        }
        hearing_.spawn(hear());
    }
    isns::Registration wanted;
    wanted.entity = nodes_.front();
    wanted.nodes = nodes_;
    wanted.alias = std::move(alias);
    wanted.address = address_;
    wanted.udp_port = udp_port_;
    wanted.inquiry_interval_s = inquiry_interval_s;
    auto answer = co_await client.ask(isns::register_initiator(wanted));
    if (answer && isns::status_of(*answer) == isns::Status::esi_not_available) {
        wanted.inquiry_interval_s = 0;
        answer = co_await client.ask(isns::register_initiator(wanted));
    }
    auto done = IsnsClient::done(answer, Errc::isns_registration);
    if (!done) {
        co_return done;
    }
    terms_ = isns::read_registered(*answer).value_or(isns::Registered());
    registered_ = true;
    inquired_at_ = loop_.now();
    log::info("iSNS server {}: registered as {} at port {}, for {} s", server_.address, nodes_.front(),
              udp_port_, terms_.period_s);
    co_await ask_for_changes(client);
    co_return base::Result<void>();
}

ring::Task<void> IsnsRegistration::ask_for_changes(IsnsClient& client) {
    told_of_changes_ = true;
    for (const std::string& node : nodes_) {
        auto told = co_await client.ask_for(isns::register_for_changes(node), Errc::isns_registration);
        if (interrupt_.is_set()) {
            co_return;
        }
        if (!told) {
            told_of_changes_ = false;
            log::warning("iSNS server {}: changes will not be told to {}: {}", server_.address, node,
                         told.error().message());
        }
    }
}

base::Result<void> IsnsRegistration::listen(const isns::Address& address) {
    sockaddr_storage at{};
    socklen_t bytes = make_socket_address(address, at);
    fd_ = ::socket(at.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd_ < 0 || ::bind(fd_, reinterpret_cast<const sockaddr*>(&at), bytes) != 0 ||
        ::getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &bytes) != 0) {
        return base::fail(Errc::internal,
                          fmt::format("no UDP port at {}: {}", isns::text_of(address), std::strerror(errno)));
    }
    udp_port_ = ntohs(at.ss_family == AF_INET ? reinterpret_cast<const sockaddr_in&>(at).sin_port
                                              : reinterpret_cast<const sockaddr_in6&>(at).sin6_port);
    address_ = address;
    listening_ = true;
    return {};
}

ring::Task<void> IsnsRegistration::stop_listening() {
    listening_ = false;
    if (receiving_ != nullptr) {
        receiving_->cancel();
    }
    co_await hearing_.join();
    if (fd_ >= 0) {
        ::close(std::exchange(fd_, -1));
    }
}

ring::Task<void> IsnsRegistration::hear() {
    std::vector<std::byte> buffer(base::limits::isns_datagram_bytes_max);
    while (listening_) {
        sockaddr_storage from{};
        iovec space{buffer.data(), buffer.size()};
        msghdr message{};
        message.msg_name = &from;
        message.msg_namelen = sizeof from;
        message.msg_iov = &space;
        message.msg_iovlen = 1;
        ring::OpWait receiving(loop_);
        io_uring_prep_recvmsg(receiving.sqe(), fd_, &message, 0);
        receiving_ = &receiving;
        const int bytes = co_await receiving;
        receiving_ = nullptr;
        if (bytes >= 0 && listening_ && (message.msg_flags & MSG_TRUNC) == 0) {
            on_datagram(base::Bytes(buffer).first(static_cast<std::size_t>(bytes)), from,
                        message.msg_namelen);
        } else if (bytes < 0 && listening_ && bytes != -EINTR && bytes != -ECONNREFUSED) {
            log::warning("iSNS server {}: not heard any more: {}", server_.address, std::strerror(-bytes));
            // The next keep() registers anew, with a port that is heard; until then the server has to be
            // asked.
            listening_ = false;
            told_of_changes_ = false;
            co_return;
        }
    }
}

void IsnsRegistration::on_datagram(base::Bytes datagram, const sockaddr_storage& from, socklen_t from_bytes) {
    if (address_of(from) != server_address_) {
        log::debug("iSNS server {}: {} has nothing to say here", server_.address,
                   isns::text_of(address_of(from)));
        return;
    }
    auto message = isns::decode_datagram(datagram);
    auto reaction = message ? isns::react(*message, nodes_.front()) : base::fail(message.error());
    if (!reaction) {
        log::debug("iSNS server {}: {}", server_.address, reaction.error().message());
        return;
    }
    const std::vector<std::byte> answer = isns::encode(reaction->answer);
    // One that is lost is asked for again.
    ::sendto(fd_, answer.data(), answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
             reinterpret_cast<const sockaddr*>(&from), from_bytes);
    if (reaction->unasked.inquired) {
        inquired_at_ = loop_.now();
    }
    if (reaction->unasked.changed) {
        log::debug("iSNS server {}: {}", server_.address, reaction->unasked.what);
        on_change_();
    }
}

void IsnsRegistration::interrupt() {
    interrupt_.set();
}

ring::Task<void> IsnsRegistration::end() {
    co_await stop_listening();
    if (!std::exchange(registered_, false)) {
        co_return;
    }
    IsnsClient client(loop_, nodes_.front(), times_of_a_farewell);
    const records::Portal server{server_text_, server_.port, records::tpgt_unknown};
    auto connected = co_await client.connect(server);
    if (connected) {
        const isns::Message farewell = isns::deregister_entity(nodes_.front(), nodes_.front());
        auto gone = co_await client.ask_for(farewell, Errc::isns_registration);
        if (gone) {
            log::info("iSNS server {}: deregistered", server_.address);
        } else {
            connected = base::fail(std::move(gone.error()));
        }
    }
    if (!connected) {
        log::warning("iSNS server {}: not deregistered: {}", server_.address, connected.error().message());
    }
    co_await client.end();
}

} // namespace iscsi::control
