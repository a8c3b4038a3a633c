// The modes discovery and discoverydb. Both keep a record of each discovery address; discovery with a type
// makes it anew from iscsid.conf each time, discoverydb keeps it until it is told otherwise.
#include "client.hpp"
#include "context.hpp"
#include "discover.hpp"
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
            // IPv6 stands without brackets in this list.
            say("{}:{} via {}\n", portal.address, portal.port, name);
            any = true;
        }
    }
    return any ? exit_ok : exit_of(base::Errc::not_found);
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
        say("DiscoveryAddress: {},{}\n{}", portal.address, portal.port, found_tree(*found));
    }
    return !discoveries->empty();
}

base::Result<bool> print_undiscovered(const Context& context, std::string_view type) {
    auto found = context.store.undiscovered(type);
    if (!found) {
        return base::fail(found.error());
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
    switch (context.options.print_level) {
    case 0:
        return list_flat(context);
    case 1:
        return list_tree(context);
    default:
        return invalid(fmt::format("Invalid info level {}. Try 0 or 1.", context.options.print_level));
    }
}

// ---- one discovery record ----

/// A record for -p with the values of iscsid.conf.
base::Result<records::Record> make_record(const Context& context) {
    records::Warnings warnings;
    auto config = context.store.config(warnings);
    if (!config) {
        return base::fail(config.error());
    }
    bool is_isns = kind_of(context.options) == RecordKind::isns;
    return records::make_discovery(is_isns ? config->isns : config->send_targets, *context.portal);
}

base::Result<records::Record> create_record(const Context& context) {
    auto discovery = make_record(context);
    if (!discovery) {
        return discovery;
    }
    if (auto written = context.store.write_discovery(*discovery); !written) {
        return base::fail(written.error());
    }
    return discovery;
}

/// -m discovery -t st: with a record made anew, stored unless nothing is to be.
int discover_anew(const Context& context) {
    bool persistent = (context.options.ops & op_nonpersistent) == 0;
    auto discovery = persistent ? create_record(context) : make_record(context);
    return discovery ? discover(context, *discovery) : complain_of(discovery.error());
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

/// -D: with the stored record; discoverydb makes it when there is none.
int discover_stored(const Context& context) {
    records::Warnings warnings;
    auto discovery = context.store.discovery(kind_of(context.options), *context.portal, warnings);
    bool missing = !discovery && discovery.error().code == base::Errc::not_found;
    if (missing && context.options.mode == Mode::discoverydb) {
        return discover_anew(context);
    }
    auto stored = read_record(context);
    return stored ? discover(context, *stored) : exit_of(stored.error().code);
}

int create(const Context& context) {
    auto discovery = create_record(context);
    if (!discovery) {
        return complain_of(discovery.error());
    }
    say("New discovery record for [{},{}] added.\n", context.portal->address, context.portal->port);
    return exit_ok;
}

int update(const Context& context) {
    const Options& options = context.options;
    if (options.values.empty() || options.half_value) {
        return invalid("update requires name and value");
    }
    auto change = [&](records::Record& discovery) -> base::Result<void> {
        for (const auto& [name, value] : options.values) {
            if (auto done = discovery.modify(name, value); !done) {
                return done;
            }
        }
        return {};
    };
    auto done = context.store.update_discovery(kind_of(options), *context.portal, change);
    return done ? exit_ok : complain_of(done.error());
}

int remove(const Context& context) {
    auto sessions = fetch_sessions(context.store.paths());
    if (!sessions) {
        return complain_of(sessions.error());
    }
    auto done =
        context.store.remove_discovery(kind_of(context.options), *context.portal, in_use_of(*sessions));
    return done ? exit_ok : complain_of(done.error());
}

/// -o on the record of -p, or showing it.
int run_record_op(const Context& context) {
    const Options& options = context.options;
    unsigned op = options.ops == 0 ? op_show : options.ops;
    if (op == op_new && options.mode == Mode::discoverydb) {
        return create(context);
    }
    bool updatable = options.mode == Mode::discoverydb;
    if (op != op_show && op != op_delete && !(op == op_update && updatable)) {
        return invalid("operation is not supported.");
    }
    auto discovery = read_record(context);
    if (!discovery) {
        return exit_of(discovery.error().code);
    }
    if (op == op_show) {
        say(records::display_text(*discovery, options.show_secrets));
        return exit_ok;
    }
    return op == op_update ? update(context) : remove(context);
}

bool is_discovering(const Options& options) {
    return options.discover || options.login || (options.mode == Mode::discovery && options.type.has_value());
}

} // namespace

int run_discovery(const Context& context) {
    const Options& options = context.options;
    if (options.type == DiscoveryType::fw) {
        return is_discovering(options) ? run_fw(context)
                                       : invalid("firmware targets have no discovery record; use -D");
    }
    if (!context.portal) {
        return options.type ? invalid("Please specify portal as <ipaddr>[:<ipport>]") : list(context);
    }
    if (!is_discovering(options)) {
        return run_record_op(context);
    }
    if (kind_of(options) == RecordKind::isns) {
        complain("iSNS discovery: {}", base::text(base::Errc::not_supported));
        return exit_of(base::Errc::not_supported);
    }
    bool anew = options.mode == Mode::discovery && options.type.has_value();
    return anew ? discover_anew(context) : discover_stored(context);
}

} // namespace iscsi::adm
