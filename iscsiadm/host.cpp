// SCSI hosts, as far as a suite without kernel hosts has them: one for each session, under the number that
// the session's tree shows. What only adapters with firmware have is refused.
#include "base/text.hpp"
#include "client.hpp"
#include "context.hpp"
#include "json_output.hpp"
#include "messages.hpp"
#include "print.hpp"

#include <algorithm>

namespace iscsi::adm {
namespace {

std::string host_line(const ipc::SessionSnapshot& session) {
    const ipc::InterfaceSnapshot& iface = session.iface;
    return fmt::format("{}: [{}] {},[{}],{} {}\n", or_empty(iface.transport), session.host_number,
                       or_empty(iface.ip_address), or_empty(iface.hw_address), or_empty(iface.net_device),
                       or_empty(iface.initiator_name));
}

std::string host_tree(const ipc::SessionSnapshot& session, const Options& options) {
    const ipc::InterfaceSnapshot& iface = session.iface;
    std::string text = fmt::format(
        "Host Number: {}\n\tState: running\n\tTransport: {}\n\tInitiatorname: {}\n\tIPaddress: {}\n"
        "\tHWaddress: {}\n\tNetdev: {}\n",
        session.host_number, or_empty(iface.transport), or_empty(iface.initiator_name),
        or_empty(iface.ip_address), or_empty(iface.hw_address), or_empty(iface.net_device));
    if (options.print_level >= 2) {
        text += "\t*********\n\tSessions:\n\t*********\n";
        TreeStyle style;
        style.parameters = options.print_level >= 3;
        style.disks = options.print_level >= 4;
        style.show_secrets = options.show_secrets;
        style.indent = "\t";
        text += session_tree(std::span(&session, 1), style);
    }
    return text;
}

ipc::Json host_json(const ipc::SessionSnapshot& session, const Options& options) {
    const ipc::InterfaceSnapshot& iface = session.iface;
    return {{"number", session.host_number},
            {"transport", iface.transport},
            {"initiator_name", iface.initiator_name},
            {"ip_address", iface.ip_address},
            {"hw_address", iface.hw_address},
            {"net_device", iface.net_device},
            {"sessions", ipc::Json::array({json_of(session, options.show_secrets)})}};
}

/// -C: tables of adapters with firmware, which software hosts do not have.
int run_submode(const Options& options, const std::vector<ipc::SessionSnapshot>& sessions) {
    auto given = options.host ? base::parse_decimal(*options.host, UINT32_MAX) : std::nullopt;
    if (*options.submode == "chap" && options.ops == 0) {
        return refuse("CHAP mode requires host no and valid operation");
    }
    std::uint64_t number = given.value_or(0);
    if (std::ranges::find(sessions, number, &ipc::SessionSnapshot::host_number) == sessions.end()) {
        complain("Could not read proc_name for host{} rc 5.", number);
        complain("Could not match hostno {} to transport.", number);
        return exit_of(base::Errc::transport_not_found);
    }
    if (*options.submode == "flashnode") {
        complain("No flashnodes attached to host {}.", number);
        return exit_of(base::Errc::not_found);
    }
    complain("{}: {}", *options.submode, base::text(base::Errc::not_supported));
    return exit_of(base::Errc::not_supported);
}

} // namespace

int run_host(const Context& context) {
    const Options& options = context.options;
    bool known_submode = options.submode && (*options.submode == "chap" || *options.submode == "flashnode" ||
                                             *options.submode == "stats");
    if (!known_submode && (options.print_level < 0 || options.print_level > 4)) {
        return refuse(fmt::format("Invalid info level {}. Try 0 - 4.", options.print_level));
    }
    auto sessions = fetch_sessions(context.store.paths());
    if (!sessions) {
        return complain_of(sessions.error());
    }
    if (known_submode) {
        return run_submode(options, *sessions);
    }
    if (options.host && !options.submode) {
        std::erase_if(*sessions, [&](const ipc::SessionSnapshot& session) {
            return std::to_string(session.host_number) != *options.host;
        });
    }
    if (sessions->empty()) {
        complain("No iSCSI hosts.");
        return exit_of(base::Errc::not_found);
    }
    if (options.print_level == 4) {
        say(version_lines());
    }
    for (const ipc::SessionSnapshot& session : *sessions) {
        add_json("hosts", host_json(session, options));
        say(options.print_level == 0 ? host_line(session) : host_tree(session, options));
    }
    return exit_ok;
}

} // namespace iscsi::adm
