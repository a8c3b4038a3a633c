// What iscsiadm says: results on stdout, bare; complaints on stderr behind "iscsiadm: "; with -j neither, but
// the document of json_output.hpp. Nothing is written to stderr when a command succeeds, unless -d asks for
// notes, because callers take that for a failure. Module state: whether notes are wanted. One thread.
#pragma once

#include "base/error.hpp"

#include <cstdio>
#include <fmt/format.h>
#include <string_view>
#include <utility>

namespace iscsi::adm {

/// Text to stdout, as it is. A full disk or a closed pipe is found by flush_output().
void say(std::string_view text);

template <class... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
    say(std::string_view(fmt::format(format, std::forward<Args>(args)...)));
}

/// One line to stderr, without its newline in `text`. Lines of stdout so far come before it.
void complain(std::string_view text);

template <class... Args>
void complain(fmt::format_string<Args...> format, Args&&... args) {
    complain(std::string_view(fmt::format(format, std::forward<Args>(args)...)));
}

/// Every line of `text` as a complaint of its own.
void complain_lines(std::string_view text);

/// What only those want to know who ask for more: a line of stderr with -d, and always one of the document.
void note(std::string_view text);
/// Whether note() writes to stderr.
void want_notes(bool wanted);

/// The complaint of a failed operation, and the exit code to end with.
int complain_of(const base::Error& error);
/// Complains of a wrong command line and gives its exit code.
int refuse(std::string_view complaint);
/// "No records found" and its exit code.
int no_records_found();

/// "initiator reported error (15 - session exists)"
std::string reported(const base::Error& error);

/// "Try `iscsiadm --help' for more information." on stderr; the exit code of a wrong command line.
int point_to_help();

/// Whether everything that was said has reached stdout.
bool flush_output();

inline constexpr int exit_ok = 0;
inline constexpr int exit_failure = 1;

/// The exit code of a kind of failure.
inline int exit_of(base::Errc code) {
    return base::exit_code(code);
}

} // namespace iscsi::adm
