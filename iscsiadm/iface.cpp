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

int invalid(std::string_view complaint) {
    complain(complaint);
    return exit_of(base::Errc::invalid);
}

/// "Could not update iface if1: invalid parameter", and its exit code. open-iscsi ends a failed update with
/// 0, and nobody learns of it: here the code is that of the failure.
int could_not(std::string_view verb, std::string_view name, const base::Error& error) {
    complain("Could not {} iface {}: {}", verb, name, base::text(error.code));
    return exit_of(error.code);
}

int list(const Context& context) {
    int level = context.options.print_level;
    if (level != 0 && level != 1) {
        return invalid(fmt::format("Invalid info level {}. Try 0 - 1.", level));
    }
    records::Warnings warnings;
    auto ifaces = context.store.ifaces(warnings);
    complain_of(warnings);
    if (!ifaces) {
        return complain_of(ifaces.error());
    }
    if (level == 0) {
        for (const records::Record& iface : *ifaces) {
            say(iface_line(iface));
        }
        return exit_ok;
    }
    auto nodes = read_nodes(context, records::NodeFilter{});
    if (!nodes) {
        return complain_of(nodes.error());
    }
    // Without any node there is no tree at all.
    for (const records::Record& iface : *ifaces) {
        if (!nodes->empty()) {
            say(iface_tree(iface, *nodes));
        }
    }
    return exit_ok;
}

int show(const Context& context, const std::string& name) {
    records::Warnings warnings;
    auto iface = context.store.iface(name, warnings);
    complain_of(warnings);
    if (!iface) {
        complain("Could not read iface info for {}.", name);
        return exit_of(iface.error().code);
    }
    say(records::display_text(*iface, context.options.show_secrets));
    return exit_ok;
}

int create(const Context& context, const std::string& name) {
    if (records::is_builtin_iface(name)) {
        complain("iface {} is a special interface and cannot be created.", name);
        return could_not("create", name, base::Error{base::Errc::invalid, {}});
    }
    auto iface = records::make_iface(name);
    if (!iface) {
        return complain_of(iface.error());
    }
    // Callers create before each use; what is there stays as it is.
    records::Warnings warnings;
    if (!context.store.iface(name, warnings)) {
        if (auto written = context.store.write_iface(*iface); !written) {
            complain_lines(written.error().detail);
            return could_not("create", name, written.error());
        }
    }
    say("{} updated.\nNew interface {} added\n", name, name);
    return exit_ok;
}

/// How an interface is bound can be set once: records and sessions already use it.
base::Result<void> check_binding(const records::Record& before, const records::Record& after) {
    constexpr std::array bindings{std::pair{Key::iface_hwaddress, "hwaddress"},
                                  std::pair{Key::iface_net_ifacename, "net_ifacename"}};
    for (std::size_t i = 0; i < bindings.size(); ++i) {
        const auto& [old_key, old_name] = bindings.at(i);
        const auto& [new_key, new_name] = bindings.at(1 - i);
        if (!before.text(old_key).empty() && before.text(new_key).empty() && !after.text(new_key).empty()) {
            return base::fail(
                base::Errc::invalid,
                fmt::format("Can not update interface binding from {} to {}. You must delete the "
                            "interface and create a new one",
                            old_name, new_name));
        }
    }
    return {};
}

int update(const Context& context, const std::string& name) {
    const Options& options = context.options;
    if (options.values.empty() || options.half_value) {
        return invalid("update requires name and value");
    }
    if (records::is_builtin_iface(name)) {
        complain("iface {} is a special interface and cannot be modified.", name);
        return could_not("update", name, base::Error{base::Errc::invalid, {}});
    }
    auto change = [&](records::Record& iface) -> base::Result<void> {
        records::Record before = iface;
        for (const auto& [key, value] : options.values) {
            if (auto done = iface.modify(key, value); !done) {
                return done;
            }
        }
        return check_binding(before, iface);
    };
    if (auto done = context.store.update_iface(name, change); !done) {
        complain_lines(done.error().detail);
        return could_not("update", name, done.error());
    }
    say("{} updated.\n", name);
    return exit_ok;
}

int remove(const Context& context, const std::string& name) {
    if (records::is_builtin_iface(name)) {
        complain("iface {} is a special interface and cannot be deleted.", name);
        return could_not("delete", name, base::Error{base::Errc::invalid, {}});
    }
    records::Warnings warnings;
    if (!context.store.iface(name, warnings)) {
        return invalid(fmt::format("Could not read iface info for {}.", name));
    }
    auto sessions = fetch_sessions(context.store.paths());
    if (!sessions) {
        return complain_of(sessions.error());
    }
    if (auto done = context.store.remove_iface(name, in_use_of(*sessions)); !done) {
        complain_lines(done.error().detail);
        return could_not("delete", name, done.error());
    }
    say("{} unbound and deleted.\n", name);
    return exit_ok;
}

/// What an adapter's firmware would be told; a software interface has nothing to be told.
int apply(const Context& context, const std::string& name) {
    records::Warnings warnings;
    auto iface = context.store.iface(name, warnings);
    if (!iface) {
        complain("Could not read iface info for {}.", name);
        return exit_of(iface.error().code);
    }
    complain("Nothing to configure.");
    say("{} applied.\n", name);
    return exit_ok;
}

int not_supported(std::string_view what) {
    complain("{}: {}", what, base::text(base::Errc::not_supported));
    return exit_of(base::Errc::not_supported);
}

} // namespace

int run_iface(const Context& context) {
    const Options& options = context.options;
    if (options.submode == "ping") {
        return options.ifaces.empty() ? invalid("Ping requires iface.") : not_supported("ping");
    }
    if (options.ops == op_apply_all) {
        return options.host ? not_supported("applyall") : invalid("Applyall requires a host number or MAC.");
    }
    if (options.ifaces.empty()) {
        bool plain = options.ops == 0 || options.ops == op_show;
        return plain ? list(context) : invalid("iface mode: the operation needs an interface (-I)");
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
        return invalid("operation is not supported.");
    }
}

} // namespace iscsi::adm
