// Logging in with a record: the connection, the login and the retries it deserves, the units, the reply.
#include "control/log_in.hpp"

#include "base/limits.hpp"
#include "control/about.hpp"
#include "control/daemon.hpp"
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

ipc::Reply refused(base::Error error) {
    return ipc::ErrorReply{std::move(error)};
}

/// At the other addresses of a portal there may never have been anybody. What one session of a family has
/// seen the others that are down may have missed.
void note_away(ManagedSession& session, const std::vector<shard::Endpoint>& away) {
    const shard::Endpoint& last = session.endpoint;
    session.target_was_away |= last.text.empty() ? !away.empty() : std::ranges::count(away, last) != 0;
    for (ManagedSession* other : family(session)) {
        other->target_was_away |=
            session.target_was_away && other->state == ManagedSession::State::recovering;
    }
}

/// The next try begins at another address, if there is one.
void note_unanswered(ManagedSession& session, const shard::OpenFailure& failure, bool is_one_of_several) {
    const bool is_news =
        failure.at && is_unanswered(failure.error.code) && session.addresses.put_last(*failure.at);
    if (is_news && is_one_of_several) {
        log::warning(about(session),
                     "{} port {} took the connection and did not answer the login: {}; its other "
                     "addresses go before it from now on",
                     failure.at->text, failure.at->port, failure.error.message());
    }
}

/// The nexus keeps its name for life: another one would be another nexus, and the target would not end the
/// tasks of the old one before they are sent again.
void prepare(ManagedSession& session, shard::OpenRequest& request, std::vector<shard::Endpoint> endpoints,
             base::Duration reconnect_pause) {
    base::Duration last_begun = (static_cast<int>(endpoints.size()) - 1) * base::limits::connect_stagger;
    if (request.preferred < endpoints.size()) {
        last_begun += base::limits::connect_head_start;
    }
    request.endpoints = std::move(endpoints);
    request.login.transcript = wants_transcripts();
    if (session.initiator_name.empty()) {
        session.initiator_name = request.login.initiator_name;
    }
    request.login.initiator_name = session.initiator_name;
    if (session.md5_alone) {
        offer_md5_alone(request.login);
    }
    if (session.state == ManagedSession::State::recovering) {
        // The name may lead elsewhere by then.
        request.connect_timeout =
            std::min<base::Duration>(request.connect_timeout, base::limits::reconnect_timeout + last_begun);
        request.connect_again_every = reconnect_pause;
    }
}

/// The addresses, in their order, that are tried side by side, group by group. Each is alone when the target
/// may still execute what was lost: whether it does is found out at one place at a time, and another one is
/// asked only when that does not answer.
std::vector<std::vector<shard::Endpoint>> groups_of(const ManagedSession& session,
                                                    std::vector<shard::Endpoint> endpoints) {
    std::vector<std::vector<shard::Endpoint>> groups;
    for (shard::Endpoint& endpoint : endpoints) {
        if (groups.empty() || session.stranded) {
            groups.emplace_back();
        }
        groups.back().push_back(std::move(endpoint));
    }
    return groups;
}

} // namespace

ring::Task<ipc::Reply> Daemon::log_in(ipc::Login request) {
    auto node = co_await read_secrets(request.node);
    if (!node) {
        co_return refused(std::move(node.error()));
    }
    if (stopping_) { // and has listed the sessions that end
        co_return refused({base::Errc::cancelled, "iscsid is stopping"});
    }
    if (auto checked = check_login(request, *node); !checked) {
        co_return refused(std::move(checked.error()));
    }
    ManagedSession& session = make_session(request);
    log::event(about(session, ipc::Event::logging_in), "logging in to {}", session.title());
    use_secrets(session, std::move(*node));
    // Not saved before it has a device that outlives this daemon (attach_all), or is logged in: the next
    // daemon could do no more than forget it.
    co_await make_nexus(session);
    auto opened = co_await first_login(session);
    if (opened) {
        opened = co_await fence(session); // of a session before it with the same name
    }
    ipc::LoginReply reply;
    if (opened) {
        // Before the units: showing a block device makes the kernel read from it.
        co_await resume(session);
        co_await open_companions(session);
        co_await outlast_left_behind(session);
        opened = co_await scan_and_attach(session, reply.note);
    }
    if (!opened || session.state == ManagedSession::State::ending) {
        base::Error error{base::Errc::cancelled, "the session was ended while it logged in"};
        if (!opened) {
            error = std::move(opened.error());
        }
        log::event(about(session, ipc::Event::login_failed), "login to {} failed: {}", session.title(),
                   error.message());
        co_await destroy_session(session);
        co_return refused(std::move(error));
    }
    session.state = ManagedSession::State::running;
    session.established = true;
    session.logged_in_at = ring::boot_time_now();
    save(session);
    if (session.dropped) {
        start_recovery(session);
    }
    log::event(about(session, ipc::Event::login), "logged in to {}, {} unit(s)", session.title(),
               session.luns.size());
    reply.sid = session.sid;
    for (const auto& served : session.luns) {
        reply.luns.push_back(attached_lun(session, *served));
    }
    co_return ipc::Reply(std::move(reply));
}

ManagedSession& Daemon::make_session(const ipc::Login& request) {
    auto session =
        std::make_unique<ManagedSession>(*this, registry_.next_sid(), request.node, least_loaded_shard());
    session->isid = choose_isid(session->id);
    session->stranded = take_left_behind(*session);
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
        ++session.tries;
        auto opened = co_await open_session(session);
        if (opened || !worth_a_retry(opened.error())) {
            co_return opened;
        }
        if (session.state == ManagedSession::State::ending) {
            co_return base::fail(as_told(std::move(opened.error())));
        }
        log::event(about(session, ipc::Event::login_tried), "{}: {}", session.title(),
                   opened.error().message());
        if (loop_->now() + retry_pause >= give_up_at) {
            co_return base::fail(as_told(std::move(opened.error())));
        }
        ring::EventOrDeadline pause(*loop_, session.interrupted, loop_->now() + retry_pause);
        co_await pause;
    }
}

ring::Task<base::Result<void>> Daemon::open_session(ManagedSession& session) {
    if (!session.node_with_secrets || session.secrets_refused) {
        auto node = co_await read_secrets(session.node);
        if (!node && !session.node_with_secrets) {
            co_return base::fail(std::move(node.error()));
        }
        if (node) {
            use_secrets(session, std::move(*node));
        } else {
            log::warning(about(session), "{}; what was read before is used", node.error().message());
        }
    }
    auto opened = co_await open_portal(session);
    session.secrets_refused = !opened && opened.error().code == base::Errc::authentication;
    if (session.secrets_refused) {
        session.moved_to.reset(); // the next try begins where the record says
        session.md5_alone = false;
    }
    co_return opened;
}

ring::Task<base::Result<void>> Daemon::open_portal(ManagedSession& session) {
    if (session.moved_to) {
        LoginRoute known(*session.moved_to);
        auto opened = co_await open_along(session, known);
        bool over = opened || session.state == ManagedSession::State::ending;
        // Asking the next portal would be a second wrong answer for the same account.
        if (over || opened.error().code == base::Errc::authentication) {
            co_return opened;
        }
        log::event(about(session, ipc::Event::moved), "{} port {}, where the target had moved to: {}",
                   session.moved_to->host, session.moved_to->port, opened.error().message());
    }
    LoginRoute route(Place{session.id.portal.address, session.id.portal.port});
    auto opened = co_await open_along(session, route);
    if (opened && !route.moved_to()) {
        session.moved_to.reset();
    }
    co_return opened;
}

ring::Task<base::Result<void>> Daemon::open_along(ManagedSession& session, LoginRoute& route) {
    for (;;) {
        auto opened = co_await open_place(session, route);
        if (opened) {
            // Not before the login there succeeded: anybody could have written the redirection.
            if (auto moved_to = route.moved_to()) {
                session.moved_to = std::move(moved_to);
            }
            co_return base::Result<void>();
        }
        const auto& redirect = opened.error().redirect;
        if (opened.error().error.code != base::Errc::redirected || !redirect) {
            co_return base::fail(std::move(opened.error().error));
        }
        log::event(about(session, ipc::Event::redirected), "redirected {} to {} port {}",
                   redirect->permanent ? "for good" : "for now", redirect->host, redirect->port);
        if (auto followed = route.follow(*redirect); !followed) {
            co_return followed;
        }
    }
}

ring::Task<tl::expected<void, shard::OpenFailure>> Daemon::open_place(ManagedSession& session,
                                                                      const LoginRoute& route) {
    shard::OpenFailure last;
    auto endpoints = co_await resolve(*loop_, route.place().host, route.place().port);
    if (!endpoints) {
        last.error.code = base::Errc::transport;
        last.error.detail =
            fmt::format("cannot resolve {}: {}", route.place().host, endpoints.error().detail);
        last.error.cause = endpoints.error().cause;
        co_return tl::unexpected(std::move(last));
    }
    const bool is_one_of_several = endpoints->size() > 1;
    const std::size_t preferred = session.addresses.sort(*endpoints, session.endpoint);
    for (std::vector<shard::Endpoint>& group : groups_of(session, std::move(*endpoints))) {
        auto request = open_request(*session.node_with_secrets, config_.initiator, session.isid);
        if (session.state == ManagedSession::State::ending || !request) {
            last.error = request ? base::Error{base::Errc::cancelled, "the session is being ended"}
                                 : std::move(request.error());
            break;
        }
        request->preferred = preferred;
        prepare(session, *request, std::move(group), reconnect_pause_of(session));
        if (route.place() != Place{session.id.portal.address, session.id.portal.port}) {
            // The record's portal group is that of its own portal, and a redirection names none.
            request->login.expected_tpgt = -1;
        }
        auto opened = co_await open_offering(session, *request);
        note_away(session, opened ? opened->away : opened.error().away);
        if (opened) {
            session.endpoint = opened->endpoint;
            session.addresses.forget();
            session.opened = std::move(*opened);
            ++session.openings;
            co_return tl::expected<void, shard::OpenFailure>();
        }
        last = std::move(opened.error());
        note_unanswered(session, last, is_one_of_several);
        if (last.error.code != base::Errc::transport && last.error.code != base::Errc::transport_timeout) {
            break;
        }
    }
    co_return tl::unexpected(std::move(last));
}

/// Once more with MD5 alone, where that may do.
ring::Task<tl::expected<shard::OpenReply, shard::OpenFailure>>
Daemon::open_offering(ManagedSession& session, shard::OpenRequest& request) {
    auto opened = co_await open_at(session, request);
    const bool wanted = session.state != ManagedSession::State::ending;
    tell_transcript(session, opened);
    if (!opened && opened.error().md5_alone_may_do && wanted) {
        log::warning(about(session), "{}; trying MD5 alone of the CHAP algorithms",
                     opened.error().error.message());
        offer_md5_alone(request.login);
        opened = co_await open_at(session, request);
        session.md5_alone = opened.has_value();
        tell_transcript(session, opened);
    }
    co_return opened;
}

ring::Task<tl::expected<shard::OpenReply, shard::OpenFailure>> Daemon::open_at(ManagedSession& session,
                                                                               shard::OpenRequest request) {
    session.dropped = false;
    // What is stranded is asked about at one place (groups_of); else this is of no matter.
    const std::optional<std::uint16_t> seen_in = reinstating_group(session, request.endpoints.front());
    if (session.stranded && !session.stranded->is_alone && !seen_in) {
        auto beside = co_await open_beside_rival(session, request);
        co_return beside;
    }
    auto work = [&session, &request] { return session.nexus->open(request); };
    ring::Call call(*loop_, session.shard.loop(), work);
    auto opened = co_await call;
    if (opened && seen_in && (opened->tpgt != *seen_in || opened->endpoint != request.endpoints.front())) {
        session.reinstated_at.reset(); // what was lost has its time, as where nothing is known
    } else if (opened) {
        std::optional<base::Duration> ended_after;
        if (seen_in) {
            ended_after = base::Duration{};
        }
        on_successor(session, *opened, ended_after);
    }
    co_return opened;
}

} // namespace iscsi::control
