// The rules of log_in.hpp: what deserves another try, and when and where it is made.
#include "control/log_in.hpp"

#include "base/limits.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <utility>

namespace iscsi::control {
namespace {

/// Pauses between the tries of a live session: from the first to the longest, each twice the one before.
struct Pauses {
    base::Duration first;
    base::Duration longest;
};

constexpr Pauses usual_pauses{std::chrono::milliseconds(250), std::chrono::seconds(8)};
constexpr Pauses pauses_of_the_refused{std::chrono::seconds(5), std::chrono::seconds(60)};

bool is_unreachable(base::Errc failure) {
    return failure == base::Errc::transport || failure == base::Errc::transport_timeout;
}

} // namespace

bool worth_a_retry(const base::Error& error) {
    using base::Errc;
    return error.code == Errc::transport || error.code == Errc::transport_timeout ||
           error.code == Errc::disconnected || error.code == Errc::pdu_timeout || error.code == Errc::login;
}

void offer_md5_alone(login::LoginConfig& login) {
    login.chap.algorithms.assign(1, login::ChapAlgorithm::md5);
}

base::Error as_told(base::Error error) {
    if (error.code == base::Errc::disconnected && error.cause == base::Cause::none) {
        error.cause = base::Cause::login_cut;
    }
    if (error.code == base::Errc::transport || error.code == base::Errc::disconnected) {
        error.code = base::Errc::transport_timeout;
    }
    return error;
}

base::Duration pause_after(base::Errc failure, base::Duration before, base::Duration reconnect_pause) {
    if (is_unreachable(failure)) {
        return reconnect_pause;
    }
    const Pauses& pauses = failure == base::Errc::authentication ? pauses_of_the_refused : usual_pauses;
    return std::clamp(before * 2, pauses.first, pauses.longest);
}

base::Duration reconnect_pause(base::Duration lasts, std::size_t sessions) {
    constexpr int part_of_outage = 300;
    const base::Duration share =
        std::chrono::nanoseconds(std::chrono::seconds(sessions)) / base::limits::reconnects_per_second_max;
    return std::clamp<base::Duration>(std::max(lasts / part_of_outage, share),
                                      base::limits::reconnect_pause_min, base::limits::reconnect_pause_max);
}

base::Duration spread(base::Duration pause, std::uint32_t dice) {
    const base::Duration part = pause / 4;
    return pause - part + part * (dice % 1024) / 1024;
}

bool is_unanswered(base::Errc failure) {
    using base::Errc;
    return is_unreachable(failure) || failure == Errc::disconnected || failure == Errc::pdu_timeout ||
           failure == Errc::protocol;
}

bool AddressOrder::put_last(const shard::Endpoint& endpoint) {
    const bool is_known = std::erase(last_, endpoint) != 0;
    if (last_.size() == base::limits::host_addresses_max) { // a name may lead to ever new ones
        last_.erase(last_.begin());
    }
    last_.push_back(endpoint);
    return !is_known;
}

bool AddressOrder::is_last(const shard::Endpoint& endpoint) const {
    return std::ranges::find(last_, endpoint) != last_.end();
}

bool AddressOrder::has_last_beside(const shard::Endpoint& endpoint) const {
    return std::ranges::any_of(last_, [&](const auto& one) { return one != endpoint; });
}

std::size_t AddressOrder::sort(std::vector<shard::Endpoint>& endpoints, const shard::Endpoint& first) const {
    const auto place = [&](const shard::Endpoint& endpoint) {
        const auto found = std::ranges::find(last_, endpoint);
        if (found != last_.end()) {
            return 2 + (found - last_.begin());
        }
        return std::ptrdiff_t{endpoint == first ? 0 : 1};
    };
    std::stable_sort(endpoints.begin(), endpoints.end(),
                     [&](const auto& one, const auto& other) { return place(one) < place(other); });
    const auto preferred = std::ranges::count_if(endpoints, [&](const auto& one) { return place(one) < 2; });
    return std::max<std::size_t>(1, static_cast<std::size_t>(preferred));
}

base::Result<void> LoginRoute::follow(const login::Redirect& redirect) {
    Place next{redirect.host, redirect.port};
    if (std::ranges::find(places_, next) != places_.end()) {
        return base::fail(base::Errc::redirected,
                          fmt::format("redirected in a circle: to {} port {} again", next.host, next.port));
    }
    if (hops() == base::limits::redirects_max) {
        return base::fail(base::Errc::redirected,
                          fmt::format("redirected more than {} times", base::limits::redirects_max));
    }
    places_.push_back(std::move(next));
    permanent_ = permanent_ && redirect.permanent;
    return {};
}

std::optional<Place> LoginRoute::moved_to() const {
    return hops() != 0 && permanent_ ? std::optional(place()) : std::nullopt;
}

} // namespace iscsi::control
