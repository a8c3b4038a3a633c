// Targets that the machine's firmware names. This suite reads no firmware tables yet, and says that there is
// none, as on a machine without.
#include "context.hpp"
#include "messages.hpp"

namespace iscsi::adm {

int run_fw(const Context&) {
    complain("Could not get list of targets from firmware. (err {})", exit_of(base::Errc::sysfs_lookup));
    return exit_of(base::Errc::sysfs_lookup);
}

} // namespace iscsi::adm
