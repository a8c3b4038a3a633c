#include "messages.hpp"

#include "base/text.hpp"

namespace iscsi::adm {

void say(std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
}

void complain(std::string_view text) {
    std::fflush(stdout);
    std::string line = fmt::format("iscsiadm: {}\n", text);
    std::fwrite(line.data(), 1, line.size(), stderr);
}

void complain_lines(std::string_view text) {
    for (std::string_view line : base::split(text, '\n')) {
        if (!line.empty()) {
            complain(line);
        }
    }
}

int complain_of(const base::Error& error) {
    complain_lines(error.message());
    return exit_of(error.code);
}

std::string reported(const base::Error& error) {
    return fmt::format("initiator reported error ({} - {})", base::exit_code(error.code),
                       base::text(error.code));
}

int point_to_help() {
    std::fflush(stdout);
    std::fputs("Try `iscsiadm --help' for more information.\n", stderr);
    return exit_of(base::Errc::invalid);
}

bool flush_output() {
    return std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
}

} // namespace iscsi::adm
