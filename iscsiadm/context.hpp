// What every mode works with: the command line, the record database and the portal of -p. Borrowed for the
// run of one command; one thread.
#pragma once

#include "options.hpp"
#include "records/store.hpp"

#include <optional>

namespace iscsi::adm {

struct Context {
    const Options& options;
    const records::Store& store;
    std::optional<records::Portal> portal; ///< of -p
};

// One file per mode. Each gives the exit code.
int run_discovery(const Context& context); ///< discovery and discoverydb
int run_node(const Context& context);
int run_session(const Context& context);
int run_iface(const Context& context);
int run_host(const Context& context);
int run_fw(const Context& context);
int run_doctor(const Context& context);
int run_top(const Context& context);
int run_monitor(const Context& context);

/// -n and -v on one record: all pairs or none. Names are looked at before the first value is set.
base::Result<void> modify_all(records::Record& record, const Options& options);

/// The operations of -o on node records (new, update, delete, show), for node mode and for the record of one
/// session.
int run_node_ops(const Context& context, const records::NodeFilter& filter);

} // namespace iscsi::adm
