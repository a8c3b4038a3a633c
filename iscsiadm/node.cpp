#include "actions.hpp"
#include "client.hpp"
#include "context.hpp"
#include "json_output.hpp"
#include "matching.hpp"
#include "messages.hpp"
#include "option_table.hpp"
#include "print.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace iscsi::adm {
namespace {

using records::Key;

bool is_startup(const records::Record& node, std::string_view wanted) {
    return wanted == "all" || node.text(Key::node_startup) == wanted ||
           node.text(Key::conn_startup) == wanted;
}

/// -L: the records whose startup is the wanted one.
int log_in_all(const Context& context, std::string_view wanted) {
    if (!has_word(words_behind('L', "node"), wanted)) {
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
    if (!has_word(words_behind('U', "node"), wanted)) {
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
    // In their order among those of a target: the first that fits counts.
    std::multimap<std::string_view, const records::Record*> by_target;
    for (const records::Record& node : *nodes) {
        by_target.emplace(node.text(Key::node_name), &node);
    }
    auto stays = [&](const ipc::SessionSnapshot& session) {
        auto [first, last] = by_target.equal_range(session.target);
        auto found = std::find_if(
            first, last, [&](const auto& entry) { return runs_on(session, node_id(*entry.second)); });
        return found == last || found->second->text(Key::node_startup) == "onboot" ||
               found->second->text(Key::node_discovery_type) == "fw" || !is_startup(*found->second, wanted);
    };
    std::erase_if(*sessions, stays);
    return log_out(context, *sessions);
}

int list_nodes(const Context& context) {
    const Options& options = context.options;
    if (options.print_level != 0 && options.print_level != 1) {
        return refuse(fmt::format("Invalid info level {}. Try 0 or 1.", options.print_level));
    }
    auto nodes = read_nodes(context, records::NodeFilter{});
    if (!nodes) {
        return complain_of(nodes.error());
    }
    if (nodes->empty()) {
        return no_records_found();
    }
    for (const records::Record& node : *nodes) {
        add_json("nodes", json_of(node_id(node)));
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

/// -I names an interface that exists, whatever is to be done; the exit code is open-iscsi's. Of several the
/// first one counts.
std::optional<int> check_iface(const Context& context) {
    const Options& options = context.options;
    if (options.ifaces.size() > 1) {
        complain("NODE mode only accepts one interface. Using the first one driver  hwaddress  ipaddress .");
    }
    if (options.ifaces.empty()) {
        return std::nullopt;
    }
    const std::string& name = options.ifaces.front();
    if (auto iface = read_iface(context, name); !iface) {
        complain_of_iface(name, iface.error());
        return exit_of(base::Errc::no_memory);
    }
    return std::nullopt;
}

/// -u, -R and -s: about the sessions that -T, -p and -I mean.
int act_on_sessions(const Context& context, Action action) {
    auto all = fetch_sessions(context.store.paths());
    if (!all) {
        return complain_of(all.error());
    }
    return act_on(context, action, matching_sessions(*all, filter_of(context)));
}

} // namespace

int run_node(const Context& context) {
    const Options& options = context.options;
    if (options.login_all) {
        return log_in_all(context, *options.login_all);
    }
    if (options.logout_all) {
        return log_out_all(context, *options.logout_all);
    }
    if (auto wrong = check_iface(context)) {
        return *wrong;
    }
    // Making a record comes before everything else, and nothing else is done then.
    auto action = options.ops == op_new ? Action::none : chosen_action(options, false);
    if (!action) {
        return action.error();
    }
    if (*action == Action::login) {
        return log_in_matching(context);
    }
    if (*action != Action::none) {
        return act_on_sessions(context, *action);
    }
    bool filtered = options.target || options.portal || !options.ifaces.empty();
    return filtered || options.ops != 0 ? run_node_ops(context, filter_of(context)) : list_nodes(context);
}

} // namespace iscsi::adm
