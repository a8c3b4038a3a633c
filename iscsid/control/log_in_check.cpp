// What a login is checked for before anything is made of it, and its secrets.
#include "base/names.hpp"
#include "control/about.hpp"
#include "control/daemon.hpp"
#include "control/secrets.hpp"
#include "control/settings.hpp"
#include "records/fields.hpp"
#include "ring/aside.hpp"

#include <algorithm>
#include <utility>

namespace iscsi::control {

using records::Key;

ring::Task<base::Result<records::Record>> Daemon::read_secrets(const records::Record& record) {
    if (!has_secret_references(record)) {
        co_return record;
    }
    auto work = [&record] { return with_secrets(record); };
    ring::Aside reading(*loop_, work);
    co_return co_await reading;
}

/// What may be wrong with them is said when they are new.
void Daemon::use_secrets(ManagedSession& session, records::Record node_with_secrets) {
    if (session.node_with_secrets == node_with_secrets) {
        return;
    }
    session.node_with_secrets = std::move(node_with_secrets);
    for (const std::string& warning : chap_warnings(*session.node_with_secrets)) {
        log::warning(about(session), "{}", warning);
    }
    if (session.node_with_secrets->text(Key::session_password_in).empty()) {
        return; // nothing that others could share: they may be a thousand
    }
    for (std::uint32_t sid : registry_.sids()) {
        const ManagedSession& other = *registry_.find(sid);
        if (other.id.target != session.id.target && other.node_with_secrets &&
            share_target_secret(*session.node_with_secrets, *other.node_with_secrets)) {
            log::warning(about(session), "{} proves itself with the same secret, and can pass for {}",
                         other.id.target, session.id.target);
        }
    }
}

base::Result<void> Daemon::check_login(const ipc::Login& request, const records::Record& node_with_secrets) {
    if (request.node.kind() != records::RecordKind::node) {
        return base::fail(base::Errc::invalid, "the record is not a node record");
    }
    records::NodeId id = records::node_id(request.node);
    if (auto name = base::check_target_name(id.target); !name) {
        return name;
    }
    if (auto host = base::check_host(id.portal.address); !host) {
        return host;
    }
    if (auto usable = open_request(node_with_secrets, config_.initiator, base::Isid()); !usable) {
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

} // namespace iscsi::control
