// Prints the tables of the library from which documents are made, one row a line, fields apart by tabs:
//   key  name, kinds, type, compiled default, shipped value, low, high, choices, flags, what is
//       allowed in words
//   exit  exit code of iscsiadm, text
//   event name, level, meaning
//   word  letter of an option of iscsiadm, mode, what may stand behind it
// man/generate.py reads it. A tool of the build; never installed.
#include "base/error.hpp"
#include "ipc/events.hpp"
#include "option_table.hpp"
#include "records/fields.hpp"

#include <array>
#include <cstdio>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <utility>

namespace {

using namespace iscsi::records;

constexpr std::array<std::string_view, 5> kind_names{"node", "send_targets", "isns", "iface", "daemon"};
constexpr std::array<std::string_view, 5> type_names{"text", "number", "boolean", "choice", "list"};
constexpr std::array<std::pair<Flag, std::string_view>, 8> flag_names{{
    {secret, "secret"},
    {read_only, "read_only"},
    {hidden, "hidden"},
    {when_set, "when_set"},
    {power_of_two, "power_of_two"},
    {or_zero, "or_zero"},
    {v4_only, "v4_only"},
    {v6_only, "v6_only"},
}};

void append(std::string& words, std::string_view word) {
    words += words.empty() ? "" : " ";
    words += word;
}

std::string line_of(const Field& row) {
    std::string kinds;
    for (std::size_t i = 0; i < kind_names.size(); ++i) {
        if (row.applies_to(static_cast<RecordKind>(i))) {
            append(kinds, kind_names[i]);
        }
    }
    std::string flags;
    unsigned known = 0;
    for (const auto& [flag, name] : flag_names) {
        known |= flag;
        if (row.has(flag)) {
            append(flags, name);
        }
    }
    if ((row.flags & ~known) != 0) {
        append(flags, "unknown"); // a flag that the pages have no words for: generate.py refuses it
    }
    return fmt::format("key\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\n", row.name, kinds,
                       type_names.at(static_cast<std::size_t>(row.type)), row.compiled_default, row.shipped,
                       row.low, row.high, row.allowed, flags, allowed_text(row));
}

/// Of every option that has words: those of each mode that takes it.
void print_words() {
    for (const iscsi::adm::OptionRow& option : iscsi::adm::option_rows) {
        for (const iscsi::adm::ModeRow& mode : iscsi::adm::mode_rows) {
            std::string_view words = iscsi::adm::words_behind(option.letter, mode.name);
            bool taken = option.modes.empty() || option.modes.find(mode.letter) != std::string_view::npos;
            if (taken && !words.empty()) {
                std::fputs(
                    fmt::format("word\t{}\t{}\t{}\n", static_cast<char>(option.letter), mode.name, words)
                        .c_str(),
                    stdout);
            }
        }
    }
}

} // namespace

int main() {
    for (const Field& row : fields()) {
        std::fputs(line_of(row).c_str(), stdout);
    }
    constexpr int exit_code_max = 33;
    for (int code = 1; code <= exit_code_max; ++code) {
        auto text = iscsi::base::text(static_cast<iscsi::base::Errc>(code));
        std::fputs(fmt::format("exit\t{}\t{}\n", code, text).c_str(), stdout);
    }
    for (const iscsi::ipc::EventRow& row : iscsi::ipc::event_rows) {
        std::fputs(fmt::format("event\t{}\t{}\t{}\n", row.name, text(row.level), row.meaning).c_str(),
                   stdout);
    }
    print_words();
    return std::fflush(stdout) == 0 ? 0 : 1;
}
