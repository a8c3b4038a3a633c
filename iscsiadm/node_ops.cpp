#include "client.hpp"
#include "context.hpp"
#include "json_output.hpp"
#include "matching.hpp"
#include "messages.hpp"
#include "print.hpp"
#include "records/text.hpp"

#include <algorithm>

namespace iscsi::adm {
namespace {

using records::Key;

/// The last line of an operation that failed for some record.
int finish(const std::optional<base::Errc>& first_error) {
    if (!first_error) {
        return exit_ok;
    }
    complain("Could not execute operation on all records: {}", base::text(*first_error));
    return exit_of(*first_error);
}

std::vector<records::NodeId> ids_of(const std::vector<records::Record>& nodes) {
    std::vector<records::NodeId> ids;
    ids.reserve(nodes.size());
    for (const records::Record& node : nodes) {
        ids.push_back(node_id(node));
    }
    return ids;
}

int show(const Context& context, const std::vector<records::Record>& nodes) {
    for (const records::Record& node : nodes) {
        ipc::Json entry = json_of(node_id(node));
        entry["values"] = values_of(node, context.options.show_secrets);
        add_json("nodes", std::move(entry));
        say(records::display_text(node, context.options.show_secrets));
    }
    return exit_ok;
}

int update(const Context& context, const std::vector<records::Record>& nodes) {
    std::optional<base::Errc> first_error;
    context.store.update_nodes(
        ids_of(nodes), [&](records::Record& record) { return modify_all(record, context.options); },
        [&](const records::NodeId& id, const base::Result<void>& done) {
            add_action("update", json_of(id), done ? nullptr : &done.error());
            if (!done) {
                complain_lines(done.error().message());
                first_error = first_error.value_or(done.error().code);
            }
        });
    return finish(first_error);
}

int remove(const Context& context, const std::vector<records::Record>& nodes) {
    auto sessions = fetch_sessions(context.store.paths());
    if (!sessions) {
        return complain_of(sessions.error());
    }
    std::optional<base::Errc> first_error;
    context.store.remove_nodes(ids_of(nodes), in_use_of(*sessions),
                               [&](const records::NodeId& id, const base::Result<void>& done) {
                                   add_action("delete", json_of(id), done ? nullptr : &done.error());
                                   if (done) {
                                       return;
                                   }
                                   if (done.error().code == base::Errc::session_exists) {
                                       complain_of_use(id);
                                   } else {
                                       complain_lines(done.error().message());
                                   }
                                   first_error = first_error.value_or(done.error().code);
                               });
    return finish(first_error);
}

/// The interface of -I, or the default one.
base::Result<records::Record> binding_of(const Context& context) {
    if (context.options.ifaces.empty()) {
        return records::make_iface("default");
    }
    return read_iface(context, context.options.ifaces.front());
}

/// Where records are to be made: as given, or, of what was left out, everywhere it is known.
base::Result<std::vector<records::NodeId>> places_of(const Context& context, records::NodeFilter filter) {
    if (context.options.target && context.portal) {
        return std::vector{records::NodeId{*context.options.target, *context.portal, {}}};
    }
    if (!context.options.target && !context.portal) {
        return base::fail(base::Errc::invalid,
                          "Error while adding record: a target name or a portal is needed");
    }
    filter.iface.reset();
    // A record is made anew only where it is named as it is written.
    filter.same_host = nullptr;
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

/// Where no group tag is asked for, the record that there is under one: it stays as it is.
std::optional<records::NodeId> known_under_tag(const Context& context, const records::NodeId& place) {
    if (place.portal.tpgt != records::tpgt_unknown) {
        return std::nullopt;
    }
    records::Warnings ignored;
    auto present = context.store.node(place, ignored);
    bool tagged = present && node_id(*present).portal.tpgt != records::tpgt_unknown;
    return tagged ? std::optional(node_id(*present)) : std::nullopt;
}

base::Result<void> create_one(const Context& context, const records::Record& node_template,
                              const records::NodeId& place, const records::Record& iface) {
    auto node = records::make_node(node_template, place.target, place.portal, iface, records::Origin{});
    if (!node) {
        return base::fail(node.error());
    }
    auto present = known_under_tag(context, node_id(*node));
    auto written = present ? base::Result<records::NodeId>(*present) : context.store.write_node(*node);
    if (!written) {
        return base::fail(written.error());
    }
    add_action("new", json_of(*written));
    say("New iSCSI node [{}:[hw={},ip={},net_if={},iscsi_if={}] {},{},{} {}] added\n",
        iface.text(Key::iface_transport_name), iface.text(Key::iface_hwaddress),
        iface.text(Key::iface_ipaddress), iface.text(Key::iface_net_ifacename), iface.text(Key::iface_name),
        place.portal.address, place.portal.port, place.portal.tpgt, place.target);
    return {};
}

/// What -o new is about, as far as the command line says it.
records::NodeId asked_for(const Context& context) {
    const Options& options = context.options;
    return records::NodeId{options.target.value_or(""), context.portal.value_or(records::Portal{}),
                           options.ifaces.empty() ? "default" : options.ifaces.front()};
}

int create(const Context& context, const records::NodeFilter& filter) {
    auto could_not = [](const records::NodeId& place, const base::Error& error) {
        add_action("new", json_of(place), &error);
        return complain_of(error);
    };
    auto iface = binding_of(context);
    if (!iface) {
        return could_not(asked_for(context), iface.error());
    }
    auto places = places_of(context, filter);
    if (!places) {
        return could_not(asked_for(context), places.error());
    }
    records::Warnings warnings;
    auto config = context.store.config(warnings);
    if (!config) {
        return could_not(asked_for(context), config.error());
    }
    note_all(warnings);
    for (records::NodeId& place : *places) {
        place.iface = iface->text(Key::iface_name);
        if (auto done = create_one(context, config->node, place, *iface); !done) {
            return could_not(place, done.error());
        }
    }
    return exit_ok;
}

/// A session runs on what its record says: the transport does not change below it.
std::optional<int> check_transport_change(const Context& context, const records::NodeFilter& filter) {
    auto sessions = fetch_sessions(context.store.paths());
    if (!sessions) {
        return complain_of(sessions.error());
    }
    if (matching_sessions(*sessions, filter).empty()) {
        return std::nullopt;
    }
    complain("Cannot modify node/iface transport name while a session is using it. Log out the session then "
             "update record.");
    return exit_of(base::Errc::session_exists);
}

/// What can be said about -n and -v before any record is read.
std::optional<int> check_values(const Context& context, const records::NodeFilter& filter) {
    const Options& options = context.options;
    if (options.values.empty() || options.half_value) {
        return refuse("update requires name and value");
    }
    // Interface keys have a mode of their own; the complaint comes once, not for each record.
    records::Record blank(records::RecordKind::node);
    for (const auto& [name, value] : options.values) {
        const records::Field* row = records::find_field(records::RecordKind::node, name);
        if (row != nullptr && row->key == Key::iface_transport_name) {
            if (auto used = check_transport_change(context, filter)) {
                return used;
            }
        }
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

base::Result<void> modify_all(records::Record& record, const Options& options) {
    for (const auto& [name, value] : options.values) {
        if (auto allowed = record.check_modifiable(name); !allowed) {
            return allowed;
        }
    }
    for (const auto& [name, value] : options.values) {
        if (auto done = record.modify(name, value); !done) {
            return done;
        }
    }
    return {};
}

int run_node_ops(const Context& context, const records::NodeFilter& filter) {
    unsigned op = context.options.ops == 0 ? op_show : context.options.ops;
    if (op == op_new) {
        return create(context, filter);
    }
    if (op != op_show && op != op_update && op != op_delete) {
        return refuse("operation is not supported.");
    }
    if (op == op_update) {
        if (auto wrong = check_values(context, filter)) {
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
