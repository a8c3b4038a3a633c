#include "control/journal.hpp"

#include "base/text.hpp"
#include "scsi/capacity.hpp"

#include <array>
#include <cstdint>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

namespace iscsi::control {

std::string journal_field(std::string_view name, std::string_view value) {
    std::string field(name);
    if (value.find('\n') == std::string_view::npos) {
        field += '=';
    } else {
        field += '\n';
        for (unsigned shift = 0; shift < 64; shift += 8) {
            field += static_cast<char>(std::uint64_t{value.size()} >> shift & 0xff);
        }
    }
    field += value;
    field += '\n';
    return field;
}

int syslog_priority(ipc::Level level) {
    // What is information here tells of a session's life: syslog's notice.
    constexpr std::array priorities{LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_DEBUG};
    return priorities[static_cast<std::size_t>(level)];
}

std::string journal_entry(ipc::Level level, const log::About& about, std::string_view line) {
    std::string entry = journal_field("MESSAGE", line);
    entry += journal_field("PRIORITY", std::to_string(syslog_priority(level)));
    entry += journal_field("SYSLOG_FACILITY", std::to_string(LOG_FAC(LOG_DAEMON)));
    entry += journal_field("SYSLOG_IDENTIFIER", "iscsid");
    entry += journal_field("SYSLOG_PID", std::to_string(::getpid()));
    entry += journal_field("ISCSI_EVENT", ipc::row_of(about.event).name);
    const auto add = [&entry](std::string_view name, const std::string& value) {
        if (!value.empty()) {
            entry += journal_field(name, value);
        }
    };
    add("ISCSI_SESSION", about.sid ? std::to_string(*about.sid) : "");
    add("ISCSI_TARGET", about.target);
    add("ISCSI_PORTAL", about.portal);
    add("ISCSI_INTERFACE", about.iface);
    add("ISCSI_LUN", about.lun ? std::to_string(scsi::lun_number(*about.lun)) : "");
    add("ISCSI_DEVICE", about.device);
    return entry;
}

bool is_journal(const char* journal_stream, int fd) {
    const std::string_view text = journal_stream == nullptr ? "" : journal_stream;
    const auto colon = text.find(':');
    struct stat info {};
    if (colon == std::string_view::npos || ::fstat(fd, &info) != 0) {
        return false;
    }
    return base::parse_decimal(text.substr(0, colon)) == std::uint64_t{info.st_dev} &&
           base::parse_decimal(text.substr(colon + 1)) == std::uint64_t{info.st_ino};
}

} // namespace iscsi::control
