// What node and session mode both do with sessions: log in with records, log out, rescan, print counters.
// Each says what happens line by line and gives the exit code, that of the first failure. One thread.
#pragma once

#include "context.hpp"
#include "ipc/snapshot.hpp"
#include "records/record.hpp"

#include <vector>

namespace iscsi::adm {

struct LoginOrder {
    std::vector<records::Record> nodes;
    bool one_more = false; ///< a session beside those that are there (-m session -r SID -o new)
};

/// Logs in with every record at once, as often as node.session.nr_sessions asks for.
int log_in(const Context& context, const LoginOrder& order);

/// Logs out of every session at once; complains when there is none.
int log_out(const Context& context, const std::vector<ipc::SessionSnapshot>& sessions);

int rescan(const Context& context, const std::vector<ipc::SessionSnapshot>& sessions);

int print_statistics(const std::vector<ipc::SessionSnapshot>& sessions);

} // namespace iscsi::adm
