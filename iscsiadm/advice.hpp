// What a person may try when a login or a discovery has failed: which key, which secret, which portal to look
// at. It goes to stderr behind the lines that open-iscsi has, which programs read, and never holds a secret.
// Module state: none; one thread, as messages.hpp.
#pragma once

#include "base/error.hpp"
#include "records/record.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace iscsi::adm {

/// Where no daemon runs.
inline constexpr std::string_view advice_without_daemon =
    "'systemctl start iscsid.socket', or 'iscsid'; 'journalctl -u iscsid' says why it ended";

/// One line, safe to print, for a failure with this node or discovery record; empty when nothing more is
/// known than the failure itself says.
std::string advice_for(const base::Error& error, const records::Record& record);

/// Advice for many failures: the same line once, and no more lines than a person reads.
class AdviceList {
public:
    void add(std::string line);
    /// Complains of all of it, each line behind "Try: ".
    void say() const;

private:
    std::vector<std::string> lines_;
};

} // namespace iscsi::adm
