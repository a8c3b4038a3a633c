// SendTargets discovery: through each interface in turn a discovery session, its answer, the list.
#include "base/names.hpp"
#include "base/text.hpp"
#include "control/daemon.hpp"
#include "control/log.hpp"
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
constexpr std::size_t redirects_of_discovery = 5;

/// What one discovery needs; lives in the asking procedure's frame.
struct Asking {
    ring::Loop& loop;
    const Record& discovery;
    const Record& iface;
    const records::InitiatorName& initiator;
    login::PortalAddress portal; ///< changed by a redirect
    std::optional<login::Redirect> redirect;
    std::string report; ///< one line for each try that failed
};

void report_line(Asking& asking, const std::string& line) {
    asking.report += line;
    asking.report += '\n';
}

base::Duration login_timeout(const Record& discovery) {
    return std::chrono::seconds(std::max<std::int64_t>(1, discovery.number(Key::discovery_login_timeout)));
}

bool worth_a_retry(const base::Error& error) {
    using base::Errc;
    return error.code == Errc::transport_timeout || error.code == Errc::transport ||
           error.code == Errc::disconnected || error.code == Errc::pdu_timeout || error.code == Errc::login;
}

/// Login and SendTargets on a connected link.
ring::Task<base::Result<std::string>> talk(Asking& asking, shard::Link& link, login::LoginConfig config) {
    config.deadline = ring::monotonic_now() + login_timeout(asking.discovery);
    auto login = login::Login::make(std::move(config));
    if (!login) {
        co_return base::fail(std::move(login.error()));
    }
    auto logged_in = co_await link.drive(**login);
    if (!logged_in) {
        asking.redirect = (*login)->redirect();
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
    // The exchange dies with this frame: nothing of it may be in flight.
    co_await link.end(ring::Stream::Ending::orderly);
    std::string text = exchange.text();
    co_return base::Result<std::string>(std::move(text));
}

ring::Task<base::Result<std::string>> try_endpoint(Asking& asking, shard::Endpoint endpoint) {
    auto config = discovery_login(asking.discovery, asking.iface, asking.initiator);
    if (!config) {
        co_return base::fail(std::move(config.error()));
    }
    auto options = tcp_options(asking.iface);
    if (!options) {
        co_return base::fail(std::move(options.error()));
    }
    shard::Link link(asking.loop);
    base::Deadline connect_by = asking.loop.now() + login_timeout(asking.discovery);
    auto connected = co_await link.connect(endpoint, *options, connect_by);
    if (!connected) {
        report_line(asking,
                    fmt::format("cannot make connection to {}: {}", endpoint.text, connected.error().detail));
        co_return base::fail(std::move(connected.error()));
    }
    auto text = co_await talk(asking, link, std::move(*config));
    co_await link.end(ring::Stream::Ending::abort);
    if (!text && text.error().code != base::Errc::redirected) {
        report_line(asking,
                    fmt::format("discovery login to {} rejected: {}", endpoint.text, text.error().message()));
    }
    co_return text;
}

ring::Task<base::Result<std::string>> try_portal(Asking& asking) {
    base::Error last;
    for (std::size_t hop = 0; hop <= redirects_of_discovery; ++hop) {
        auto endpoints = co_await resolve(asking.loop, asking.portal.host, asking.portal.port);
        if (!endpoints) {
            report_line(asking, fmt::format("Cannot resolve host {}. getaddrinfo error: [{}]",
                                            asking.portal.host, endpoints.error().detail));
            report_line(asking, fmt::format("cannot resolve host name {}", asking.portal.host));
            // A name that does not exist is not asked for again.
            co_return base::fail(base::Errc::host_not_found);
        }
        asking.redirect.reset();
        for (const shard::Endpoint& endpoint : *endpoints) {
            auto text = co_await try_endpoint(asking, endpoint);
            if (text) {
                co_return text;
            }
            last = std::move(text.error());
            if (last.code != base::Errc::transport && last.code != base::Errc::transport_timeout) {
                break;
            }
        }
        if (last.code != base::Errc::redirected || !asking.redirect) {
            co_return base::fail(std::move(last));
        }
        asking.portal.host = asking.redirect->host;
        asking.portal.port = asking.redirect->port;
    }
    report_line(asking, "redirected too often");
    co_return base::fail(base::Errc::login);
}

/// As open-iscsi: reopen_max further tries, and then exit code 11 whatever kept the portal from answering.
ring::Task<base::Result<std::string>> send_targets(Asking& asking, const bool& stopping) {
    auto retries = asking.discovery.number(Key::discovery_reopen_max);
    for (std::int64_t tries = 0;; ++tries) {
        auto text = co_await try_portal(asking);
        if (text) {
            co_return text;
        }
        base::Errc code = text.error().code;
        if (code == base::Errc::host_not_found) {
            base::Error error{base::Errc::transport, asking.report};
            co_return base::fail(std::move(error));
        }
        if (!worth_a_retry(text.error()) || stopping) {
            base::Error error{code, asking.report.empty() ? text.error().detail : asking.report};
            co_return base::fail(std::move(error));
        }
        if (tries >= retries) {
            report_line(asking, fmt::format("connection login retries (reopen_max) {} exceeded", retries));
            base::Error error{base::Errc::pdu_timeout, asking.report};
            co_return base::fail(std::move(error));
        }
        ring::Sleep pause(asking.loop, asking.loop.now() + retry_pause);
        co_await pause;
    }
}

void add_found(ipc::DiscoverReply& reply, login::DiscoveredTargets targets, const std::string& iface) {
    for (login::DiscoveredPortal& portal : targets.portals) {
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

} // namespace

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
    for (const Record& iface : request.ifaces) {
        login::PortalAddress asked{portal.address, portal.port, -1};
        Asking asking{*loop_, request.discovery, iface, config_.initiator, asked, {}, {}};
        auto text = co_await send_targets(asking, stopping_);
        if (!text) {
            log::warning("discovery at {}: {}", portal.address, text.error().message());
            ipc::ErrorReply failed{std::move(text.error())};
            co_return ipc::Reply(std::move(failed));
        }
        auto targets = login::parse_targets(*text, asking.portal);
        if (!targets) {
            ipc::ErrorReply failed{std::move(targets.error())};
            co_return ipc::Reply(std::move(failed));
        }
        add_found(reply, std::move(*targets), iface.text(Key::iface_name));
    }
    co_return ipc::Reply(std::move(reply));
}

} // namespace iscsi::control
