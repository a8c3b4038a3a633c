// What iscsiadm says: results on stdout, bare; complaints on stderr behind "iscsiadm: ". Nothing is written
// to stderr when a command succeeds, because callers take that for a failure. One thread.
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

/// The complaint of a failed operation, and the exit code to end with.
int complain_of(const base::Error& error);

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
