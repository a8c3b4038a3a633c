#include "control/resolve.hpp"

#include "base/limits.hpp"
#include "ring/aside.hpp"

#include <algorithm>
#include <cstring>
#include <netdb.h>
#include <netinet/in.h>
#include <utility>

namespace iscsi::control {
namespace {

using Endpoints = std::vector<shard::Endpoint>;

shard::Endpoint endpoint_of(const addrinfo& info, std::uint16_t port) {
    shard::Endpoint endpoint;
    std::memcpy(&endpoint.address, info.ai_addr, info.ai_addrlen);
    endpoint.address_bytes = info.ai_addrlen;
    endpoint.port = port;
    char text[NI_MAXHOST] = "";
    ::getnameinfo(info.ai_addr, info.ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST);
    endpoint.text = text;
    return endpoint;
}

Endpoints families_in_turn(Endpoints endpoints) {
    Endpoints ordered;
    while (!endpoints.empty() && ordered.size() < base::limits::host_addresses_max) {
        auto next = std::ranges::find_if(endpoints, [&](const shard::Endpoint& endpoint) {
            return ordered.empty() || endpoint.address.ss_family != ordered.back().address.ss_family;
        });
        if (next == endpoints.end()) {
            next = endpoints.begin();
        }
        if (std::ranges::count(ordered, *next) == 0) {
            ordered.push_back(*next);
        }
        endpoints.erase(next);
    }
    return ordered;
}

base::Result<Endpoints> look_up(const std::string& host, std::uint16_t port, int flags) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags | AI_NUMERICSERV;
    addrinfo* found = nullptr;
    int rc = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
    if (rc != 0) {
        const auto cause = rc == EAI_AGAIN ? base::Cause::name_service_silent : base::Cause::name_not_found;
        return base::fail(base::Error{base::Errc::transport, ::gai_strerror(rc), cause});
    }
    Endpoints endpoints;
    for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
        endpoints.push_back(endpoint_of(*info, port));
    }
    ::freeaddrinfo(found);
    return families_in_turn(std::move(endpoints));
}

} // namespace

ring::Task<base::Result<Endpoints>> resolve(ring::Loop& loop, std::string host, std::uint16_t port) {
    base::Result<Endpoints> numeric = look_up(host, port, AI_NUMERICHOST);
    if (numeric) {
        co_return numeric;
    }
    auto work = [&] { return look_up(host, port, 0); };
    ring::Aside looking(loop, work);
    auto found = co_await looking;
    co_return found;
}

ring::Task<base::Result<Endpoints>> resolve(ring::Loop& loop, std::string host, std::uint16_t port,
                                            Interrupt& interrupt) {
    base::Result<Endpoints> numeric = look_up(host, port, AI_NUMERICHOST);
    if (numeric) {
        co_return numeric;
    }
    auto work = [host, port] { return look_up(host, port, 0); };
    ring::AbandonableAside looking(loop, std::move(work));
    const Interrupt::Action giving_up(interrupt, [&] { looking.abandon(); });
    auto found = co_await looking;
    if (!found) {
        co_return base::fail(base::Errc::cancelled, "interrupted");
    }
    co_return std::move(*found);
}

} // namespace iscsi::control
