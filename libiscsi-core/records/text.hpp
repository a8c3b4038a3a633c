// The text form of records and of iscsid.conf: one "key = value" a line. The reader is tolerant and bounded:
// a line that is none becomes a warning, a value that it cannot use is kept (Record::take). The printers give
// open-iscsi's bytes. Owns nothing; pure functions; any thread.
#pragma once

#include "base/result.hpp"
#include "records/record.hpp"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::records {

/// The version of open-iscsi whose formats these are; it stands in the first line of every dump.
inline constexpr std::string_view compat_version = "2.1.8";

/// What was wrong in a file but did not stop us: one line each, safe to print, "<source>:<line>: ...".
using Warnings = std::vector<std::string>;

/// At most this many warnings of one file are kept.
inline constexpr std::size_t warnings_max = 64;

/// Adds a warning unless there are too many.
void add_warning(Warnings& warnings, std::string what);

struct Line {
    std::size_t number; ///< from 1
    std::string_view key;
    std::string_view value; ///< blanks at the ends stripped; may be empty
};

/// Calls `on_line` for each "key = value" of `text`; comments and empty lines are left out. Lines that are
/// too long or have no '=' become warnings of `source`.
void for_each_line(std::string_view text, std::string_view source, Warnings& warnings,
                   const std::function<void(const Line&)>& on_line);

/// The record in `text`, read over the compiled defaults. `source` (a path) begins every warning.
Record parse_record(RecordKind kind, std::string_view text, std::string_view source, Warnings& warnings);

/// iscsid.conf: what new records begin with, and the daemon's own keys.
struct Config {
    Record node{RecordKind::node};
    Record send_targets{RecordKind::send_targets};
    Record isns{RecordKind::isns};
    Record daemon{RecordKind::daemon};
};

/// A value that cannot be used is a warning, too: of this file, nobody else tells.
Config parse_config(std::string_view text, std::string_view source, Warnings& warnings);

/// True for a secret, which is shown to those only who ask for it; not for the reference to one.
bool is_masked(const Field& row, std::string_view value);

/// The file form: keys without a value are left out, secrets are written, unknown keys come last.
std::string file_text(const Record& record);

/// The form for people: "<empty>" for no value, secrets as ******** unless `show_secrets`.
std::string display_text(const Record& record, bool show_secrets);

} // namespace iscsi::records
