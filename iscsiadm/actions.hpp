// What node and session mode both do with sessions: log in with records, log out, rescan, print counters.
// Each says what happens line by line and gives the exit code, that of the first failure. One thread.
#pragma once

#include "context.hpp"
#include "ipc/snapshot.hpp"
#include "records/record.hpp"

#include <cstdint>
#include <tl/expected.hpp>
#include <vector>

namespace iscsi::adm {

enum class Action : std::uint8_t { none, rescan, statistics, login, logout };

/// Which of -R, -s, -l and -u is to be done when several are given, in open-iscsi's order; none of them
/// leaves -o and the lists. `new_is_login`: -o new means one more login, as with -r. Options that exclude
/// each other have been complained about; their exit code.
tl::expected<Action, int> chosen_action(const Options& options, bool new_is_login);

/// Rescan, statistics or logout of these sessions.
int act_on(const Context& context, Action action, const std::vector<ipc::SessionSnapshot>& sessions);

struct LoginOrder {
    std::vector<records::Record> nodes;
    bool one_more = false; ///< a session beside those that are there (-m session -r SID -o new)
    bool boots = false; ///< of boot firmware: a session that is there is as good, failures are not summed up
};

/// Logs in with every record at once, as often as node.session.nr_sessions asks for.
int log_in(const Context& context, const LoginOrder& order);

/// Logs out of every session at once; complains when there is none.
int log_out(const Context& context, const std::vector<ipc::SessionSnapshot>& sessions);

int rescan(const Context& context, const std::vector<ipc::SessionSnapshot>& sessions);

int print_statistics(const std::vector<ipc::SessionSnapshot>& sessions);

} // namespace iscsi::adm
