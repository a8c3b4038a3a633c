#include "actions.hpp"
#include "base/text.hpp"
#include "client.hpp"
#include "context.hpp"
#include "io_look.hpp"
#include "json_output.hpp"
#include "matching.hpp"
#include "messages.hpp"
#include "print.hpp"
#include "session_table.hpp"
#include "terminal.hpp"

#include <algorithm>
#include <unistd.h>

namespace iscsi::adm {
namespace {

/// The record that `session` was logged in with.
records::NodeFilter filter_of(const ipc::SessionSnapshot& session) {
    records::NodeId id = node_id_of(session);
    records::NodeFilter filter;
    filter.target = std::move(id.target);
    filter.portal = std::move(id.portal);
    filter.iface = std::move(id.iface);
    return filter;
}

/// -r SID -o new: another session like this one.
int log_in_again(const Context& context, const ipc::SessionSnapshot& session) {
    auto nodes = read_nodes(context, filter_of(session));
    if (!nodes) {
        return complain_of(nodes.error());
    }
    if (nodes->empty()) {
        return no_records_found();
    }
    return log_in(context, LoginOrder{*nodes, true});
}

int print_sessions(const Context& context, const std::vector<ipc::SessionSnapshot>& sessions) {
    int level = context.options.print_level;
    if (sessions.empty()) {
        complain("No active sessions.");
        return exit_of(base::Errc::not_found);
    }
    if (level < 0 || level > 3) {
        complain("Invalid info level {}. Try 0 - 3.", level);
        return exit_of(base::Errc::invalid);
    }
    for (const ipc::SessionSnapshot& session : sessions) {
        add_json("sessions", json_of(session, context.options.show_secrets));
    }
    if (level == 0) {
        // A person at a terminal who asks for nothing in particular; programs read the list.
        const bool is_plain = !context.options.has_print_level && context.options.ops == 0;
        const auto width = is_plain ? terminal_width(STDOUT_FILENO) : std::nullopt;
        say(width ? session_table(sessions, *width) : session_list(sessions));
        return exit_ok;
    }
    if (level == 3) {
        say(version_lines());
    }
    TreeStyle style;
    style.timeouts_and_chap = level >= 2;
    style.parameters = level >= 2;
    style.disks = level >= 3;
    style.host = level >= 3;
    style.show_secrets = context.options.show_secrets;
    say(session_tree(sessions, style));
    return exit_ok;
}

int run_one(const Context& context, const std::vector<ipc::SessionSnapshot>& sessions) {
    const Options& options = context.options;
    auto session = std::ranges::find(sessions, *options.session, &ipc::SessionSnapshot::sid);
    if (session == sessions.end()) {
        // 5 is the EIO of the kernel's file that a session has in open-iscsi; programs look for the line.
        complain("could not read session targetname: 5");
        complain("Could not get session info for sid {}", *options.session);
        return exit_of(base::Errc::sysfs_lookup);
    }
    std::vector<ipc::SessionSnapshot> one{*session};
    auto action = chosen_action(options, true);
    if (!action) {
        return action.error();
    }
    if (*action == Action::login) {
        return log_in_again(context, *session);
    }
    if (*action != Action::none) {
        return act_on(context, *action, one);
    }
    // Without a print level the record is meant, not the session.
    bool tree = options.ops == 0 && options.print_level != 0;
    return tree ? print_sessions(context, one) : run_node_ops(context, filter_of(*session));
}

} // namespace

int run_session(const Context& context) {
    const Options& options = context.options;
    auto sessions = is_json() ? look_at_io(context.store.paths(), answer_time_max)
                              : fetch_sessions(context.store.paths());
    if (!sessions && sessions.error().code == base::Errc::daemon_not_running) {
        sessions.emplace(); // there are none then
    }
    if (!sessions) {
        return complain_of(sessions.error());
    }
    if (options.session) {
        return run_one(context, *sessions);
    }
    auto only_with_sid = [&] {
        return refuse(fmt::format("session mode: Operation '{}' only allowed with specific session IDs",
                                  op_name(options.ops)));
    };
    if (options.ops == op_new) {
        return only_with_sid();
    }
    auto action = chosen_action(options, false);
    if (!action) {
        return action.error();
    }
    if (*action != Action::none) {
        return act_on(context, *action, *sessions);
    }
    if ((options.ops & ~static_cast<unsigned>(op_show)) != 0) {
        return only_with_sid();
    }
    return print_sessions(context, *sessions);
}

} // namespace iscsi::adm
