// Discovery: SendTargets, through each interface in turn a discovery session and its answer; or a query of an
// iSNS server, by each interface's initiator.
#include "base/names.hpp"
#include "base/text.hpp"
#include "control/about.hpp"
#include "control/daemon.hpp"
#include "control/isns_client.hpp"
#include "control/log.hpp"
#include "control/log_in.hpp"
#include "control/login_transcript.hpp"
#include "control/resolve.hpp"
#include "control/settings.hpp"
#include "login/login.hpp"
#include "login/targets.hpp"
#include "login/text_exchange.hpp"
#include "records/fields.hpp"
#include "shard/link.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <optional>
#include <utility>

namespace iscsi::control {
namespace {

using records::Key;
using records::Record;

constexpr base::Duration retry_pause = std::chrono::seconds(1);

/// What one discovery needs; lives in the asking procedure's frame.
struct Asking {
    ring::Loop& loop;
    const Record& discovery;
    const Record& iface;
    const records::InitiatorName& initiator;
    Interrupt& interrupt;
    ToldFailures& told; ///< transcripts of its logins
    Place start;        ///< of each try
    Place place;        ///< where the latest try was led to
    AddressOrder addresses;
    std::optional<login::Redirect> redirect;
    bool md5_alone_may_do = false; ///< see login::Login; of the latest try
    std::string report;            ///< one line for each try that failed
};

void report_line(Asking& asking, const std::string& line) {
    asking.report += line;
    asking.report += '\n';
}

base::Duration login_timeout(const Record& discovery) {
    return std::chrono::seconds(std::max<std::int64_t>(1, discovery.number(Key::discovery_login_timeout)));
}

/// What its transcripts are told under.
std::string title(const Asking& asking) {
    return fmt::format("discovery at {} port {} through {}", asking.place.host, asking.place.port,
                       asking.iface.text(Key::iface_name));
}

/// Login and SendTargets on a connected link.
ring::Task<base::Result<std::string>> talk(Asking& asking, shard::Link& link, login::LoginConfig config) {
    config.deadline = ring::monotonic_now() + login_timeout(asking.discovery);
    config.transcript = wants_transcripts();
    auto login = login::Login::make(std::move(config));
    if (!login) {
        co_return base::fail(std::move(login.error()));
    }
    auto logged_in = co_await link.drive(**login);
    if (!logged_in) {
        asking.redirect = (*login)->redirect();
        asking.md5_alone_may_do = (*login)->md5_alone_may_do();
        if (!asking.redirect) {
            const auto portal = records::discovery_portal(asking.discovery);
            tell_transcript(about_portal(portal, ipc::Event::message), title(asking), asking.told,
                            logged_in.error(), (*login)->transcript());
        }
        co_return base::fail(std::move(logged_in.error()));
    }
    login::TextExchangeConfig exchange_config;
    exchange_config.connection = (*login)->negotiated().connection;
    exchange_config.numbers = (*login)->sequence_numbers();
    exchange_config.now = ring::monotonic_now();
    login::TextExchange exchange(exchange_config);
    auto exchanged = co_await link.drive(exchange);
    if (!exchanged && !exchange.text_complete()) {
        co_return base::fail(std::move(exchanged.error()));
    }
    asking.told.forget(title(asking));
    // The exchange dies with this frame: nothing of it may be in flight.
    co_await link.end(ring::Stream::Ending::orderly);
    std::string text = exchange.text();
    co_return base::Result<std::string>(std::move(text));
}

/// Of one address; one that did not fail was still awaited.
std::string why_not(const shard::Link& link, const shard::Endpoint& endpoint, const base::Error& error) {
    auto failure = std::ranges::find(link.failures(), endpoint, &shard::ConnectFailure::endpoint);
    return failure == link.failures().end() ? error.detail : failure->error.detail;
}

ring::Task<base::Result<std::string>> try_login(Asking& asking, std::vector<shard::Endpoint> endpoints,
                                                login::LoginConfig config) {
    asking.md5_alone_may_do = false;
    auto options = tcp_options(asking.iface);
    if (!options) {
        co_return base::fail(std::move(options.error()));
    }
    shard::Link link(asking.loop);
    const Interrupt::Action interrupting(asking.interrupt, [&] { link.interrupt(); });
    const std::size_t preferred = asking.addresses.sort(endpoints, {});
    const shard::ConnectTimes times{asking.loop.now() + login_timeout(asking.discovery), {}, preferred};
    auto connected = co_await link.connect(endpoints, *options, times);
    if (!connected) {
        for (const shard::Endpoint& endpoint : endpoints) {
            report_line(asking, fmt::format("cannot make connection to {}: {}", endpoint.text,
                                            why_not(link, endpoint, connected.error())));
        }
        co_return base::fail(std::move(connected.error()));
    }
    auto text = co_await talk(asking, link, std::move(config));
    co_await link.end(ring::Stream::Ending::abort);
    if (!text && is_unanswered(text.error().code)) {
        asking.addresses.put_last(*connected);
    }
    if (!text && text.error().code != base::Errc::redirected) {
        report_line(asking, fmt::format("discovery login to {} rejected: {}", connected->text,
                                        text.error().message()));
    }
    co_return text;
}

ring::Task<base::Result<std::string>> try_endpoints(Asking& asking, std::vector<shard::Endpoint> endpoints) {
    auto config = discovery_login(asking.discovery, asking.iface, asking.initiator);
    if (!config) {
        co_return base::fail(std::move(config.error()));
    }
    auto text = co_await try_login(asking, endpoints, *config);
    if (!text && asking.md5_alone_may_do && !asking.interrupt.is_set()) {
        report_line(asking, "trying MD5 alone of the CHAP algorithms");
        offer_md5_alone(*config);
        text = co_await try_login(asking, endpoints, *config);
    }
    co_return text;
}

/// One try at the place where `asking` is.
ring::Task<base::Result<std::string>> try_place(Asking& asking) {
    auto endpoints = co_await resolve(asking.loop, asking.place.host, asking.place.port, asking.interrupt);
    if (asking.interrupt.is_set()) {
        co_return base::fail(base::Errc::cancelled);
    }
    if (!endpoints) {
        report_line(asking, fmt::format("Cannot resolve host {}. getaddrinfo error: [{}]", asking.place.host,
                                        endpoints.error().detail));
        report_line(asking, fmt::format("cannot resolve host name {}", asking.place.host));
        // A name that does not exist is not asked for again.
        base::Error unknown{base::Errc::host_not_found, {}, endpoints.error().cause};
        co_return base::fail(std::move(unknown));
    }
    auto text = co_await try_endpoints(asking, std::move(*endpoints));
    co_return text;
}

ring::Task<base::Result<std::string>> try_portal(Asking& asking) {
    LoginRoute route(asking.start);
    for (;;) {
        asking.place = route.place();
        asking.redirect.reset();
        auto text = co_await try_place(asking);
        if (asking.interrupt.is_set()) {
            co_return base::fail(base::Errc::cancelled, "interrupted");
        }
        if (text || text.error().code != base::Errc::redirected || !asking.redirect) {
            co_return text;
        }
        if (auto followed = route.follow(*asking.redirect); !followed) {
            report_line(asking, followed.error().message());
            co_return base::fail(std::move(followed.error()));
        }
    }
}

/// As open-iscsi: reopen_max further tries, and then exit code 11 whatever kept the portal from answering.
ring::Task<base::Result<std::string>> send_targets(Asking& asking) {
    auto retries = asking.discovery.number(Key::discovery_reopen_max);
    for (std::int64_t tries = 0;; ++tries) {
        auto text = co_await try_portal(asking);
        if (text) {
            co_return text;
        }
        base::Errc code = text.error().code;
        const base::Cause cause = as_told(text.error()).cause;
        if (asking.interrupt.is_set()) {
            co_return text;
        }
        if (code == base::Errc::host_not_found) {
            base::Error error{base::Errc::transport, asking.report, cause};
            co_return base::fail(std::move(error));
        }
        if (!worth_a_retry(text.error())) {
            base::Error error{code, asking.report.empty() ? text.error().detail : asking.report, cause};
            co_return base::fail(std::move(error));
        }
        if (tries >= retries) {
            report_line(asking, fmt::format("connection login retries (reopen_max) {} exceeded", retries));
            base::Error error{base::Errc::pdu_timeout, asking.report, cause};
            co_return base::fail(std::move(error));
        }
        ring::Event interrupted;
        const Interrupt::Action interrupting(asking.interrupt, [&] { interrupted.set(); });
        const base::TimePoint next_try = asking.loop.now() + retry_pause;
        ring::EventOrDeadline pause(asking.loop, interrupted, next_try);
        co_await pause;
    }
}

void add_found(ipc::DiscoverReply& reply, base::DiscoveredTargets targets, const std::string& iface) {
    for (base::DiscoveredPortal& portal : targets.portals) {
        ipc::FoundPortal found;
        found.target = std::move(portal.target_name);
        found.address = std::move(portal.address);
        found.port = portal.port;
        found.tpgt = portal.tpgt;
        found.iface = iface;
        reply.found.push_back(std::move(found));
    }
    std::ranges::move(targets.rejected, std::back_inserter(reply.rejected));
}

ring::Task<base::Result<base::DiscoveredTargets>> ask_isns(ring::Loop& loop, const Record& discovery,
                                                           const Record& iface,
                                                           const records::InitiatorName& initiator,
                                                           Interrupt& interrupt) {
    auto options = tcp_options(iface);
    auto self = initiator_of(iface, initiator);
    if (!options || !self) {
        co_return base::fail(options ? std::move(self.error()) : std::move(options.error()));
    }
    IsnsClient client(loop, self->name);
    const Interrupt::Action interrupting(interrupt, [&] { client.interrupt(); });
    const records::Portal server = records::discovery_portal(discovery);
    auto connected = co_await client.connect(server);
    if (!connected) {
        co_return base::fail(std::move(connected.error()));
    }
    auto targets = co_await client.query_as_guest();
    co_await client.end();
    if (!targets && interrupt.is_set()) {
        co_return base::fail(base::Errc::cancelled, "interrupted");
    }
    co_return targets;
}

} // namespace

ring::Task<base::Result<base::DiscoveredTargets>>
Daemon::find_targets(const Record& discovery, const Record& iface, Interrupt& interrupt, ToldFailures& told) {
    if (discovery.kind() == records::RecordKind::isns) {
        auto targets = co_await ask_isns(*loop_, discovery, iface, config_.initiator, interrupt);
        co_return targets;
    }
    const records::Portal portal = records::discovery_portal(discovery);
    Place asked{portal.address, portal.port};
    Asking asking{*loop_, discovery, iface, config_.initiator, interrupt, told, asked, asked, {},
                  {},     false,     {}};
    auto text = co_await send_targets(asking);
    if (!text) {
        co_return base::fail(std::move(text.error()));
    }
    login::PortalAddress answered{asking.place.host, asking.place.port, -1};
    co_return login::parse_targets(*text, answered, tcp_options(iface)->net_device);
}

ring::Task<ipc::Reply> Daemon::discover(ipc::Discover request) {
    ipc::DiscoverReply reply;
    records::Portal portal = records::discovery_portal(request.discovery);
    if (auto host = base::check_host(portal.address); !host) {
        ipc::ErrorReply refused{std::move(host.error())};
        co_return ipc::Reply(std::move(refused));
    }
    if (request.ifaces.empty()) {
        auto unbound = records::make_iface("default");
        if (!unbound) {
            ipc::ErrorReply refused{std::move(unbound.error())};
            co_return ipc::Reply(std::move(refused));
        }
        request.ifaces.push_back(std::move(*unbound));
    }
    auto discovery = co_await read_secrets(request.discovery);
    if (!discovery) {
        ipc::ErrorReply refused{std::move(discovery.error())};
        co_return ipc::Reply(std::move(refused));
    }
    ToldFailures told; // one who asks again wants to hear it again
    for (const Record& iface : request.ifaces) {
        auto targets = co_await find_targets(*discovery, iface, stop_, told);
        if (!targets) {
            log::warning("discovery at {}: {}", portal.address, targets.error().message());
            ipc::ErrorReply failed{std::move(targets.error())};
            co_return ipc::Reply(std::move(failed));
        }
        add_found(reply, std::move(*targets), iface.text(Key::iface_name));
    }
    co_return ipc::Reply(std::move(reply));
}

} // namespace iscsi::control
