#include "discover.hpp"

#include "actions.hpp"
#include "base/text.hpp"
#include "client.hpp"
#include "matching.hpp"
#include "messages.hpp"
#include "print.hpp"

#include <algorithm>

namespace iscsi::adm {
namespace {

using records::Key;

/// The interfaces of -I; without it all TCP ones of the database, and the default one when there are none.
/// The failure has been said.
base::Result<std::vector<records::Record>> read_bindings(const Context& context) {
    std::vector<records::Record> bindings;
    records::Warnings warnings;
    for (const std::string& name : context.options.ifaces) {
        auto iface = context.store.iface(name, warnings);
        if (!iface) {
            complain("Could not read iface info for {}. Make sure an iface config with the file name and "
                     "iface.iscsi_ifacename {} is in {}.",
                     name, name, context.store.paths().ifaces_dir());
            return base::fail(base::Errc::not_found);
        }
        bindings.push_back(std::move(*iface));
    }
    if (!bindings.empty()) {
        return bindings;
    }
    auto all = context.store.ifaces(warnings);
    complain_of(warnings);
    if (!all) {
        complain_lines(all.error().message());
        return base::fail(all.error());
    }
    for (records::Record& iface : *all) {
        if (!records::is_builtin_iface(iface.text(Key::iface_name)) &&
            iface.text(Key::iface_transport_name) == "tcp") {
            bindings.push_back(std::move(iface));
        }
    }
    if (bindings.empty()) {
        auto iface = records::make_iface("default");
        if (!iface) {
            return base::fail(iface.error());
        }
        bindings.push_back(std::move(*iface));
    }
    return bindings;
}

std::vector<records::NodeId> ids_of(const std::vector<ipc::FoundPortal>& found) {
    std::vector<records::NodeId> ids;
    ids.reserve(found.size());
    for (const ipc::FoundPortal& portal : found) {
        ids.push_back(records::NodeId{
            portal.target, records::Portal{portal.address, portal.port, portal.tpgt}, portal.iface});
    }
    return ids;
}

/// What apply_discovery is to be told: one entry a portal, whichever interfaces it was found through.
base::Result<records::DiscoveryUpdate> update_of(const Context& context, const records::Record& discovery,
                                                 const std::vector<records::NodeId>& found) {
    unsigned ops = context.options.ops & static_cast<unsigned>(op_new | op_update | op_delete);
    auto sessions = fetch_sessions(context.store.paths());
    if (!sessions) {
        return base::fail(sessions.error());
    }
    records::DiscoveryUpdate update;
    update.kind = discovery.kind();
    update.source = discovery_portal(discovery);
    update.add = ops == 0 || (ops & op_new) != 0;
    update.refresh = ops == 0 || (ops & op_update) != 0;
    update.remove = ops == 0 || (ops & op_delete) != 0;
    update.in_use = in_use_of(*sessions);
    for (const records::NodeId& id : found) {
        records::FoundPortal portal{id.target, id.portal};
        if (std::ranges::find(update.found, portal) == update.found.end()) {
            update.found.push_back(std::move(portal));
        }
    }
    return update;
}

base::Result<void> store_found(const Context& context, const records::Record& discovery,
                               const std::vector<records::Record>& bindings,
                               const std::vector<records::NodeId>& found) {
    auto update = update_of(context, discovery, found);
    if (!update) {
        return base::fail(update.error());
    }
    update->ifaces = bindings;
    records::Warnings warnings;
    auto config = context.store.config(warnings);
    if (!config) {
        return base::fail(config.error());
    }
    auto changes = context.store.apply_discovery(*update, *config);
    if (!changes) {
        return base::fail(changes.error());
    }
    return {};
}

/// -l: logs in with the records of what was found.
int log_in_found(const Context& context, const std::vector<records::NodeId>& found) {
    LoginOrder order;
    records::Warnings warnings;
    for (const records::NodeId& id : found) {
        if (auto node = context.store.node(id, warnings)) {
            order.nodes.push_back(std::move(*node));
        }
    }
    complain_of(warnings);
    if (order.nodes.empty()) {
        complain("No records found");
        return exit_of(base::Errc::not_found);
    }
    return log_in(context, order);
}

base::Result<ipc::DiscoverReply> ask(const Context& context, const records::Record& discovery,
                                     const std::vector<records::Record>& bindings) {
    auto client = connect_or_start(context.store);
    if (!client) {
        return base::fail(client.error());
    }
    auto id = client->post(ipc::Discover{discovery, bindings});
    return expect<ipc::DiscoverReply>(client->wait(id));
}

int could_not_discover(const records::Record& discovery, const base::Error& error) {
    complain_lines(error.detail);
    complain("Could not perform {} discovery: {}",
             discovery.kind() == records::RecordKind::isns ? "iSNS" : "SendTargets", base::text(error.code));
    return exit_of(error.code);
}

} // namespace

int discover(const Context& context, const records::Record& discovery) {
    auto bindings = read_bindings(context);
    if (!bindings) {
        return exit_of(bindings.error().code);
    }
    auto reply = ask(context, discovery, *bindings);
    if (!reply) {
        return could_not_discover(discovery, reply.error());
    }
    for (const std::string& rejected : reply->rejected) {
        complain(base::printable(rejected));
    }
    if (reply->found.empty()) {
        complain("No portals found");
        return exit_of(base::Errc::not_found);
    }
    std::vector<records::NodeId> found = ids_of(reply->found);
    bool persistent = (context.options.ops & op_nonpersistent) == 0;
    if (persistent) {
        if (auto stored = store_found(context, discovery, *bindings, found); !stored) {
            return complain_of(stored.error());
        }
    }
    say(context.options.print_level == 1 ? found_tree(found) : found_list(found));
    return context.options.login ? log_in_found(context, found) : exit_ok;
}

} // namespace iscsi::adm
