// iscsiadm: owns the record database and asks the daemon; it never speaks iSCSI itself.
#include "client.hpp"
#include "context.hpp"
#include "messages.hpp"

#include <cerrno>
#include <sys/stat.h>

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

/// -k. The exit code is 0 whatever happens: scripts that stop a daemon which is not there count on it.
int run_stop(const records::Store& store, int priority) {
    if (priority != 0) {
        complain("Invalid iscsid priority {}. Priority must be 0.", priority);
        return exit_ok;
    }
    if (auto done = ask_to_stop(store); !done) {
        complain(reported(done.error()));
        complain("Could not stop iscsid. Trying sending iscsid SIGTERM or SIGKILL signals manually");
    }
    return exit_ok;
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
    }
    return exit_of(base::Errc::internal);
}

int run(int argc, char** argv) {
    Parsed parsed = parse_options(argc, argv);
    if (parsed.exit_code) {
        return *parsed.exit_code;
    }
    const Options& options = parsed.options;
    records::Store store(records::Paths::from_environment());
    if (options.stop_priority) {
        return run_stop(store, *options.stop_priority);
    }
    if (options.unknown_mode) {
        complain("mode -1 is not yet supported");
        return exit_of(base::Errc::invalid);
    }
    if (!options.mode) {
        return point_to_help();
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
    // Records hold secrets: whatever is created is for root alone.
    umask(S_IRWXG | S_IRWXO);
    int exit_code = iscsi::adm::run(argc, argv);
    if (!iscsi::adm::flush_output()) {
        iscsi::adm::complain("stdout cannot be written");
        return exit_code == iscsi::adm::exit_ok ? iscsi::adm::exit_failure : exit_code;
    }
    return exit_code;
}
