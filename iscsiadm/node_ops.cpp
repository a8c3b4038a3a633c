#include "client.hpp"
#include "context.hpp"
#include "matching.hpp"
#include "messages.hpp"
#include "print.hpp"
#include "records/text.hpp"

#include <algorithm>

namespace iscsi::adm {
namespace {

using records::Key;

int no_records_found() {
    complain("No records found");
    return exit_of(base::Errc::not_found);
}

/// The last line of an operation that failed for some record.
int finish(const std::optional<base::Errc>& first_error) {
    if (!first_error) {
        return exit_ok;
    }
    complain("Could not execute operation on all records: {}", base::text(*first_error));
    return exit_of(*first_error);
}

int show(const Context& context, const std::vector<records::Record>& nodes) {
    for (const records::Record& node : nodes) {
        say(records::display_text(node, context.options.show_secrets));
    }
    return exit_ok;
}

/// All pairs or none. Names are looked at before the first value is set.
base::Result<void> modify_all(records::Record& record,
                              const std::vector<std::pair<std::string, std::string>>& values) {
    for (const auto& [name, value] : values) {
        if (auto allowed = record.check_modifiable(name); !allowed) {
            return allowed;
        }
    }
    for (const auto& [name, value] : values) {
        if (auto done = record.modify(name, value); !done) {
            return done;
        }
    }
    return {};
}

int update(const Context& context, const std::vector<records::Record>& nodes) {
    const auto& values = context.options.values;
    std::optional<base::Errc> first_error;
    for (const records::Record& node : nodes) {
        auto done = context.store.update_node(
            node_id(node), [&](records::Record& record) { return modify_all(record, values); });
        if (!done) {
            complain_lines(done.error().message());
            first_error = first_error.value_or(done.error().code);
        }
    }
    return finish(first_error);
}

int remove(const Context& context, const std::vector<records::Record>& nodes) {
    auto sessions = fetch_sessions(context.store.paths());
    if (!sessions) {
        return complain_of(sessions.error());
    }
    records::InUse in_use = in_use_of(*sessions);
    std::optional<base::Errc> first_error;
    for (const records::Record& node : nodes) {
        records::NodeId id = node_id(node);
        if (in_use(id)) {
            complain("This command will remove the record {}, but a session is using it. Logout session then "
                     "rerun command to remove record.",
                     node_title(id));
            first_error = first_error.value_or(base::Errc::session_exists);
            continue;
        }
        if (auto done = context.store.remove_node(id); !done) {
            complain_lines(done.error().message());
            first_error = first_error.value_or(done.error().code);
        }
    }
    return finish(first_error);
}

/// The interface of -I, or the default one.
base::Result<records::Record> binding_of(const Context& context) {
    if (context.options.ifaces.empty()) {
        return records::make_iface("default");
    }
    records::Warnings warnings;
    return context.store.iface(context.options.ifaces.front(), warnings);
}

/// Where records are to be made: as given, or, of what was left out, everywhere it is known.
base::Result<std::vector<records::NodeId>> places_of(const Context& context, records::NodeFilter filter) {
    if (context.options.target && context.portal) {
        return std::vector{records::NodeId{*context.options.target, *context.portal, {}}};
    }
    if (!context.options.target && !context.portal) {
        return base::fail(base::Errc::invalid, "-o new needs a target name or a portal");
    }
    filter.iface.reset();
    auto known = read_nodes(context, filter);
    if (!known) {
        return base::fail(known.error());
    }
    std::vector<records::NodeId> places;
    for (const records::Record& node : *known) {
        records::NodeId id = node_id(node);
        id.iface.clear();
        if (std::ranges::find(places, id) == places.end()) {
            places.push_back(std::move(id));
        }
    }
    if (places.empty()) {
        return base::fail(base::Errc::not_found,
                          "Error while adding record: no such target or portal is known");
    }
    return places;
}

base::Result<void> create_one(const Context& context, const records::Record& node_template,
                              const records::NodeId& place, const records::Record& iface) {
    auto node = records::make_node(node_template, place.target, place.portal, iface, records::Origin{});
    if (!node) {
        return base::fail(node.error());
    }
    if (auto written = context.store.write_node(*node); !written) {
        return base::fail(written.error());
    }
    say("New iSCSI node [{}:[hw={},ip={},net_if={},iscsi_if={}] {},{},{} {}] added\n",
        iface.text(Key::iface_transport_name), iface.text(Key::iface_hwaddress),
        iface.text(Key::iface_ipaddress), iface.text(Key::iface_net_ifacename), iface.text(Key::iface_name),
        place.portal.address, place.portal.port, place.portal.tpgt, place.target);
    return {};
}

int create(const Context& context, const records::NodeFilter& filter) {
    auto iface = binding_of(context);
    if (!iface) {
        complain("Could not read iface info for {}.", context.options.ifaces.front());
        return exit_of(iface.error().code);
    }
    auto places = places_of(context, filter);
    if (!places) {
        return complain_of(places.error());
    }
    records::Warnings warnings;
    auto config = context.store.config(warnings);
    if (!config) {
        return complain_of(config.error());
    }
    for (const records::NodeId& place : *places) {
        if (auto done = create_one(context, config->node, place, *iface); !done) {
            return complain_of(done.error());
        }
    }
    return exit_ok;
}

/// What can be said about -n and -v before any record is read.
std::optional<int> check_values(const Options& options) {
    if (options.values.empty() || options.half_value) {
        complain("update requires name and value");
        return exit_of(base::Errc::invalid);
    }
    // Interface keys have a mode of their own; the complaint comes once, not for each record.
    records::Record blank(records::RecordKind::node);
    for (const auto& [name, value] : options.values) {
        if (!name.starts_with("iface.")) {
            continue;
        }
        if (auto allowed = blank.check_modifiable(name); !allowed) {
            return complain_of(allowed.error());
        }
    }
    return std::nullopt;
}

} // namespace

int run_node_ops(const Context& context, const records::NodeFilter& filter) {
    unsigned op = context.options.ops == 0 ? op_show : context.options.ops;
    if (op == op_new) {
        return create(context, filter);
    }
    if (op != op_show && op != op_update && op != op_delete) {
        complain("operation is not supported.");
        return exit_of(base::Errc::invalid);
    }
    if (op == op_update) {
        if (auto wrong = check_values(context.options)) {
            return *wrong;
        }
    }
    auto nodes = read_nodes(context, filter);
    if (!nodes) {
        return complain_of(nodes.error());
    }
    if (nodes->empty()) {
        return no_records_found();
    }
    if (op == op_show) {
        return show(context, *nodes);
    }
    return op == op_update ? update(context, *nodes) : remove(context, *nodes);
}

} // namespace iscsi::adm
