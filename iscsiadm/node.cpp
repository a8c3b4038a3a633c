#include "actions.hpp"
#include "client.hpp"
#include "context.hpp"
#include "matching.hpp"
#include "messages.hpp"
#include "print.hpp"

#include <algorithm>
#include <array>

namespace iscsi::adm {
namespace {

using records::Key;

int invalid(std::string_view complaint) {
    complain(complaint);
    return exit_of(base::Errc::invalid);
}

int no_records_found() {
    complain("No records found");
    return exit_of(base::Errc::not_found);
}

bool is_startup(const records::Record& node, std::string_view wanted) {
    return wanted == "all" || node.text(Key::node_startup) == wanted ||
           node.text(Key::conn_startup) == wanted;
}

/// -L: the records whose startup is the wanted one.
int log_in_all(const Context& context, std::string_view wanted) {
    constexpr std::array<std::string_view, 4> known{"all", "manual", "automatic", "onboot"};
    if (std::ranges::find(known, wanted) == known.end()) {
        complain("Invalid loginall option {}.", wanted);
        return point_to_help();
    }
    auto nodes = read_nodes(context, filter_of(context));
    if (!nodes) {
        return complain_of(nodes.error());
    }
    std::erase_if(*nodes, [&](const records::Record& node) { return !is_startup(node, wanted); });
    if (nodes->empty()) {
        return no_records_found();
    }
    // Of the records with leading_login, the first interface that gets a session is enough for a portal.
    std::vector<records::Record> leading;
    std::erase_if(*nodes, [&](const records::Record& node) {
        bool leads = node.boolean(Key::node_leading_login);
        if (leads) {
            leading.push_back(node);
        }
        return leads;
    });
    int exit_code = nodes->empty() ? exit_ok : log_in(context, LoginOrder{*nodes});
    for (std::size_t i = 0; i < leading.size();) {
        records::NodeId group = node_id(leading[i]);
        int group_exit = exit_of(base::Errc::fatal_login);
        for (; i < leading.size() && node_id(leading[i]).target == group.target &&
               node_id(leading[i]).portal == group.portal;
             ++i) {
            if (group_exit != exit_ok) {
                int done = log_in(context, LoginOrder{{leading[i]}});
                group_exit = done == exit_of(base::Errc::session_exists) ? exit_ok : done;
            }
        }
        exit_code = exit_code == exit_ok ? group_exit : exit_code;
    }
    return exit_code;
}

/// -U: the sessions whose record has the wanted startup. Sessions of the boot are never among them.
int log_out_all(const Context& context, std::string_view wanted) {
    constexpr std::array<std::string_view, 3> known{"all", "manual", "automatic"};
    if (std::ranges::find(known, wanted) == known.end()) {
        complain("Invalid logoutall option {}.", wanted);
        return point_to_help();
    }
    auto sessions = fetch_sessions(context.store.paths());
    if (!sessions) {
        return complain_of(sessions.error());
    }
    auto nodes = read_nodes(context, filter_of(context));
    if (!nodes) {
        return complain_of(nodes.error());
    }
    auto stays = [&](const ipc::SessionSnapshot& session) {
        auto node = std::ranges::find_if(
            *nodes, [&](const records::Record& record) { return runs_on(session, node_id(record)); });
        return node == nodes->end() || node->text(Key::node_startup) == "onboot" ||
               node->text(Key::node_discovery_type) == "fw" || !is_startup(*node, wanted);
    };
    std::erase_if(*sessions, stays);
    return log_out(context, *sessions);
}

int list_nodes(const Context& context) {
    const Options& options = context.options;
    if (options.print_level != 0 && options.print_level != 1) {
        return invalid(fmt::format("Invalid info level {}. Try 0 or 1.", options.print_level));
    }
    auto nodes = read_nodes(context, records::NodeFilter{});
    if (!nodes) {
        return complain_of(nodes.error());
    }
    if (nodes->empty()) {
        return no_records_found();
    }
    say(options.print_level == 1 ? node_tree(*nodes) : node_list(*nodes));
    return exit_ok;
}

int log_in_matching(const Context& context) {
    auto nodes = read_nodes(context, filter_of(context));
    if (!nodes) {
        return complain_of(nodes.error());
    }
    return nodes->empty() ? no_records_found() : log_in(context, LoginOrder{*nodes});
}

/// -u, -R and -s: about the sessions that -T, -p and -I mean.
int act_on_sessions(const Context& context) {
    auto all = fetch_sessions(context.store.paths());
    if (!all) {
        return complain_of(all.error());
    }
    auto sessions = matching_sessions(*all, filter_of(context));
    if (context.options.logout) {
        return log_out(context, sessions);
    }
    return context.options.rescan ? rescan(context, sessions) : print_statistics(sessions);
}

} // namespace

int run_node(const Context& context) {
    const Options& options = context.options;
    if (options.ifaces.size() > 1) {
        return invalid("node mode: only one interface can be given");
    }
    if (options.login_all) {
        return log_in_all(context, *options.login_all);
    }
    if (options.logout_all) {
        return log_out_all(context, *options.logout_all);
    }
    if (options.login && options.logout) {
        return invalid("Invalid parameters. Both login and logout passed in");
    }
    if ((options.login || options.logout) && options.ops != 0) {
        return invalid("Invalid parameters. Login/logout and op passed in");
    }
    if (options.login) {
        return log_in_matching(context);
    }
    if (options.logout || options.rescan || options.statistics) {
        return act_on_sessions(context);
    }
    bool filtered = options.target || options.portal || !options.ifaces.empty();
    return filtered || options.ops != 0 ? run_node_ops(context, filter_of(context)) : list_nodes(context);
}

} // namespace iscsi::adm
