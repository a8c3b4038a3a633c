#include "options.hpp"

#include "messages.hpp"
#include "records/text.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <getopt.h>
#include <string_view>

namespace iscsi::adm {
namespace {

struct OptionRow {
    int letter;
    const char* name;
    int argument;           ///< no_argument, required_argument, optional_argument
    std::string_view modes; ///< d discovery and discoverydb, n node, s session, i iface, h host, f fw
    std::string_view help;
};

constexpr std::array rows{
    OptionRow{'m', "mode", required_argument, "dnsihf",
              "discovery, discoverydb, node, session, iface, host, fw"},
    OptionRow{'p', "portal", required_argument, "dn", "address[:port][,group], IPv6 in brackets"},
    OptionRow{'T', "targetname", required_argument, "n", "name of a target"},
    OptionRow{'I', "interface", required_argument, "dni", "interface record; may be repeated in discovery"},
    OptionRow{'o', "op", required_argument, "dnsih",
              "new, update, delete, show, nonpersistent; iface: apply, applyall"},
    OptionRow{'t', "type", required_argument, "dh", "sendtargets (st), isns, fw"},
    OptionRow{'n', "name", required_argument, "dnsihf", "key to change; may be repeated with its -v"},
    OptionRow{'v', "value", required_argument, "dnsihf", "value of the key"},
    OptionRow{'H', "host", required_argument, "ih", "host number or MAC address"},
    OptionRow{'r', "sid", required_argument, "s", "session number"},
    OptionRow{'R', "rescan", no_argument, "ns", "look for new, changed and vanished logical units"},
    OptionRow{'P', "print", required_argument, "dnsih", "print level"},
    OptionRow{'D', "discover", no_argument, "d", "discover with a stored discovery record"},
    OptionRow{'l', "login", no_argument, "dnf", "log in"},
    OptionRow{'L', "loginall", required_argument, "n", "log in to all, manual, automatic or onboot records"},
    OptionRow{'u', "logout", no_argument, "ns", "log out"},
    OptionRow{'U', "logoutall", required_argument, "n", "log out of all, manual or automatic records"},
    OptionRow{'s', "stats", no_argument, "ns", "print the counters"},
    OptionRow{'k', "killiscsid", required_argument, "", "0: end the daemon without logging out"},
    OptionRow{'d', "debug", required_argument, "dnsihf", "0 to 8: say more on stderr"},
    OptionRow{'S', "show", no_argument, "dns", "do not mask secrets"},
    OptionRow{'V', "version", no_argument, "", "print the version"},
    OptionRow{'h', "help", no_argument, "", "print this"},
    OptionRow{'C', "submode", required_argument, "ih", "iface: ping; host: chap, flashnode, stats"},
    OptionRow{'a', "ip", required_argument, "i", "address to ping"},
    OptionRow{'b', "packetsize", required_argument, "i", "bytes of a ping"},
    OptionRow{'c', "count", required_argument, "i", "number of pings"},
    OptionRow{'i', "interval", required_argument, "si", "seconds between pings"},
    OptionRow{'x', "index", required_argument, "h", "entry of a host adapter's table"},
    OptionRow{'A', "portal_type", optional_argument, "h", "ipv4 or ipv6"},
    OptionRow{'W', "no_wait", no_argument, "nf", "do not wait for logins to end"},
};

struct ModeRow {
    std::string_view name;
    Mode mode;
    char letter;
    std::string_view title; ///< in complaints
};

constexpr std::array mode_rows{
    ModeRow{"discovery", Mode::discovery, 'd', "discovery"},
    ModeRow{"discoverydb", Mode::discoverydb, 'd', "discovery"},
    ModeRow{"node", Mode::node, 'n', "node"},
    ModeRow{"session", Mode::session, 's', "session"},
    ModeRow{"iface", Mode::iface, 'i', "iface"},
    ModeRow{"host", Mode::host, 'h', "host"},
    ModeRow{"fw", Mode::fw, 'f', "fw"},
};

constexpr std::array<std::pair<std::string_view, unsigned>, 9> op_rows{{
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

/// What getopt_long found, in order; '?' for what it refused.
struct Token {
    int letter;
    std::string argument;
};

std::vector<Token> tokens_of(int argc, char** argv) {
    std::string letters;
    std::vector<option> names;
    for (const OptionRow& row : rows) {
        letters += static_cast<char>(row.letter);
        // The long form alone may come without its argument.
        letters += row.argument == no_argument ? "" : ":";
        names.push_back(option{row.name, row.argument, nullptr, row.letter});
    }
    names.push_back(option{nullptr, 0, nullptr, 0});
    std::vector<Token> tokens;
    optind = 0;
    for (;;) {
        int letter = getopt_long(argc, argv, letters.c_str(), names.data(), nullptr);
        if (letter == -1) {
            return tokens;
        }
        tokens.push_back(Token{letter, optarg == nullptr ? "" : optarg});
    }
}

void print_help() {
    say("iscsiadm -m discoverydb [-t type -p portal [-I iface]...] [-o op [-n name -v value]...] [-D [-l]] "
        "[-P 0|1]\n"
        "iscsiadm -m discovery [-t type -p portal [-I iface]...] [-o op]... [-D] [-l] [-P 0|1]\n"
        "iscsiadm -m node [-T target] [-p portal] [-I iface] [-l [-W] | -u | -R | -s | -o op [-n name -v "
        "value]...]\n"
        "iscsiadm -m node -L all|manual|automatic|onboot [-W] | -U all|manual|automatic\n"
        "iscsiadm -m session [-r sid] [-u | -R | -s | -o op [-n name -v value]...] [-P 0..3] [-S]\n"
        "iscsiadm -m iface [-I iface [-o op [-n name -v value]...]] [-P 0|1]\n"
        "iscsiadm -m host [-H number] [-P 0..4]\n"
        "iscsiadm -m fw [-l]\n"
        "iscsiadm -k 0\n\n");
    for (const OptionRow& row : rows) {
        say("  -{}, --{:<12} {}\n", static_cast<char>(row.letter), row.name, row.help);
    }
}

const OptionRow* row_of(int letter) {
    const auto* row = std::ranges::find(rows, letter, &OptionRow::letter);
    return row == rows.end() ? nullptr : row;
}

/// Complains about the first option that `mode` does not take.
std::optional<int> check_mode(const ModeRow& mode, const std::vector<Token>& tokens) {
    for (const Token& token : tokens) {
        const OptionRow* row = row_of(token.letter);
        if (row == nullptr || row->modes.find(mode.letter) == std::string_view::npos) {
            complain("{} mode: option '-{}' is not allowed/supported", mode.title,
                     static_cast<char>(token.letter));
            return exit_of(base::Errc::invalid);
        }
    }
    return std::nullopt;
}

/// Reads the number at the start of `text` as atoi does: callers pass what is none.
int leading_number(const std::string& text) {
    return static_cast<int>(std::strtol(text.c_str(), nullptr, 10));
}

class Parser {
public:
    explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

    Parsed run() {
        for (const Token& token : tokens_) {
            auto exit_code = take(token);
            if (!exit_code) {
                exit_code = take_value(token);
            }
            if (exit_code) {
                return Parsed{{}, exit_code};
            }
        }
        options_.half_value = name_.has_value() || value_.has_value();
        return Parsed{std::move(options_), std::nullopt};
    }

private:
    std::optional<int> take(const Token& token) {
        switch (token.letter) {
        case 'h':
            print_help();
            return exit_ok;
        case 'V':
            say("iscsiadm version {}\n", records::compat_version);
            return exit_ok;
        case 'm':
            return take_mode(token.argument);
        case 'o':
            return take_op(token.argument);
        case 't':
            return take_type(token.argument);
        default:
            take_flag(token.letter);
            return std::nullopt;
        }
    }

    void take_flag(int letter) {
        constexpr std::array<std::pair<int, bool Options::*>, 8> flags{{
            {'D', &Options::discover},
            {'l', &Options::login},
            {'u', &Options::logout},
            {'R', &Options::rescan},
            {'s', &Options::statistics},
            {'S', &Options::show_secrets},
            {'W', &Options::no_wait},
            {'P', &Options::print_level_given},
        }};
        for (const auto& [flag, member] : flags) {
            if (flag == letter) {
                options_.*member = true;
            }
        }
    }

    std::optional<int> take_value(const Token& token) {
        constexpr std::array<std::pair<int, std::optional<std::string> Options::*>, 8> texts{{
            {'T', &Options::target},
            {'p', &Options::portal},
            {'r', &Options::session},
            {'H', &Options::host},
            {'C', &Options::submode},
            {'a', &Options::ping_address},
            {'L', &Options::login_all},
            {'U', &Options::logout_all},
        }};
        for (const auto& [letter, member] : texts) {
            if (letter == token.letter) {
                options_.*member = token.argument;
            }
        }
        switch (token.letter) {
        case 'I':
            options_.ifaces.push_back(token.argument);
            break;
        case 'P':
            options_.print_level = leading_number(token.argument);
            break;
        case 'd':
            options_.debug_level = leading_number(token.argument);
            break;
        case 'k':
            options_.stop_priority = leading_number(token.argument);
            break;
        case 'n':
            name_ = token.argument;
            break;
        case 'v':
            value_ = token.argument;
            break;
        default:
            break;
        }
        if (name_ && value_) {
            options_.values.emplace_back(std::move(*name_), std::move(*value_));
            name_.reset();
            value_.reset();
        }
        return std::nullopt;
    }

    std::optional<int> take_mode(const std::string& word) {
        const auto* row = std::ranges::find(mode_rows, word, &ModeRow::name);
        options_.unknown_mode = row == mode_rows.end();
        if (options_.unknown_mode) {
            options_.mode.reset();
            return std::nullopt;
        }
        options_.mode = row->mode;
        return check_mode(*row, tokens_);
    }

    std::optional<int> take_op(const std::string& word) {
        const auto* row = std::ranges::find(op_rows, word, &decltype(op_rows)::value_type::first);
        if (row == op_rows.end()) {
            complain("can not recognize operation: '{}'", word);
            return exit_of(base::Errc::invalid);
        }
        options_.ops |= row->second;
        return std::nullopt;
    }

    std::optional<int> take_type(const std::string& word) {
        if (word == "sendtargets" || word == "st") {
            options_.type = DiscoveryType::send_targets;
        } else if (word == "isns") {
            options_.type = DiscoveryType::isns;
        } else if (word == "fw") {
            options_.type = DiscoveryType::fw;
        } else if (word == "slp") {
            complain("SLP discovery is not fully implemented yet.");
            return exit_of(base::Errc::invalid);
        }
        return std::nullopt;
    }

    std::vector<Token> tokens_;
    Options options_;
    std::optional<std::string> name_;
    std::optional<std::string> value_;
};

} // namespace

Parsed parse_options(int argc, char** argv) {
    return Parser(tokens_of(argc, argv)).run();
}

PortalOrExit portal_of(const Options& options) {
    if (!options.portal) {
        return {};
    }
    auto port = options.type == DiscoveryType::isns ? records::isns_port : records::iscsi_port;
    auto portal = records::parse_portal(*options.portal, port);
    if (!portal) {
        return PortalOrExit{std::nullopt, complain_of(portal.error())};
    }
    return PortalOrExit{std::move(*portal), std::nullopt};
}

} // namespace iscsi::adm
