// iscsiadm: owns the record database and asks the daemon; it never speaks iSCSI itself.
#include "base/standard_descriptors.hpp"
#include "base/text.hpp"
#include "client.hpp"
#include "context.hpp"
#include "json_output.hpp"
#include "messages.hpp"
#include "privacy.hpp"

#include <cerrno>
#include <strings.h>

namespace iscsi::adm {
namespace {

/// The wait for the answer to a Stop; an error when there is nobody to stop.
base::Result<ipc::Done> ask_to_stop(const records::Store& store) {
    auto client = Client::connect(store.paths());
    if (!client) {
        if (client.error().code == base::Errc::daemon_not_running) {
            complain("can not connect to iSCSI daemon ({})!", ECONNREFUSED);
        }
        return base::fail(client.error());
    }
    auto id = client->post(ipc::Stop{});
    return expect<ipc::Done>(client->wait(id));
}

/// -k. Where no daemon runs the exit code is 0: scripts that stop one which is not there count on it.
int run_stop(const records::Store& store, const std::string& priority) {
    if (priority != "0") {
        return refuse(
            fmt::format("Invalid iscsid priority {}. Priority must be 0.", base::printable(priority)));
    }
    auto done = ask_to_stop(store);
    add_action("stop", ipc::Json::object(), done ? nullptr : &done.error());
    if (done) {
        return exit_ok;
    }
    complain(reported(done.error()));
    complain("Could not stop iscsid. Trying sending iscsid SIGTERM or SIGKILL signals manually");
    return done.error().code == base::Errc::daemon_not_running ? exit_ok : exit_of(done.error().code);
}

int run_mode(const Context& context) {
    switch (*context.options.mode) {
    case Mode::discovery:
    case Mode::discoverydb:
        return run_discovery(context);
    case Mode::node:
        return run_node(context);
    case Mode::session:
        return run_session(context);
    case Mode::iface:
        return run_iface(context);
    case Mode::host:
        return run_host(context);
    case Mode::fw:
        return run_fw(context);
    case Mode::doctor:
        return run_doctor(context);
    case Mode::top:
        return run_top(context);
    case Mode::monitor:
        return run_monitor(context);
    }
    return exit_of(base::Errc::internal);
}

/// A MAC address in place of the host's number. Gives the exit code where no host has it.
std::optional<int> resolve_host(const records::Store& store, Options& options) {
    if (!options.host || options.host->find(':') == std::string::npos) {
        return std::nullopt;
    }
    auto sessions = fetch_sessions(store.paths());
    if (!sessions) {
        return complain_of(sessions.error());
    }
    for (const ipc::SessionSnapshot& session : *sessions) {
        if (::strcasecmp(session.iface.hw_address.c_str(), options.host->c_str()) == 0) {
            options.host = std::to_string(session.host_number);
            return std::nullopt;
        }
    }
    return refuse("Could not match MAC to host.");
}

/// The list of the document that a command is about: it is there even when it is empty.
std::string_view own_list(const Options& options) {
    constexpr unsigned shows = op_show | op_nonpersistent;
    bool discovers = options.mode == Mode::discovery || options.mode == Mode::discoverydb;
    if (discovers && (options.discover || (options.mode == Mode::discovery && options.type))) {
        return "found";
    }
    if (options.statistics) {
        return "sessions";
    }
    if ((options.login && options.mode != Mode::doctor) || options.logout || options.rescan ||
        options.login_all || options.logout_all || options.stop_priority || (options.ops & ~shows) != 0) {
        return "actions";
    }
    switch (options.mode.value_or(Mode::node)) {
    case Mode::discovery:
    case Mode::discoverydb:
        return "discoveries";
    case Mode::session:
        return options.session && options.print_level == 0 ? "nodes" : "sessions";
    case Mode::iface:
        return "interfaces";
    case Mode::host:
        return "hosts";
    case Mode::doctor:
        return "steps";
    case Mode::top:
        return "units";
    case Mode::node:
    case Mode::fw:
    case Mode::monitor:
        break;
    }
    return "nodes";
}

int run(int argc, char** argv) {
    Parsed parsed = parse_options(argc, argv);
    if (parsed.exit_code) {
        return *parsed.exit_code;
    }
    Options& options = parsed.options;
    want_notes(options.debug_level > 0);
    auto paths = records::find_paths();
    if (!paths) {
        complain("{}", paths.error().message());
        return exit_of(paths.error().code);
    }
    records::Store store(std::move(*paths));
    if (options.stop_priority) {
        begin_list(own_list(options));
        return run_stop(store, *options.stop_priority);
    }
    if (options.refused != 0) {
        return refuse(fmt::format("unrecognized character '{}'", static_cast<char>(options.refused)));
    }
    if (!options.mode) {
        return point_to_help();
    }
    if (options.mode != Mode::monitor) { // which has a line an event
        begin_list(own_list(options));
    }
    if (auto wrong = resolve_host(store, options)) {
        return *wrong;
    }
    PortalOrExit portal = portal_of(options);
    if (portal.exit_code) {
        return *portal.exit_code;
    }
    return run_mode(Context{options, store, portal.portal});
}

} // namespace
} // namespace iscsi::adm

int main(int argc, char** argv) {
    iscsi::base::fill_standard_descriptors(iscsi::base::ClosedOutput::refused);
    iscsi::adm::make_private(); // records hold secrets
    int exit_code = iscsi::adm::run(argc, argv);
    iscsi::adm::finish_json(exit_code);
    if (!iscsi::adm::flush_output()) {
        iscsi::adm::complain("stdout cannot be written");
        return exit_code == iscsi::adm::exit_ok ? iscsi::adm::exit_failure : exit_code;
    }
    return exit_code;
}
