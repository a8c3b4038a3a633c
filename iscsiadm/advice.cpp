#include "advice.hpp"

#include "base/text.hpp"
#include "messages.hpp"
#include "records/fields.hpp"
#include "records/names.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace iscsi::adm {
namespace {

using base::Cause;
using records::Key;
using records::Record;

/// The names that a record's own keys have in advice.
struct Words {
    std::string host;   ///< of the portal
    std::string portal; ///< host and port
    std::string_view username, password, username_in, password_in;
    bool is_node = true;
    bool has_chap = false;
    std::string_view unit = "the target";
};

std::string_view name_of(Key key) {
    return records::field(key).name;
}

Words words_of(const Record& record) {
    Words words;
    words.is_node = record.kind() == records::RecordKind::node;
    const records::Portal portal =
        words.is_node ? records::node_id(record).portal : records::discovery_portal(record);
    words.host = base::printable(portal.address, 255);
    words.portal = base::printable(records::address_port(portal), 280);
    const auto pick = [&](Key node, Key discovery) { return name_of(words.is_node ? node : discovery); };
    words.username = pick(Key::session_username, Key::discovery_username);
    words.password = pick(Key::session_password, Key::discovery_password);
    words.username_in = pick(Key::session_username_in, Key::discovery_username_in);
    words.password_in = pick(Key::session_password_in, Key::discovery_password_in);
    if (record.kind() == records::RecordKind::isns) {
        words.unit = "the iSNS server";
    } else {
        words.has_chap =
            !record.text(words.is_node ? Key::session_password : Key::discovery_password).empty();
    }
    return words;
}

std::string on_the_way(Cause cause, const Words& words) {
    switch (cause) {
    case Cause::name_not_found:
        return fmt::format("'getent hosts {0}' asks for the name alone; look at its spelling, or give the "
                           "portal by its address",
                           words.host);
    case Cause::name_service_silent:
        return fmt::format("no name server answers ('getent hosts {}' asks, too): is the network up, is "
                           "/etc/resolv.conf right? The portal's address needs none",
                           words.host);
    case Cause::connection_refused:
        return fmt::format("the host answers, and nobody listens at {}: does {} run there, and is that its "
                           "port ('ss -ltn' on that host shows)?",
                           words.portal, words.unit);
    case Cause::no_route:
        return fmt::format("'ip route get {}' shows which way is taken: is that interface up, is the address "
                           "right?",
                           words.host);
    case Cause::no_answer:
        return fmt::format(
            "nothing answers at {}: is the host up ('ping {}'), does a firewall drop the port?", words.portal,
            words.host);
    case Cause::binding_failed:
        return "the interface record names what this machine does not have: compare 'iscsiadm -m iface -I "
               "NAME' with 'ip address'";
    case Cause::login_unanswered:
        return fmt::format("{} takes connections and does not answer a login: is it overloaded, or no iSCSI "
                           "target at all? '{}' is how long it is waited for",
                           words.portal,
                           name_of(words.is_node ? Key::conn_login_timeout : Key::discovery_login_timeout));
    case Cause::login_cut:
        return fmt::format("{} hangs up during the login: its own log may say why; does it let this "
                           "initiator's name in, and is the port one for iSCSI?",
                           words.portal);
    default:
        return {};
    }
}

std::string of_chap(Cause cause, const Words& words) {
    if (cause == Cause::chap_refused && words.has_chap) {
        return fmt::format("the target did not take our CHAP name or secret: compare {} and {} with what the "
                           "target has for this initiator",
                           words.username, words.password);
    }
    switch (cause) {
    case Cause::chap_refused:
    case Cause::chap_demanded:
        return fmt::format("the target asks for CHAP, and the record has no secret: set {} and {} with -o "
                           "update",
                           words.username, words.password);
    case Cause::chap_declined:
        return fmt::format(
            "the record asks for CHAP and the target does not do it: set CHAP up at the target, "
            "or take {} and {} out of the record",
            words.username, words.password);
    case Cause::chap_algorithms:
        return fmt::format("add an algorithm to {} that the target knows; all know MD5",
                           name_of(Key::session_chap_algs));
    case Cause::target_not_proved:
        return fmt::format(
            "the target took our secret and did not prove its own: compare {} and {} with what "
            "the target has to prove itself with. If they are right, somebody else answers "
            "there",
            words.username_in, words.password_in);
    default:
        return {};
    }
}

std::string of_the_target(Cause cause, const Words& words) {
    switch (cause) {
    case Cause::not_authorized:
        return "the target does not let this initiator in: does its access list have the name in "
               "'iscsiadm doctor'?";
    case Cause::target_unknown:
        return fmt::format(
            "no such target is there for this initiator: 'iscsiadm -m discovery -t st -p {} -o "
            "nonpersistent' lists those that are; does the target's access list have this "
            "initiator's name?",
            words.portal);
    case Cause::target_removed:
        return "the target was taken away there: ask who runs it, and remove the record with -o delete";
    case Cause::target_unavailable:
        return "the target has a trouble of its own, or is just starting: its log says more; try again later";
    case Cause::target_full:
        return "the target has no room for another session: log out of some, or raise its limit";
    case Cause::login_refused:
        return "the target's log says more";
    case Cause::portal_group:
        return fmt::format("the portal is in another group now: discover it again ('iscsiadm -m discovery -t "
                           "st -p {}')",
                           words.portal);
    case Cause::digest_declined:
        return fmt::format("the record demands the digest: turn it on at the target, or let {} or {} be "
                           "'None,CRC32C'",
                           name_of(Key::conn_header_digest), name_of(Key::conn_data_digest));
    case Cause::key_unusable:
        return "the target breaks a rule of the negotiation (RFC 7143 section 13): report it to who makes "
               "it; "
               "another value of the record's key of that name may get round it";
    default:
        return {};
    }
}

} // namespace

std::string advice_for(const base::Error& error, const Record& record) {
    const Words words = words_of(record);
    if (error.cause == Cause::none && error.code == base::Errc::protocol) {
        return fmt::format("what answers at {} is no iSCSI target, or breaks the protocol: is it the right "
                           "port?",
                           words.portal);
    }
    if (error.code == base::Errc::daemon_not_running) {
        return std::string(advice_without_daemon);
    }
    if (error.code == base::Errc::access_denied) {
        return "only root may have iscsid do that";
    }
    std::string advice = on_the_way(error.cause, words);
    if (advice.empty()) {
        advice = of_chap(error.cause, words);
    }
    return advice.empty() ? of_the_target(error.cause, words) : advice;
}

void AdviceList::add(std::string line) {
    if (!line.empty() && std::ranges::find(lines_, line) == lines_.end()) {
        lines_.push_back(std::move(line));
    }
}

void AdviceList::say() const {
    constexpr std::size_t lines_max = 8;
    for (std::size_t i = 0; i < std::min(lines_.size(), lines_max); ++i) {
        complain("Try: {}", lines_[i]);
    }
    if (lines_.size() > lines_max) {
        complain("Try: {} more, see 'iscsiadm doctor -T TARGET' for each", lines_.size() - lines_max);
    }
}

} // namespace iscsi::adm
