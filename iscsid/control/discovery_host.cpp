// What discoveryd has the daemon do: as if somebody had asked for it, and with more care when it takes away.
#include "control/daemon.hpp"

#include <utility>
#include <variant>

namespace iscsi::control {
namespace {

base::Result<void> outcome_of(const ipc::Reply& reply) {
    if (const auto* failed = std::get_if<ipc::ErrorReply>(&reply)) {
        return base::fail(failed->error);
    }
    return {};
}

} // namespace

ring::Task<base::Result<base::DiscoveredTargets>>
Daemon::ask(const records::Record& discovery, const records::Record& iface, Interrupt& interrupt) {
    auto with_secrets = co_await read_secrets(discovery);
    if (!with_secrets) {
        co_return base::fail(std::move(with_secrets.error()));
    }
    co_return co_await find_targets(*with_secrets, iface, interrupt, told_of_discoveryd_);
}

std::vector<std::pair<std::uint32_t, records::NodeId>> Daemon::sessions() const {
    std::vector<std::pair<std::uint32_t, records::NodeId>> all;
    for (std::uint32_t sid : registry_.sids()) {
        all.emplace_back(sid, registry_.find(sid)->id);
    }
    return all;
}

std::size_t Daemon::count_sessions(const records::NodeId& id) const {
    return registry_.count(id);
}

ring::Task<base::Result<void>> Daemon::begin_session(records::Record node, bool multiple) {
    if (stopping_) {
        co_return base::fail(base::Errc::cancelled);
    }
    ipc::Login request{std::move(node), multiple};
    auto reply = co_await log_in(std::move(request));
    co_return outcome_of(reply);
}

ring::Task<base::Result<void>> Daemon::end_session_if_unused(std::uint32_t sid) {
    if (stopping_) {
        co_return base::fail(base::Errc::session_not_found);
    }
    const ipc::Logout request{sid, true};
    auto reply = co_await log_out(request);
    co_return outcome_of(reply);
}

} // namespace iscsi::control
