// Logging in with a record: the connection, the login and the retries it deserves, the units, the reply.
#include "base/limits.hpp"
#include "base/names.hpp"
#include "control/daemon.hpp"
#include "control/log.hpp"
#include "control/resolve.hpp"
#include "control/settings.hpp"
#include "records/fields.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <utility>

namespace iscsi::control {
namespace {

using records::Key;

/// Between two tries of a first login (open-iscsi waits as long).
constexpr base::Duration retry_pause = std::chrono::seconds(3);

/// Trying again can help: the portal does not answer (yet), or the target says "later".
bool worth_a_retry(const base::Error& error) {
    using base::Errc;
    return error.code == Errc::transport || error.code == Errc::transport_timeout ||
           error.code == Errc::disconnected || error.code == Errc::pdu_timeout || error.code == Errc::login;
}

/// What iscsiadm is told when the tries have run out: 8 for the connection, 11 for a login without an answer.
base::Error given_up(base::Error error) {
    if (error.code == base::Errc::transport || error.code == base::Errc::disconnected) {
        error.code = base::Errc::transport_timeout;
    }
    return error;
}

ipc::Reply refused(base::Error error) {
    return ipc::ErrorReply{std::move(error)};
}

} // namespace

ring::Task<ipc::Reply> Daemon::log_in(ipc::Login request) {
    if (auto checked = check_login(request); !checked) {
        co_return refused(std::move(checked.error()));
    }
    ManagedSession& session = make_session(request);
    log::info("session {}: logging in to {}", session.sid, session.title());
    save(session);
    co_await make_nexus(session);
    auto opened = co_await first_login(session);
    ipc::LoginReply reply;
    if (opened) {
        // Before the units: showing a block device makes the kernel read from it.
        co_await resume(session);
        opened = co_await scan_and_attach(session, reply.note);
    }
    if (!opened || session.state == ManagedSession::State::ending) {
        base::Error error{base::Errc::cancelled, "the session was ended while it logged in"};
        if (!opened) {
            error = std::move(opened.error());
        }
        log::error("session {}: login to {} failed: {}", session.sid, session.title(), error.message());
        co_await destroy_session(session);
        co_return refused(std::move(error));
    }
    session.state = ManagedSession::State::running;
    session.established = true;
    save(session);
    if (session.dropped) {
        start_recovery(session);
    }
    log::info("session {}: logged in to {}, {} unit(s)", session.sid, session.title(), session.luns.size());
    reply.sid = session.sid;
    for (const auto& served : session.luns) {
        reply.luns.push_back(attached_lun(*served));
    }
    co_return ipc::Reply(std::move(reply));
}

base::Result<void> Daemon::check_login(const ipc::Login& request) {
    if (request.node.kind() != records::RecordKind::node) {
        return base::fail(base::Errc::invalid, "the record is not a node record");
    }
    records::NodeId id = records::node_id(request.node);
    if (auto name = base::check_iscsi_name(id.target); !name) {
        return name;
    }
    if (auto host = base::check_host(id.portal.address); !host) {
        return host;
    }
    if (auto usable = open_request(request.node, config_.initiator, base::Isid()); !usable) {
        return base::fail(std::move(usable.error()));
    }
    if (!backends_->chosen()) {
        return base::fail(base::Errc::not_supported, backends_->why_none());
    }
    auto allowed =
        static_cast<std::size_t>(std::max<std::int64_t>(1, request.node.number(Key::session_nr_sessions)));
    if (!request.multiple && registry_.count(id) >= allowed) {
        return base::fail(base::Errc::session_exists);
    }
    return {};
}

ManagedSession& Daemon::make_session(const ipc::Login& request) {
    auto session =
        std::make_unique<ManagedSession>(*this, registry_.next_sid(), request.node, least_loaded_shard());
    session->isid = choose_isid(session->id);
    return registry_.add(std::move(session));
}

base::Isid Daemon::choose_isid(const records::NodeId& id) const {
    constexpr std::uint32_t qualifiers = 0x10000;
    base::Isid isid;
    for (std::uint32_t index = 0; index < qualifiers; ++index) {
        isid = make_isid(config_.initiator, id, index);
        if (!registry_.uses(id.target, isid)) {
            break;
        }
    }
    return isid;
}

shard::Shard& Daemon::least_loaded_shard() {
    auto least = std::ranges::min_element(
        shards_, {}, [this](const auto& candidate) { return registry_.count(*candidate); });
    return **least;
}

ring::Task<void> Daemon::make_nexus(ManagedSession& session) {
    auto work = [&] { return std::make_unique<shard::Nexus>(session.shard.loop(), *loop_, session); };
    ring::Call call(*loop_, session.shard.loop(), work);
    session.nexus = co_await call;
}

ring::Task<base::Result<void>> Daemon::first_login(ManagedSession& session) {
    auto tries = std::max<std::int64_t>(1, session.node.number(Key::session_initial_login_retry_max));
    auto each = std::chrono::seconds(std::max<std::int64_t>(1, session.node.number(Key::conn_login_timeout)));
    base::TimePoint give_up_at = loop_->now() + tries * each;
    for (;;) {
        auto opened = co_await open_session(session);
        if (opened || !worth_a_retry(opened.error())) {
            co_return opened;
        }
        log::warning("session {}: {}: {}", session.sid, session.title(), opened.error().message());
        if (session.state == ManagedSession::State::ending || loop_->now() + retry_pause >= give_up_at) {
            co_return base::fail(given_up(std::move(opened.error())));
        }
        ring::EventOrDeadline pause(*loop_, session.interrupted, loop_->now() + retry_pause);
        co_await pause;
    }
}

ring::Task<base::Result<void>> Daemon::open_session(ManagedSession& session) {
    std::string host = session.id.portal.address;
    std::uint16_t port = session.id.portal.port;
    base::Error last;
    for (std::size_t hop = 0; hop <= base::limits::redirects_max; ++hop) {
        auto endpoints = co_await resolve(*loop_, host, port);
        if (!endpoints) {
            base::Error error{base::Errc::transport,
                              fmt::format("cannot resolve {}: {}", host, endpoints.error().detail)};
            co_return base::fail(std::move(error));
        }
        bool moved = false;
        for (const shard::Endpoint& endpoint : *endpoints) {
            if (session.state == ManagedSession::State::ending) {
                co_return base::fail(base::Errc::cancelled, "the session is being ended");
            }
            auto request = open_request(session.node, config_.initiator, session.isid);
            if (!request) {
                co_return base::fail(std::move(request.error()));
            }
            request->endpoint = endpoint;
            // The nexus keeps its name for life: another one would be another nexus, and the target would not
            // end the tasks of the old one before they are sent again.
            if (session.initiator_name.empty()) {
                session.initiator_name = request->login.initiator_name;
            }
            request->login.initiator_name = session.initiator_name;
            auto opened = co_await open_at(session, std::move(*request));
            if (opened) {
                session.endpoint = endpoint;
                session.opened = std::move(*opened);
                ++session.openings;
                co_return base::Result<void>();
            }
            last = std::move(opened.error().error);
            const auto& redirect = opened.error().redirect;
            if (last.code == base::Errc::redirected && redirect) {
                log::info("session {}: redirected to {} port {}", session.sid, redirect->host,
                          redirect->port);
                host = redirect->host;
                port = redirect->port;
                moved = true;
                break;
            }
            if (last.code != base::Errc::transport && last.code != base::Errc::transport_timeout) {
                co_return base::fail(std::move(last));
            }
        }
        if (!moved) {
            co_return base::fail(std::move(last));
        }
    }
    co_return base::fail(base::Errc::login,
                         fmt::format("redirected more than {} times", base::limits::redirects_max));
}

ring::Task<tl::expected<shard::OpenReply, shard::OpenFailure>> Daemon::open_at(ManagedSession& session,
                                                                               shard::OpenRequest request) {
    session.dropped = false;
    auto work = [&session, &request] { return session.nexus->open(request); };
    ring::Call call(*loop_, session.shard.loop(), work);
    auto opened = co_await call;
    co_return opened;
}

} // namespace iscsi::control
