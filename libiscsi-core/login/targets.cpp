#include "login/targets.hpp"

#include "base/names.hpp"
#include "base/text.hpp"
#include "wire/keys.hpp"

#include <fmt/format.h>
#include <optional>

namespace iscsi::login {
namespace {

using base::Errc;
using base::Result;

tl::unexpected<base::Error> bad_address(std::string_view text, std::string_view why) {
    return base::fail(Errc::protocol,
                      fmt::format("target address \"{}\": {}", base::printable(text, 300), why));
}

/// Collects the records of one answer.
class Collector {
public:
    Collector(const PortalAddress& asked, std::string_view link) : asked_(asked), link_(link) {}

    Result<void> on_pair(wire::KeyValue pair) {
        if (pair.key == "TargetName") {
            return on_name(pair.value);
        }
        if (pair.key == "TargetAddress") {
            return on_address(pair.value);
        }
        found_.reject(fmt::format("key {} in a list of targets", base::printable(pair.key, 80)));
        return {};
    }

    Result<base::DiscoveredTargets> finish() {
        if (Result<void> closed = close_record(); !closed) {
            return base::fail(closed.error());
        }
        return found_.take();
    }

private:
    Result<void> on_name(std::string_view name) {
        if (Result<void> closed = close_record(); !closed) {
            return closed;
        }
        Result<void> valid = base::check_target_name(name);
        name_state_ = valid ? NameState::good : NameState::bad;
        has_address_ = false;
        name_ = name;
        if (!valid) {
            found_.reject(valid.error().message());
        }
        return {};
    }

    Result<void> on_address(std::string_view text) {
        if (name_state_ == NameState::none) {
            found_.reject("a TargetAddress before any TargetName");
        }
        if (name_state_ != NameState::good) {
            return {};
        }
        has_address_ = true;
        Result<PortalAddress> address = parse_target_address(text);
        if (!address) {
            found_.reject(fmt::format("{}: {}", name_, address.error().message()));
            return {};
        }
        if (base::is_unspecified_address(address->host)) {
            address->host = asked_.host; // it listens everywhere, and there it answered
        }
        if (base::is_link_local_address(address->host) && address->host.find('%') == std::string::npos) {
            if (link_.empty()) {
                found_.reject(fmt::format("{}: {}: a link-local address, on which link is not known", name_,
                                          base::printable(text, 80)));
                return {};
            }
            address->host += fmt::format("%{}", link_);
        }
        return add(*address);
    }

    // A target without any address is reached where we asked (RFC 7143 appendix C).
    Result<void> close_record() {
        bool nameless_place = name_state_ == NameState::good && !has_address_;
        return nameless_place ? add({asked_.host, asked_.port, -1}) : Result<void>{};
    }

    Result<void> add(const PortalAddress& at) { return found_.add({name_, at.host, at.port, at.tpgt}); }

    enum class NameState : std::uint8_t { none, good, bad };

    const PortalAddress& asked_;
    std::string_view link_;
    base::DiscoveredCollector found_;
    std::string name_;
    NameState name_state_ = NameState::none;
    bool has_address_ = false;
};

/// The host at the front of `rest`, which is left with what follows it; empty when brackets do not match.
std::optional<std::string_view> take_host(std::string_view& rest) {
    if (!rest.starts_with('[')) {
        std::string_view host = rest.substr(0, rest.find(':'));
        rest.remove_prefix(host.size());
        return host;
    }
    std::size_t end = rest.find(']');
    if (end == std::string_view::npos) {
        return std::nullopt;
    }
    std::string_view host = rest.substr(1, end - 1);
    rest.remove_prefix(end + 1);
    return host.find(':') == std::string_view::npos ? std::nullopt : std::optional(host);
}

} // namespace

Result<PortalAddress> parse_target_address(std::string_view text) {
    PortalAddress address;
    std::string_view rest = text;
    if (std::size_t comma = rest.rfind(','); comma != std::string_view::npos) {
        std::optional<std::uint64_t> tpgt = base::parse_rfc_number(rest.substr(comma + 1), 65535);
        if (!tpgt) {
            return bad_address(text, "the portal group is no number from 0 to 65535");
        }
        address.tpgt = static_cast<std::int32_t>(*tpgt);
        rest = rest.substr(0, comma);
    }
    std::optional<std::string_view> host = take_host(rest);
    if (!host) {
        return bad_address(text, "not an IPv6 address in brackets");
    }
    if (Result<void> valid = base::check_host(*host); !valid) {
        return bad_address(text, valid.error().message());
    }
    address.host = *host;
    if (rest.empty()) {
        return address;
    }
    std::optional<std::uint64_t> port = base::parse_decimal(rest.substr(1), 65535);
    if (rest.front() != ':' || !port || *port == 0) {
        return bad_address(text, "the port is no number from 1 to 65535");
    }
    address.port = static_cast<std::uint16_t>(*port);
    return address;
}

Result<base::DiscoveredTargets> parse_targets(std::string_view text, const PortalAddress& asked,
                                              std::string_view link) {
    wire::KeyReader pairs(text);
    const std::size_t percent = asked.host.find('%');
    Collector collector(
        asked, percent == std::string::npos ? link : std::string_view(asked.host).substr(percent + 1));
    for (;;) {
        auto pair = pairs.next();
        if (!pair) {
            return base::fail(pair.error());
        }
        if (!*pair) {
            return collector.finish();
        }
        if (Result<void> taken = collector.on_pair(**pair); !taken) {
            return base::fail(taken.error());
        }
    }
}

} // namespace iscsi::login
