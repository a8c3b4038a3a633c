#include "base/text.hpp"
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

/// "Could not update iface if1: invalid parameter", and its exit code. open-iscsi ends a failed update with
/// 0, and nobody learns of it: here the code is that of the failure.
int could_not(std::string_view verb, std::string_view name, const base::Error& error) {
    add_action(verb, json_of_name(name), &error);
    complain("Could not {} iface {}: {}", verb, base::printable(name), base::text(error.code));
    return exit_of(error.code);
}

ipc::Json json_of_iface(const Context& context, const records::Record& iface) {
    ipc::Json entry = json_of_name(iface.text(Key::iface_name));
    entry["values"] = values_of(iface, context.options.show_secrets);
    return entry;
}

/// What -P 1 shows of one interface or of all; nothing at all when there is no node.
int print_trees(const Context& context, const std::vector<records::Record>& ifaces) {
    auto nodes = read_nodes(context, records::NodeFilter{});
    if (!nodes) {
        return complain_of(nodes.error());
    }
    for (const records::Record& iface : ifaces) {
        ipc::Json entry = json_of_iface(context, iface);
        for (const records::Record& node : *nodes) {
            if (node.text(Key::iface_name) == iface.text(Key::iface_name)) {
                entry["nodes"].push_back(json_of(node_id(node)));
            }
        }
        add_json("interfaces", std::move(entry));
        if (!nodes->empty()) {
            say(iface_tree(iface, *nodes));
        }
    }
    return exit_ok;
}

int list(const Context& context) {
    int level = context.options.print_level;
    if (level != 0 && level != 1) {
        return refuse(fmt::format("Invalid info level {}. Try 0 - 1.", level));
    }
    records::Warnings warnings;
    auto ifaces = context.store.ifaces(warnings);
    complain_of(warnings);
    if (!ifaces) {
        return complain_of(ifaces.error());
    }
    if (level == 1) {
        return print_trees(context, *ifaces);
    }
    for (const records::Record& iface : *ifaces) {
        add_json("interfaces", json_of_iface(context, iface));
        say(iface_line(iface));
    }
    return exit_ok;
}

int show(const Context& context, const std::string& name) {
    if (int level = context.options.print_level; level != 0 && level != 1) {
        return refuse(fmt::format("Invalid info level {}. Try 0 - 1.", level));
    }
    auto iface = read_iface(context, name);
    if (!iface) {
        complain_of_iface(name, iface.error());
        return exit_of(base::Errc::database);
    }
    if (context.options.print_level > 0) {
        return print_trees(context, {*iface});
    }
    add_json("interfaces", json_of_iface(context, *iface));
    say(records::display_text(*iface, context.options.show_secrets));
    return exit_ok;
}

int create(const Context& context, const std::string& name) {
    auto could_not_create = [&](const base::Error& error) {
        complain_lines(error.detail);
        add_action("new", json_of_name(name), &error);
        complain("Could not create new interface {}.", base::printable(name));
        return exit_of(error.code);
    };
    if (context.options.half_value) {
        return could_not_create({base::Errc::invalid, "Update requires name, value, and iface."});
    }
    if (records::is_builtin_iface(name)) {
        return could_not_create(
            {base::Errc::invalid, fmt::format("iface {} is a special interface and is not stored in {}.",
                                              name, context.store.paths().ifaces_dir())});
    }
    auto iface = records::make_iface(name);
    if (!iface) {
        return could_not_create(iface.error());
    }
    // Callers create before each use: of what is there only what they ask for is changed.
    records::Warnings warnings;
    auto present = context.store.iface(name, warnings);
    records::Record wanted = present ? *present : *iface;
    if (auto set = modify_all(wanted, context.options); !set) {
        return could_not_create(set.error());
    }
    if (!present || wanted != *present) {
        auto written =
            present ? context.store.update_iface(
                          name, [&](records::Record& record) { return modify_all(record, context.options); })
                    : context.store.write_iface(wanted);
        if (!written) {
            return could_not_create(written.error());
        }
    }
    add_action("new", json_of_name(name));
    say("{} updated.\nNew interface {} added\n", name, name);
    return exit_ok;
}

/// Whether the name itself is to be changed.
bool renames(const Options& options) {
    return std::ranges::any_of(
        options.values, [](const auto& pair) { return pair.first == records::field(Key::iface_name).name; });
}

int update(const Context& context, const std::string& name) {
    const Options& options = context.options;
    if (options.values.empty() || options.half_value) {
        return refuse("Update requires name, value, and iface.");
    }
    auto present = read_iface(context, name);
    if (!present) {
        add_action("update", json_of_name(name), &present.error());
        complain_of_iface(name, present.error());
        return exit_of(base::Errc::invalid);
    }
    if (renames(options)) {
        auto refused = present->check_modifiable(records::field(Key::iface_name).name);
        complain_lines(refused.error().detail);
        return could_not("update", name, refused.error());
    }
    if (records::is_builtin_iface(name)) {
        complain("iface {} is a special interface and cannot be modified.", name);
        return could_not("update", name, base::Error{base::Errc::invalid, {}});
    }
    auto change = [&](records::Record& iface) { return modify_all(iface, options); };
    if (auto done = context.store.update_iface(name, change); !done) {
        complain_lines(done.error().detail);
        return could_not("update", name, done.error());
    }
    add_action("update", json_of_name(name));
    say("{} updated.\n", name);
    return exit_ok;
}

/// Complains of every record of the interface that a session uses.
base::Result<bool> is_in_use(const Context& context, const std::string& name, const records::InUse& in_use) {
    records::NodeFilter bound;
    bound.iface = name;
    auto nodes = read_nodes(context, bound);
    if (!nodes) {
        return base::fail(nodes.error());
    }
    bool used = false;
    for (const records::Record& node : *nodes) {
        if (in_use(node_id(node))) {
            complain_of_use(node_id(node));
            used = true;
        }
    }
    return used;
}

int remove(const Context& context, const std::string& name) {
    if (auto present = read_iface(context, name); !present) {
        complain_of_iface(name, present.error());
        return could_not("delete", name, base::Error{base::Errc::invalid, {}});
    }
    auto sessions = fetch_sessions(context.store.paths());
    if (!sessions) {
        return complain_of(sessions.error());
    }
    records::InUse in_use = in_use_of(*sessions);
    auto used = is_in_use(context, name, in_use);
    if (!used) {
        return complain_of(used.error());
    }
    if (*used) {
        return could_not("delete", name, base::Error{base::Errc::session_exists, {}});
    }
    if (records::is_builtin_iface(name)) {
        complain("iface {} is a special interface and cannot be deleted.", name);
        return could_not("delete", name, base::Error{base::Errc::invalid, {}});
    }
    if (auto done = context.store.remove_iface(name, in_use); !done) {
        complain_lines(done.error().detail);
        return could_not("delete", name, done.error());
    }
    add_action("delete", json_of_name(name));
    say("{} unbound and deleted.\n", name);
    return exit_ok;
}

int could_not_read(std::string_view action, std::string_view name, const base::Error& error) {
    add_action(action, json_of_name(name), &error);
    complain("Could not read iface {} ({}).", base::printable(name), exit_of(base::Errc::database));
    return exit_of(base::Errc::database);
}

/// What an adapter's firmware would be told; a software interface has nothing to be told.
int apply(const Context& context, const std::string& name) {
    if (auto iface = read_iface(context, name); !iface) {
        return could_not_read("apply", name, iface.error());
    }
    complain("Nothing to configure.");
    add_action("apply", json_of_name(name));
    say("{} applied.\n", name);
    return exit_ok;
}

/// As apply(), for all interfaces of a host.
int apply_all(const Context& context) {
    if (!context.options.host) {
        return refuse("Applyall requires a host number or MAC.");
    }
    auto sessions = fetch_sessions(context.store.paths());
    if (!sessions) {
        return complain_of(sessions.error());
    }
    const std::string& host = *context.options.host;
    if (std::ranges::none_of(*sessions, [&](const ipc::SessionSnapshot& session) {
            return std::to_string(session.host_number) == host;
        })) {
        base::Error no_host{base::Errc::host_not_found, {}};
        add_action("applyall", {{"host", host}}, &no_host);
        complain("Could not read proc_name for host{} rc 5.", base::printable(host));
        return exit_of(no_host.code);
    }
    complain("Nothing to configure.");
    add_action("applyall", {{"host", host}});
    say("Applied settings to ifaces attached to host{}.\n", host);
    return exit_ok;
}

/// What only an adapter's firmware can send.
int ping(const Context& context) {
    const Options& options = context.options;
    if (options.ifaces.empty()) {
        return refuse("Ping requires iface.");
    }
    if (!options.ping_address) {
        return refuse("Ping requires destination ipaddress.");
    }
    const std::string& name = options.ifaces.front();
    if (auto iface = read_iface(context, name); !iface) {
        return could_not_read("ping", name, iface.error());
    }
    base::Error error{base::Errc::not_supported, {}};
    add_action("ping", json_of_name(name), &error);
    complain("ping: {}", base::text(error.code));
    return exit_of(error.code);
}

/// An operation without -I.
int without_iface(const Context& context) {
    switch (context.options.ops) {
    case 0:
    case op_show:
        return list(context);
    case op_new:
        complain("Could not add interface. No interface passed in.");
        return exit_of(base::Errc::sysfs_lookup);
    case op_delete:
        return refuse("Could not delete interface. No interface passed in.");
    case op_update:
        return refuse("Update requires name, value, and iface.");
    case op_apply:
        return refuse("Apply requires iface.");
    default:
        return refuse("operation is not supported.");
    }
}

} // namespace

int run_iface(const Context& context) {
    const Options& options = context.options;
    if (options.ifaces.size() > 1) {
        complain("iface mode only accepts one interface. Using the first one {}.",
                 base::printable(options.ifaces.front()));
    }
    if (options.submode == "ping") {
        return ping(context);
    }
    if (options.ops == op_apply_all) {
        return apply_all(context);
    }
    if (options.ifaces.empty()) {
        return without_iface(context);
    }
    const std::string& name = options.ifaces.front();
    switch (options.ops) {
    case 0:
    case op_show:
        return show(context, name);
    case op_new:
        return create(context, name);
    case op_update:
        return update(context, name);
    case op_delete:
        return remove(context, name);
    case op_apply:
        return apply(context, name);
    default:
        return refuse("operation is not supported.");
    }
}

} // namespace iscsi::adm
