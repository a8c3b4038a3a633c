// The modes discovery and discoverydb. Both keep a record of each discovery address until they are told
// otherwise; discovery with a type makes one where there is none.
#include "client.hpp"
#include "context.hpp"
#include "discover.hpp"
#include "json_output.hpp"
#include "matching.hpp"
#include "messages.hpp"
#include "print.hpp"
#include "records/text.hpp"

#include <array>

namespace iscsi::adm {
namespace {

using records::RecordKind;

int invalid(std::string_view complaint) {
    complain(complaint);
    return exit_of(base::Errc::invalid);
}

RecordKind kind_of(const Options& options) {
    return options.type == DiscoveryType::isns ? RecordKind::isns : RecordKind::send_targets;
}

// ---- lists ----

base::Result<std::vector<records::Record>> read_discoveries(const Context& context, RecordKind kind) {
    records::Warnings warnings;
    auto discoveries = context.store.discoveries(kind, warnings);
    complain_of(warnings);
    return discoveries;
}

int list_flat(const Context& context) {
    bool any = false;
    constexpr std::array kinds{std::pair{RecordKind::send_targets, "sendtargets"},
                               std::pair{RecordKind::isns, "isns"}};
    for (const auto& [kind, name] : kinds) {
        auto discoveries = read_discoveries(context, kind);
        if (!discoveries) {
            return complain_of(discoveries.error());
        }
        for (const records::Record& discovery : *discoveries) {
            records::Portal portal = discovery_portal(discovery);
            add_json("discoveries", json_of_discovery(discovery));
            // IPv6 stands without brackets in this list.
            say("{}:{} via {}\n", portal.address, portal.port, name);
            any = true;
        }
    }
    return any ? exit_ok : exit_of(base::Errc::not_found);
}

ipc::Json json_of_all(const std::vector<records::NodeId>& nodes) {
    ipc::Json array = ipc::Json::array();
    for (const records::NodeId& node : nodes) {
        array.push_back(json_of(node));
    }
    return array;
}

/// A section of the tree; gives whether it held anything.
base::Result<bool> print_addresses(const Context& context, RecordKind kind) {
    auto discoveries = read_discoveries(context, kind);
    if (!discoveries) {
        return base::fail(discoveries.error());
    }
    for (const records::Record& discovery : *discoveries) {
        records::Portal portal = discovery_portal(discovery);
        auto found = context.store.discovered(kind, portal);
        if (!found) {
            return base::fail(found.error());
        }
        ipc::Json entry = json_of_discovery(discovery);
        entry["nodes"] = json_of_all(*found);
        add_json("discoveries", std::move(entry));
        say("DiscoveryAddress: {},{}\n{}", portal.address, portal.port, found_tree(*found));
    }
    return !discoveries->empty();
}

base::Result<bool> print_undiscovered(const Context& context, std::string_view type) {
    auto found = context.store.undiscovered(type);
    if (!found) {
        return base::fail(found.error());
    }
    if (!found->empty()) {
        add_json("discoveries", {{"type", std::string(type)}, {"nodes", json_of_all(*found)}});
    }
    say(found_tree(*found));
    return !found->empty();
}

int list_tree(const Context& context) {
    bool any = false;
    constexpr std::array<std::string_view, 4> titles{"SENDTARGETS", "iSNS", "STATIC", "FIRMWARE"};
    for (std::size_t i = 0; i < titles.size(); ++i) {
        say("{}:\n", titles.at(i));
        auto printed = i == 0   ? print_addresses(context, RecordKind::send_targets)
                       : i == 1 ? print_addresses(context, RecordKind::isns)
                                : print_undiscovered(context, i == 2 ? "static" : "fw");
        if (!printed) {
            return complain_of(printed.error());
        }
        if (!*printed) {
            say("No targets found.\n");
        }
        any = any || *printed;
    }
    return any ? exit_ok : exit_of(base::Errc::not_found);
}

int list(const Context& context) {
    return context.options.print_level > 0 ? list_tree(context) : list_flat(context);
}

// ---- one discovery record ----

base::Result<records::Config> read_config(const Context& context) {
    records::Warnings warnings;
    auto config = context.store.config(warnings);
    note_all(warnings);
    return config;
}

/// A record for -p with the values of iscsid.conf.
base::Result<records::Record> make_record(const Context& context, const records::Config& config) {
    bool is_isns = kind_of(context.options) == RecordKind::isns;
    return records::make_discovery(is_isns ? config.isns : config.send_targets, *context.portal);
}

/// -o new: the record made anew and stored.
base::Result<records::Record> create_record(const Context& context) {
    auto config = read_config(context);
    auto discovery = config ? make_record(context, *config) : base::fail(config.error());
    if (discovery) {
        if (auto written = context.store.write_discovery(*discovery); !written) {
            return base::fail(written.error());
        }
    }
    return discovery;
}

/// What iscsid.conf sets, `made`, goes before what is stored: a secret mended there is used at once. The rest
/// stays as it is stored.
void bring_up_to_date(records::Record& stored, const records::Record& made) {
    for (const records::Field& row : records::fields()) {
        if (row.applies_to(stored.kind()) && made.text(row.key) != row.compiled_default) {
            // Cannot fail: the value comes from a record.
            static_cast<void>(stored.set(row.key, made.text(row.key)));
        }
    }
}

/// -o nonpersistent: the record that a discovery would use, with nothing stored.
base::Result<records::Record> record_unstored(const Context& context, const records::Record& made) {
    records::Warnings warnings;
    auto stored = context.store.discovery(made.kind(), *context.portal, warnings);
    if (stored) {
        bring_up_to_date(*stored, made);
        return stored;
    }
    return stored.error().code == base::Errc::not_found ? made : stored;
}

/// The stored record brought up to date and stored, or made anew when there is none.
base::Result<records::Record> record_kept(const Context& context, const records::Record& made) {
    records::Record used = made;
    auto updated = context.store.update_discovery(made.kind(), *context.portal, [&](records::Record& stored) {
        bring_up_to_date(stored, made);
        used = stored;
        return base::Result<void>();
    });
    if (!updated && updated.error().code == base::Errc::not_found) {
        updated = context.store.write_discovery(made);
    }
    return updated ? base::Result<records::Record>(std::move(used)) : base::fail(updated.error());
}

base::Result<records::Record> record_to_use(const Context& context) {
    auto config = read_config(context);
    auto made = config ? make_record(context, *config) : base::fail(config.error());
    if (!made) {
        return made;
    }
    bool persistent = (context.options.ops & op_nonpersistent) == 0;
    if (config->daemon.text(records::Key::daemon_rediscovery) == "keep") {
        return persistent ? record_kept(context, *made) : record_unstored(context, *made);
    }
    if (persistent) {
        if (auto written = context.store.write_discovery(*made); !written) {
            return base::fail(written.error());
        }
    }
    return made;
}

/// -m discovery -t st: with iscsid.rediscovery = overwrite a record made anew, stored unless nothing is to
/// be.
tl::expected<records::Record, int> record_of_type(const Context& context) {
    auto discovery = record_to_use(context);
    if (!discovery) {
        return tl::unexpected(complain_of(discovery.error()));
    }
    return std::move(*discovery);
}

/// The stored record of -p; the failure has been said. discovery and discoverydb have their own words and
/// codes.
base::Result<records::Record> read_record(const Context& context) {
    records::Warnings warnings;
    auto discovery = context.store.discovery(kind_of(context.options), *context.portal, warnings);
    complain_of(warnings);
    if (discovery) {
        return discovery;
    }
    if (discovery.error().code != base::Errc::not_found) {
        complain_lines(discovery.error().message());
        return discovery;
    }
    bool is_db = context.options.mode == Mode::discoverydb;
    complain("Discovery record [{},{}] not found{}", context.portal->address, context.portal->port,
             is_db ? "." : "!");
    return base::fail(is_db ? base::Errc::database : base::Errc::invalid);
}

/// -D: the stored record; discoverydb makes it when there is none.
tl::expected<records::Record, int> record_stored(const Context& context) {
    records::Warnings warnings;
    auto discovery = context.store.discovery(kind_of(context.options), *context.portal, warnings);
    bool missing = !discovery && discovery.error().code == base::Errc::not_found;
    if (missing && context.options.mode == Mode::discoverydb) {
        return record_of_type(context);
    }
    auto stored = read_record(context);
    if (!stored) {
        return tl::unexpected(exit_of(stored.error().code));
    }
    return std::move(*stored);
}

/// Of the record that -t and -p name.
ipc::Json json_of_portal(const Context& context) {
    return {{"type", kind_of(context.options) == RecordKind::isns ? "isns" : "sendtargets"},
            {"address", context.portal->address},
            {"port", context.portal->port}};
}

int create(const Context& context) {
    auto discovery = create_record(context);
    if (!discovery) {
        add_action("new", json_of_portal(context), &discovery.error());
        return complain_of(discovery.error());
    }
    add_action("new", json_of_discovery(*discovery));
    say("New discovery record for [{},{}] added.\n", context.portal->address, context.portal->port);
    return exit_ok;
}

int update(const Context& context) {
    const Options& options = context.options;
    if (options.values.empty() || options.half_value) {
        return invalid("Update requires name and value.");
    }
    auto change = [&](records::Record& discovery) { return modify_all(discovery, options); };
    auto done = context.store.update_discovery(kind_of(options), *context.portal, change);
    add_action("update", json_of_portal(context), done ? nullptr : &done.error());
    return done ? exit_ok : complain_of(done.error());
}

int remove(const Context& context) {
    auto sessions = fetch_sessions(context.store.paths());
    if (!sessions) {
        return complain_of(sessions.error());
    }
    auto done =
        context.store.remove_discovery(kind_of(context.options), *context.portal, in_use_of(*sessions));
    add_action("delete", json_of_portal(context), done ? nullptr : &done.error());
    return done ? exit_ok : complain_of(done.error());
}

/// -o on the record of -p, or showing it.
int run_record_op(const Context& context) {
    const Options& options = context.options;
    unsigned op = options.ops == 0 ? op_show : options.ops;
    bool is_db = options.mode == Mode::discoverydb;
    if ((op & op_new) != 0 && is_db) {
        return create(context);
    }
    auto discovery = read_record(context);
    if (!discovery) {
        if (op == op_update || op == op_delete) {
            add_action(op_name(op), json_of_portal(context), &discovery.error());
        }
        return exit_of(discovery.error().code);
    }
    if (op == op_show) {
        ipc::Json entry = json_of_discovery(*discovery);
        entry["values"] = values_of(*discovery, options.show_secrets);
        add_json("discoveries", std::move(entry));
        say(records::display_text(*discovery, options.show_secrets));
        return exit_ok;
    }
    if (op == op_delete) {
        return remove(context);
    }
    if (is_db) {
        return op == op_update ? update(context) : invalid("Operation is not supported.");
    }
    return op == op_new || op == op_update
               ? invalid(
                     "Operations new and update for discovery mode is not supported. Use discoverydb mode.")
               : invalid("Invalid operation.");
}

/// Without -p: a list, or the complaint that something is missing.
int run_without_portal(const Context& context) {
    const Options& options = context.options;
    if (options.type) {
        return invalid("Please specify portal as <ipaddr>[:<ipport>]");
    }
    if ((options.ops & ~static_cast<unsigned>(op_show)) == 0) {
        return list(context);
    }
    return invalid(options.mode == Mode::discovery ? "Invalid operation."
                                                   : "Invalid operation. Operation not supported.");
}

bool is_discovering(const Options& options) {
    // discoverydb logs in with what -D finds, and with nothing else.
    return options.discover ||
           (options.mode == Mode::discovery && (options.login || options.type.has_value()));
}

} // namespace

int run_discovery(const Context& context) {
    const Options& options = context.options;
    if (options.type == DiscoveryType::slp) {
        return invalid("SLP discovery is not fully implemented yet.");
    }
    if (options.type == DiscoveryType::fw) {
        return is_discovering(options) ? run_fw(context)
                                       : invalid("Invalid command. Possibly missing --discover argument.");
    }
    if (!context.portal) {
        return run_without_portal(context);
    }
    if (options.mode == Mode::discoverydb && !options.type) {
        return invalid(options.ops == 0
                           ? "Invalid command. Portal not needed or Possibly missing discovery --type."
                           : "Invalid command. Possibly missing discovery --type.");
    }
    if (!is_discovering(options)) {
        return run_record_op(context);
    }
    bool anew = options.mode == Mode::discovery && options.type.has_value();
    if (options.mode == Mode::discovery) {
        return discover(context, [&] { return anew ? record_of_type(context) : record_stored(context); });
    }
    // discoverydb makes its record even when there is no interface to ask through.
    auto record = record_stored(context);
    return record ? discover(context, [&] { return record; }) : record.error();
}

} // namespace iscsi::adm
