#include "control/isns_client.hpp"

#include "control/resolve.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <chrono>
#include <fmt/format.h>
#include <utility>

namespace iscsi::control {
namespace {

using base::Errc;

constexpr base::Duration connect_time = std::chrono::seconds(10);
constexpr base::Duration answer_time = std::chrono::seconds(15);

/// Whatever keeps a server from answering is one kind of failure to whoever asked it.
tl::unexpected<base::Error> no_answer(const base::Error& error) {
    return base::fail(Errc::isns_query, error.message());
}

} // namespace

IsnsClient::IsnsClient(ring::Loop& loop, std::string node)
    : loop_(loop), node_(std::move(node)), link_(loop), exchange_(node_, answer_time) {}

ring::Task<base::Result<void>> IsnsClient::connect(const records::Portal& server) {
    auto endpoints = co_await resolve(loop_, server.address, server.port);
    if (!endpoints) {
        co_return no_answer(endpoints.error());
    }
    base::Error last;
    for (const shard::Endpoint& endpoint : *endpoints) {
        const shard::TcpOptions unbound;
        const shard::ConnectTimes times{loop_.now() + connect_time, {}};
        auto connected = co_await link_.connect(endpoint, unbound, times);
        if (connected) {
            co_return connected;
        }
        last.detail =
            fmt::format("cannot make connection to {}: {}", endpoint.text, connected.error().detail);
    }
    co_return no_answer(last);
}

isns::Address IsnsClient::local_address() const {
    const std::string text = link_.local_address();
    isns::Address address{};
    if (::inet_pton(AF_INET6, text.c_str(), address.data()) != 1) {
        address.at(10) = address.at(11) = std::byte{0xff};
        ::inet_pton(AF_INET, text.c_str(), &address.at(12));
    }
    return address;
}

ring::Task<base::Result<isns::Message>> IsnsClient::ask(isns::Message request) {
    exchange_.ask(std::move(request), ring::monotonic_now());
    auto exchanged = co_await link_.drive(exchange_);
    if (!exchanged) {
        co_return no_answer(exchanged.error());
    }
    isns::Message answer = exchange_.answer();
    co_return base::Result<isns::Message>(std::move(answer));
}

ring::Task<base::Result<isns::Message>> IsnsClient::ask_for(isns::Message request, base::Errc code) {
    auto answer = co_await ask(std::move(request));
    if (!answer) {
        co_return answer;
    }
    auto status = isns::status_of(*answer);
    if (!status) {
        co_return no_answer(status.error());
    }
    if (*status != isns::Status::successful) {
        const bool is_stranger =
            *status == isns::Status::source_unknown || *status == isns::Status::source_absent;
        base::Error refused;
        refused.code = is_stranger ? Errc::isns_registration : code;
        refused.detail = fmt::format("the iSNS server refused: {}", isns::text(*status));
        co_return base::fail(std::move(refused));
    }
    co_return answer;
}

ring::Task<base::Result<base::DiscoveredTargets>> IsnsClient::query() {
    auto answer = co_await ask_for(isns::query_targets(node_), Errc::isns_query);
    if (!answer) {
        co_return base::fail(std::move(answer.error()));
    }
    auto targets = isns::read_targets(*answer);
    if (!targets) {
        co_return no_answer(targets.error());
    }
    co_return targets;
}

ring::Task<base::Result<base::DiscoveredTargets>> IsnsClient::query_as_guest() {
    auto targets = co_await query();
    if (targets || targets.error().code != Errc::isns_registration) {
        co_return targets;
    }
    auto registered = co_await ask_for(isns::register_node(node_), Errc::isns_registration);
    if (!registered) {
        co_return base::fail(std::move(registered.error()));
    }
    targets = co_await query();
    if (targets) {
        // What it says to that changes nothing.
        co_await ask(isns::deregister_node(node_));
    }
    co_return targets;
}

ring::Task<void> IsnsClient::end() {
    co_await link_.end(ring::Stream::Ending::orderly);
}

} // namespace iscsi::control
