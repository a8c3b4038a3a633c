#include "actions.hpp"
#include "base/text.hpp"
#include "client.hpp"
#include "context.hpp"
#include "matching.hpp"
#include "messages.hpp"
#include "print.hpp"

#include <algorithm>
#include <filesystem>

namespace iscsi::adm {
namespace {

std::optional<std::uint32_t> parse_sid(std::string_view text) {
    auto sid = base::parse_decimal(text, UINT32_MAX);
    return sid && *sid != 0 ? std::optional(static_cast<std::uint32_t>(*sid)) : std::nullopt;
}

/// The number of -r: a session's number, or an existing path at or below a directory "session<number>".
std::optional<std::uint32_t> sid_of(const std::string& text) {
    if (auto sid = parse_sid(text)) {
        return sid;
    }
    std::error_code error;
    std::filesystem::path path = std::filesystem::canonical(text, error);
    if (error) {
        path = std::filesystem::canonical("/sys/" + text, error);
    }
    std::optional<std::uint32_t> sid;
    constexpr std::string_view prefix = "session";
    for (const std::filesystem::path& part : path) {
        std::string name = part.string();
        if (name.starts_with(prefix)) {
            auto number = parse_sid(std::string_view(name).substr(prefix.size()));
            sid = number ? number : sid;
        }
    }
    return sid;
}

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
        complain("No records found");
        return exit_of(base::Errc::not_found);
    }
    return log_in(context, LoginOrder{*nodes, true});
}

int print_sessions(const Context& context, const std::vector<ipc::SessionSnapshot>& sessions) {
    int level = context.options.print_level;
    if (sessions.empty()) {
        complain("No active sessions.");
        return exit_of(base::Errc::not_found);
    }
    if (level == 0) {
        say(session_list(sessions));
        return exit_ok;
    }
    if (level == 3) {
        say(version_lines());
    }
    say(session_tree(sessions, TreeStyle{level, context.options.show_secrets}));
    return exit_ok;
}

/// -u, -R and -s; empty when none of them was given.
std::optional<int> act(const Context& context, const std::vector<ipc::SessionSnapshot>& sessions) {
    if (context.options.logout) {
        return log_out(context, sessions);
    }
    if (context.options.rescan) {
        return rescan(context, sessions);
    }
    if (context.options.statistics) {
        return print_statistics(sessions);
    }
    return std::nullopt;
}

int run_one(const Context& context, const std::vector<ipc::SessionSnapshot>& sessions) {
    auto sid = sid_of(*context.options.session);
    if (!sid) {
        complain("{} is an invalid session ID or path", *context.options.session);
        return exit_failure;
    }
    auto session = std::ranges::find(sessions, *sid, &ipc::SessionSnapshot::sid);
    if (session == sessions.end()) {
        complain("could not read session targetname: 5");
        complain("Could not get session info for sid {}", *sid);
        return exit_of(base::Errc::sysfs_lookup);
    }
    std::vector<ipc::SessionSnapshot> one{*session};
    if (context.options.ops == op_new) {
        return log_in_again(context, *session);
    }
    if (context.options.ops != 0) {
        return run_node_ops(context, filter_of(*session));
    }
    if (auto done = act(context, one)) {
        return *done;
    }
    // Without a print level the record is meant, not the session.
    return context.options.print_level > 0 ? print_sessions(context, one)
                                           : run_node_ops(context, filter_of(*session));
}

} // namespace

int run_session(const Context& context) {
    const Options& options = context.options;
    if (options.print_level < 0 || options.print_level > 3) {
        complain("Invalid info level {}. Try 0 - 3.", options.print_level);
        return exit_of(base::Errc::invalid);
    }
    auto sessions = fetch_sessions(context.store.paths());
    if (!sessions) {
        return complain_of(sessions.error());
    }
    if (options.session) {
        return run_one(context, *sessions);
    }
    if ((options.ops & ~static_cast<unsigned>(op_show)) != 0) {
        complain("session mode: Operation '{}' only allowed with specific session IDs",
                 (options.ops & op_new) != 0      ? "new"
                 : (options.ops & op_update) != 0 ? "update"
                                                  : "delete");
        return exit_of(base::Errc::invalid);
    }
    if (auto done = act(context, *sessions)) {
        return *done;
    }
    return print_sessions(context, *sessions);
}

} // namespace iscsi::adm
