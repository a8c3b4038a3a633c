// The ends of a login that are not full feature phase: what each status means for the caller, and
// redirection.
#include "login/login.hpp"

#include <fmt/format.h>

namespace iscsi::login {
namespace {

using base::Errc;
using base::Result;
using wire::LoginStatus;

/// What a Login Response's status means for the caller (RFC 7143 section 11.13.5).
Errc kind_of(LoginStatus status) {
    switch (status) {
    case LoginStatus::authentication_failure:
    case LoginStatus::authorization_failure:
        return Errc::authentication;
    default:
        break;
    }
    switch (wire::status_class(status)) {
    case wire::LoginStatusClass::redirection:
        return Errc::redirected;
    case wire::LoginStatusClass::initiator_error:
        return Errc::fatal_login;
    case wire::LoginStatusClass::target_error:
        return Errc::login;
    case wire::LoginStatusClass::success:
        break;
    }
    return Errc::protocol;
}

base::Cause cause_of(LoginStatus status) {
    using base::Cause;
    switch (status) {
    case LoginStatus::authentication_failure:
        return Cause::chap_refused;
    case LoginStatus::authorization_failure:
        return Cause::not_authorized;
    case LoginStatus::not_found:
        return Cause::target_unknown;
    case LoginStatus::target_removed:
        return Cause::target_removed;
    case LoginStatus::target_error:
    case LoginStatus::service_unavailable:
        return Cause::target_unavailable;
    case LoginStatus::too_many_connections:
    case LoginStatus::out_of_resources:
        return Cause::target_full;
    default:
        return Cause::login_refused;
    }
}

} // namespace

Result<void> Login::on_failure_status(const wire::LoginResponse& response) {
    if (wire::status_class(status_) == wire::LoginStatusClass::redirection) {
        in_text_ += base::text_of(reader_.data());
        return on_redirect();
    }
    return base::fail(base::Error{kind_of(status_),
                                  fmt::format("the target refused the login with status {:04x}: {}",
                                              response.status.get(), wire::text(status_)),
                                  cause_of(status_)});
}

std::vector<std::string> Login::transcript() const {
    return transcript_ ? transcript_->lines() : std::vector<std::string>();
}

bool Login::md5_alone_may_do() const {
    bool refused = status_ == LoginStatus::initiator_error || status_ == LoginStatus::authentication_failure;
    return refused && chap_.awaits_choice() && config_.chap.offers_md5_among_others();
}

Result<void> Login::on_redirect() {
    wire::KeyReader pairs(in_text_);
    for (;;) {
        auto pair = pairs.next();
        if (!pair) {
            return base::fail(pair.error());
        }
        if (!*pair) {
            return base::fail(Errc::protocol, "a redirection without a usable TargetAddress");
        }
        if ((*pair)->key != "TargetAddress") {
            continue;
        }
        Result<PortalAddress> address = parse_target_address((*pair)->value);
        if (address) {
            bool permanent = status_ == LoginStatus::moved_permanently;
            redirect_ = Redirect{address->host, address->port, permanent};
            return base::fail(Errc::redirected, fmt::format("{} to {} port {}", wire::text(status_),
                                                            address->host, address->port));
        }
    }
}

} // namespace iscsi::login
