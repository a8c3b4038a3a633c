// iscsiadm's command line: one table of options says who takes an argument and which mode accepts what. The
// rules are open-iscsi 2.1.8's, down to the wording, because scripts depend on them. Values only; one thread.
#pragma once

#include "records/names.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace iscsi::adm {

enum class Mode : std::uint8_t {
    discovery,
    discoverydb,
    node,
    session,
    iface,
    host,
    fw,
    doctor,
    top,
    monitor
};

/// Bits of Options::ops; -o may be repeated.
enum Op : unsigned {
    op_new = 1,
    op_delete = 2,
    op_update = 4,
    op_show = 8,
    op_nonpersistent = 16,
    op_apply = 32,
    op_apply_all = 64,
    op_login = 128,
    op_logout = 256,
};

/// slp is a word that scripts know and nobody implements.
enum class DiscoveryType : std::uint8_t { send_targets, isns, fw, slp };

struct Options {
    std::optional<Mode> mode;
    unsigned ops = 0;
    std::optional<DiscoveryType> type;
    std::optional<std::string> target;
    std::optional<std::string> portal; ///< as it was given
    std::vector<std::string> ifaces;
    std::vector<std::pair<std::string, std::string>> values; ///< -n with its -v, in order
    bool half_value = false;                                 ///< a -n or -v was left alone
    std::optional<std::uint32_t> session;                    ///< -r
    std::optional<std::string> host;                         ///< -H
    std::optional<std::string> submode;                      ///< -C
    std::optional<std::string> ping_address;                 ///< -a
    std::optional<std::string> login_all;                    ///< -L
    std::optional<std::string> logout_all;                   ///< -U
    std::optional<std::string> stop_priority;                ///< -k
    std::optional<std::string> interval;                     ///< -i
    std::optional<std::string> count;                        ///< -c
    int refused = 0; ///< the letter of the last option that getopt refused
    int print_level = 0;
    bool has_print_level = false; ///< -P was there
    int debug_level = 0;
    bool discover = false;
    bool login = false;
    bool logout = false;
    bool rescan = false;
    bool statistics = false;
    bool show_secrets = false;
    bool no_wait = false;
};

/// The options, or the exit code of a command line that ends here (wrong, or -h and -V).
struct Parsed {
    Options options;
    std::optional<int> exit_code;
};

/// Reads argv; says what is wrong with it, the help and the version itself.
Parsed parse_options(int argc, char** argv);

/// The word of the lowest operation in `ops`, show aside.
std::string_view op_name(unsigned ops);

/// -p read as a portal, with the port that its kind of discovery has; complains of what is none and gives the
/// exit code.
struct PortalOrExit {
    std::optional<records::Portal> portal; ///< empty without -p
    std::optional<int> exit_code;
};
PortalOrExit portal_of(const Options& options);

} // namespace iscsi::adm
