#include "messages.hpp"

#include "base/text.hpp"
#include "json_output.hpp"

namespace iscsi::adm {
namespace {

bool& notes_are_wanted() {
    static bool wanted = false;
    return wanted;
}

} // namespace

void say(std::string_view text) {
    if (is_json()) {
        return;
    }
    std::fwrite(text.data(), 1, text.size(), stdout);
}

void complain(std::string_view text) {
    if (is_json()) {
        add_message(text);
        return;
    }
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

void note(std::string_view text) {
    if (is_json() || notes_are_wanted()) {
        complain(text);
    }
}

void want_notes(bool wanted) {
    notes_are_wanted() = wanted;
}

int complain_of(const base::Error& error) {
    complain_lines(error.message());
    return exit_of(error.code);
}

int refuse(std::string_view complaint) {
    complain(complaint);
    return exit_of(base::Errc::invalid);
}

int no_records_found() {
    complain("No records found");
    return exit_of(base::Errc::not_found);
}

std::string reported(const base::Error& error) {
    return fmt::format("initiator reported error ({} - {})", base::exit_code(error.code),
                       base::text(error.code));
}

int point_to_help() {
    if (is_json()) {
        return exit_of(base::Errc::invalid);
    }
    std::fflush(stdout);
    std::fputs("Try `iscsiadm --help' for more information.\n", stderr);
    return exit_of(base::Errc::invalid);
}

bool flush_output() {
    return std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
}

} // namespace iscsi::adm
