// iscsiadm's options, modes and operations, and the words that may stand behind an option: one table for the
// parser, the help, the manual page and the completion. Read-only data; any thread.
#pragma once

#include "options.hpp"

#include <array>
#include <getopt.h>
#include <string_view>
#include <utility>

namespace iscsi::adm {

struct OptionRow {
    int letter;
    const char* name;
    int argument;           ///< no_argument, required_argument, optional_argument
    std::string_view modes; ///< d discovery and discoverydb, n node, s session, i iface, h host, f fw, c
                            ///< doctor, t top, w monitor
    std::string_view help;
};

inline constexpr std::array option_rows{
    OptionRow{'m', "mode", required_argument, "dnsihfctw",
              "discovery, discoverydb, node, session, iface, host, fw, doctor, top, monitor"},
    OptionRow{'p', "portal", required_argument, "dnctw", "address[:port][,group], IPv6 in brackets"},
    OptionRow{'T', "targetname", required_argument, "nctw", "name of a target"},
    OptionRow{'I', "interface", required_argument, "dnictw",
              "interface record; may be repeated in discovery"},
    OptionRow{'o', "op", required_argument, "dnsih",
              "new, update, delete, show, nonpersistent; iface: apply, applyall"},
    OptionRow{'t', "type", required_argument, "dh", "sendtargets (st), or isns: a server that knows targets"},
    OptionRow{'n', "name", required_argument, "dnsihf", "key to change; may be repeated with its -v"},
    OptionRow{'v', "value", required_argument, "dnsihf", "value of the key"},
    OptionRow{'H', "host", required_argument, "ih", "host number or MAC address"},
    OptionRow{'r', "sid", required_argument, "stw", "session number"},
    OptionRow{'R', "rescan", no_argument, "ns", "look for new, changed and vanished logical units"},
    OptionRow{'P', "print", required_argument, "dnsih", "print level"},
    OptionRow{'D', "discover", no_argument, "d", "discover with a stored discovery record"},
    OptionRow{'l', "login", no_argument, "dnfc",
              "log in; doctor: and out again, to see whether it can be done"},
    OptionRow{'L', "loginall", required_argument, "n", "log in to all, manual, automatic or onboot records"},
    OptionRow{'u', "logout", no_argument, "ns", "log out"},
    OptionRow{'U', "logoutall", required_argument, "n", "log out of all, manual or automatic records"},
    OptionRow{'s', "stats", no_argument, "ns", "print the counters"},
    OptionRow{'k', "killiscsid", required_argument, "", "0: end the daemon without logging out"},
    OptionRow{'d', "debug", required_argument, "dnsihfctw", "0 to 8: above 0, notes on stderr about records"},
    OptionRow{'S', "show", no_argument, "dns", "do not mask secrets"},
    OptionRow{'V', "version", no_argument, "ctw", "print the version"},
    OptionRow{'h', "help", no_argument, "ctw", "print this"},
    OptionRow{'C', "submode", required_argument, "ih", "iface: ping; host: chap, flashnode, stats"},
    OptionRow{'a', "ip", required_argument, "i", "address to ping"},
    OptionRow{'b', "packetsize", required_argument, "i", "bytes of a ping"},
    OptionRow{'c', "count", required_argument, "it", "number of pings; top: of refreshes"},
    OptionRow{'i', "interval", required_argument, "sit",
              "seconds between pings; top: between refreshes, from 0.1 on"},
    OptionRow{'x', "index", required_argument, "h", "entry of a host adapter's table"},
    OptionRow{'A', "portal_type", optional_argument, "h", "ipv4 or ipv6"},
    OptionRow{'j', "json", no_argument, "dnsihfctw",
              "print one JSON object in place of text; top: one a refresh, monitor: one a line"},
    OptionRow{'W', "no_wait", no_argument, "nf", "do not wait for logins to end"},
};

struct ModeRow {
    std::string_view name;
    Mode mode;
    char letter;
    std::string_view title; ///< in complaints
};

inline constexpr std::array mode_rows{
    ModeRow{"discovery", Mode::discovery, 'd', "discovery"},
    ModeRow{"discoverydb", Mode::discoverydb, 'd', "discovery"},
    ModeRow{"node", Mode::node, 'n', "node"},
    ModeRow{"session", Mode::session, 's', "session"},
    ModeRow{"iface", Mode::iface, 'i', "iface"},
    ModeRow{"host", Mode::host, 'h', "host"},
    ModeRow{"fw", Mode::fw, 'f', "fw"},
    ModeRow{"doctor", Mode::doctor, 'c', "doctor"},
    ModeRow{"top", Mode::top, 't', "top"},
    ModeRow{"monitor", Mode::monitor, 'w', "monitor"},
};

inline constexpr std::array<std::pair<std::string_view, unsigned>, 9> op_rows{{
    {"new", op_new},
    {"delete", op_delete},
    {"update", op_update},
    {"show", op_show},
    {"nonpersistent", op_nonpersistent},
    {"apply", op_apply},
    {"applyall", op_apply_all},
    {"login", op_login},
    {"logout", op_logout},
}};

/// Modes that may be named without -m, as the first word; apart by blanks.
inline constexpr std::string_view bare_modes = "doctor top monitor";

/// What may stand behind an option in a mode, where that is one of a few words.
struct WordRow {
    int letter;
    std::string_view modes; ///< names of modes, apart by blanks; empty: all that take the option
    std::string_view words; ///< apart by blanks
};

inline constexpr std::array word_rows{
    WordRow{'o', "discovery", "new update delete show nonpersistent"},
    WordRow{'o', "discoverydb node session", "new update delete show"},
    WordRow{'o', "iface", "new update delete show apply applyall"},
    WordRow{'o', "host", "show new update delete login logout"},
    WordRow{'t', "discovery discoverydb", "sendtargets st isns fw"},
    WordRow{'L', "node", "all manual automatic onboot"},
    WordRow{'U', "node", "all manual automatic"},
    WordRow{'P', "discovery discoverydb node iface", "0 1"},
    WordRow{'P', "session", "0 1 2 3"},
    WordRow{'P', "host", "0 1 2 3 4"},
    WordRow{'C', "iface", "ping"},
    WordRow{'C', "host", "chap flashnode stats"},
    WordRow{'d', "", "0 1 2 3 4 5 6 7 8"},
    WordRow{'k', "", "0"},
    WordRow{'A', "host", "ipv4 ipv6"},
};

/// True when `word` is one of `words`, which are apart by blanks.
constexpr bool has_word(std::string_view words, std::string_view word) {
    while (!words.empty()) {
        std::string_view first = words.substr(0, words.find(' '));
        if (first == word && !word.empty()) {
            return true;
        }
        words.remove_prefix(first.size() == words.size() ? words.size() : first.size() + 1);
    }
    return false;
}

/// The words behind `letter` in the mode of that name; empty when any text may stand there.
constexpr std::string_view words_behind(int letter, std::string_view mode) {
    for (const WordRow& row : word_rows) {
        if (row.letter == letter && (row.modes.empty() || has_word(row.modes, mode))) {
            return row.words;
        }
    }
    return {};
}

} // namespace iscsi::adm
