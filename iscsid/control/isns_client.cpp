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

/// Whatever keeps a server from answering is one kind of failure to whoever asked it.
tl::unexpected<base::Error> no_answer(const base::Error& error) {
    return base::fail(Errc::isns_query, error.message());
}

tl::unexpected<base::Error> interrupted() {
    return base::fail(Errc::isns_query, "interrupted");
}

isns::Address address_from(const std::string& text) {
    isns::Address address{};
    const std::string unscoped = text.substr(0, text.find('%'));
    if (::inet_pton(AF_INET6, unscoped.c_str(), address.data()) != 1) {
        address.at(10) = address.at(11) = std::byte{0xff};
        ::inet_pton(AF_INET, unscoped.c_str(), &address.at(12));
    }
    return address;
}

} // namespace

IsnsClient::IsnsClient(ring::Loop& loop, std::string node, IsnsTimes times)
    : loop_(loop), node_(std::move(node)), times_(times), link_(loop), exchange_(node_, times.answer) {}

ring::Task<base::Result<void>> IsnsClient::connect(const records::Portal& server) {
    auto endpoints = co_await resolve(loop_, server.address, server.port, interrupt_);
    if (interrupt_.is_set()) {
        co_return interrupted();
    }
    if (!endpoints) {
        co_return no_answer(endpoints.error());
    }
    const shard::TcpOptions unbound;
    const shard::ConnectTimes times{loop_.now() + times_.connect, {}};
    auto connected = co_await link_.connect(std::move(*endpoints), unbound, times);
    if (!connected) {
        base::Error error = std::move(connected.error());
        error.detail = fmt::format("cannot make connection to {}: {}", server.address, error.detail);
        co_return no_answer(error);
    }
    server_text_ = connected->text;
    co_return base::Result<void>();
}

isns::Address IsnsClient::local_address() const {
    return address_from(link_.local_address());
}

isns::Address IsnsClient::server_address() const {
    return address_from(server_text_);
}

ring::Task<base::Result<isns::Message>> IsnsClient::ask(isns::Message request) {
    if (interrupt_.is_set()) {
        co_return interrupted();
    }
    exchange_.ask(std::move(request), ring::monotonic_now());
    auto exchanged = co_await link_.drive(exchange_);
    if (!exchanged) {
        co_return no_answer(exchanged.error());
    }
    isns::Message answer = exchange_.answer();
    co_return base::Result<isns::Message>(std::move(answer));
}

base::Result<void> IsnsClient::done(const base::Result<isns::Message>& answer, base::Errc code) {
    if (!answer) {
        return base::fail(answer.error());
    }
    auto status = isns::status_of(*answer);
    if (!status) {
        return no_answer(status.error());
    }
    if (*status == isns::Status::successful) {
        return {};
    }
    const bool is_stranger =
        *status == isns::Status::source_unknown || *status == isns::Status::source_absent;
    return base::fail(is_stranger ? Errc::isns_registration : code,
                      fmt::format("the iSNS server refused: {}", isns::text(*status)));
}

ring::Task<base::Result<isns::Message>> IsnsClient::ask_for(isns::Message request, base::Errc code) {
    auto answer = co_await ask(std::move(request));
    if (auto refused = done(answer, code); !refused) {
        co_return base::fail(std::move(refused.error()));
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
