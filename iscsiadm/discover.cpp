#include "discover.hpp"

#include "actions.hpp"
#include "advice.hpp"
#include "base/text.hpp"
#include "client.hpp"
#include "json_output.hpp"
#include "matching.hpp"
#include "messages.hpp"
#include "print.hpp"
#include "progress.hpp"

#include <array>

namespace iscsi::adm {
namespace {

using records::Key;

/// The interfaces of -I; without it all TCP ones of the database, and the default one when there are none.
/// The failure has been said.
base::Result<std::vector<records::Record>> read_bindings(const Context& context) {
    std::vector<records::Record> bindings;
    records::Warnings warnings;
    for (const std::string& name : context.options.ifaces) {
        if (auto iface = context.store.iface(name, warnings)) {
            bindings.push_back(std::move(*iface));
            continue;
        }
        complain("Could not read iface info for {}. Make sure an iface config with the file name and "
                 "iface.iscsi_ifacename {} is in {}.",
                 name, name, context.store.paths().ifaces_dir());
    }
    if (!bindings.empty()) {
        return bindings;
    }
    if (!context.options.ifaces.empty()) {
        return base::fail(base::Errc::not_found);
    }
    auto all = context.store.discovery_ifaces(warnings);
    complain_of(warnings);
    if (!all) {
        complain_lines(all.error().message());
    }
    return all;
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

/// What apply_discovery is to be told: each portal with the interface that it was found through.
base::Result<records::DiscoveryUpdate> update_of(const Context& context, const records::Record& discovery,
                                                 const std::vector<records::NodeId>& found) {
    unsigned ops = context.options.ops;
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
        update.found.push_back({id.target, id.portal, id.iface});
    }
    return update;
}

/// With -d or -j: what became of the records. stdout belongs to the list of portals, and stderr is empty when
/// all went well and nobody asked.
void say_changes(const Context& context, const records::DiscoveryChanges& changes) {
    const std::array<std::pair<std::string_view, const std::vector<records::NodeId>*>, 4> groups{{
        {"added", &changes.added},
        {"kept", &changes.kept},
        {"removed", &changes.removed},
        {"kept, because a session uses it:", &changes.spared},
    }};
    for (const auto& [what, nodes] : groups) {
        for (const records::NodeId& node : *nodes) {
            ipc::Json entry = json_of(node);
            entry["change"] = std::string(nodes == &changes.spared ? "in use" : what);
            add_json("changes", std::move(entry));
            if (context.options.debug_level > 0) {
                complain("{} {}", what, node_title(node));
            }
        }
    }
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
    update->overwrite = config->daemon.text(Key::daemon_rediscovery) == "overwrite";
    auto changes = context.store.apply_discovery(*update, *config);
    if (!changes) {
        return base::fail(changes.error());
    }
    say_changes(context, *changes);
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
    Progress progress("asking " + records::address_port(discovery_portal(discovery)), 1);
    return expect<ipc::DiscoverReply>(progress.wait(*client, id));
}

int could_not_discover(const records::Record& discovery, const base::Error& error) {
    complain_lines(error.detail);
    complain("Could not perform {} discovery: {}",
             discovery.kind() == records::RecordKind::isns ? "iSNS" : "SendTargets", base::text(error.code));
    AdviceList advice;
    advice.add(advice_for(error, discovery));
    advice.say();
    return exit_of(error.code);
}

} // namespace

int discover(const Context& context, const DiscoverySource& source) {
    auto bindings = read_bindings(context);
    if (!bindings) {
        return exit_of(bindings.error().code);
    }
    auto discovery = source();
    if (!discovery) {
        return discovery.error();
    }
    auto reply = ask(context, *discovery, *bindings);
    if (!reply) {
        return could_not_discover(*discovery, reply.error());
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
        if (auto stored = store_found(context, *discovery, *bindings, found); !stored) {
            return complain_of(stored.error());
        }
    }
    for (const records::NodeId& id : found) {
        add_json("found", json_of(id));
    }
    say(context.options.print_level > 0 ? found_sequence(found) : found_list(found));
    return context.options.login ? log_in_found(context, found) : exit_ok;
}

} // namespace iscsi::adm
