#include "iscsistart_options.hpp"

#include "base/limits.hpp"
#include "base/text.hpp"
#include "privacy.hpp"

#include <array>
#include <fmt/format.h>
#include <getopt.h>
#include <string_view>

namespace iscsi::tools {
namespace {

using base::Errc;
using base::fail;
using base::Result;

struct OptionRow {
    int letter;
    const char* name;
    const char* argument; ///< what stands for it in the help; nullptr = takes none
    std::string_view help;
};

constexpr std::array rows{
    OptionRow{'i', "initiatorname", "NAME", "the initiator's name (needed)"},
    OptionRow{'t', "targetname", "NAME", "the target's name (needed)"},
    OptionRow{'g', "tgpt", "NUMBER", "the target's portal group tag (needed)"},
    OptionRow{'a', "address", "ADDRESS", "the target's IPv4 or IPv6 address, or its name (needed)"},
    OptionRow{'p', "port", "NUMBER", "the target's port (default: 3260)"},
    OptionRow{'u', "username", "NAME", "CHAP: the name of this machine"},
    OptionRow{'w', "password", "SECRET", "CHAP: the secret of this machine"},
    OptionRow{'U', "username_in", "NAME", "CHAP: the name of the target"},
    OptionRow{'W', "password_in", "SECRET", "CHAP: the secret of the target"},
    OptionRow{'P', "param", "KEY=VALUE", "set a key of the node record; may be repeated"},
    OptionRow{'c', "config", "FILE", "configuration (default: /etc/iscsi/iscsid.conf)"},
    OptionRow{'d', "debug", "LEVEL", "say more, as an iscsid that is started does: 0 to 8"},
    OptionRow{'b', "fwparam_connect", nullptr, "log in to the targets that the firmware names"},
    OptionRow{'N', "fwparam_network", nullptr, "set up the network as the firmware says"},
    OptionRow{'f', "fwparam_print", nullptr, "print what the firmware says"},
    OptionRow{'h', "help", nullptr, "this text"},
    OptionRow{'v', "version", nullptr, "the version"},
};

std::string StartOptions::*text_of(int letter) {
    switch (letter) {
    case 'c':
        return &StartOptions::config_file;
    case 'i':
        return &StartOptions::initiator;
    case 't':
        return &StartOptions::target;
    case 'u':
        return &StartOptions::username;
    case 'w':
        return &StartOptions::password;
    case 'U':
        return &StartOptions::username_in;
    case 'W':
        return &StartOptions::password_in;
    default:
        return nullptr;
    }
}

template <class Number>
Result<void> take_number(std::string_view what, const char* text, std::uint64_t most, Number& into) {
    auto number = base::parse_decimal(text, most);
    if (!number) {
        return fail(Errc::invalid, fmt::format("invalid {} {}. It is a number up to {}.", what,
                                               base::printable(text, 64), most));
    }
    into = static_cast<Number>(*number);
    return {};
}

Result<void> take_parameter(StartOptions& options, std::string_view text) {
    std::size_t sign = text.find('=');
    std::string_view name = base::trim(text.substr(0, sign));
    std::string_view value = sign == std::string_view::npos ? "" : base::trim(text.substr(sign + 1));
    if (name.empty() || value.empty()) {
        return fail(Errc::invalid,
                    fmt::format("Invalid --param {}. Missing value.", base::printable(name, 128)));
    }
    options.parameters.emplace_back(name, value);
    return {};
}

std::string without_brackets(std::string_view address) {
    bool bracketed = address.size() > 1 && address.front() == '[' && address.back() == ']';
    return std::string(bracketed ? address.substr(1, address.size() - 2) : address);
}

Result<void> take(StartOptions& options, int letter, const char* argument) {
    if (auto member = text_of(letter); member != nullptr) {
        options.*member = argument;
        return {};
    }
    switch (letter) {
    case 'a':
        options.address = without_brackets(argument);
        return {};
    case 'g': {
        std::uint16_t tag = 0;
        return take_number("portal group tag", argument, UINT16_MAX, tag).map([&] { options.tpgt = tag; });
    }
    case 'p':
        return take_number("port", argument, UINT16_MAX, options.port);
    case 'd':
        return take_number("debug level", argument, 8, options.debug_level);
    case 'P':
        return take_parameter(options, argument);
    case 'b':
        options.firmware = Firmware::connect;
        return {};
    case 'N':
        options.firmware = Firmware::network;
        return {};
    case 'f':
        options.firmware = Firmware::print;
        return {};
    case 'h':
        options.help = true;
        return {};
    case 'v':
        options.version = true;
        return {};
    default:
        return fail(Errc::invalid);
    }
}

} // namespace

Result<StartOptions> parse_start_options(int argc, char** argv) {
    std::string letters;
    std::vector<option> names;
    for (const OptionRow& row : rows) {
        letters += static_cast<char>(row.letter);
        letters += row.argument != nullptr ? ":" : "";
        int argument = row.argument != nullptr ? required_argument : no_argument;
        names.push_back(option{row.name, argument, nullptr, row.letter});
    }
    names.push_back(option{nullptr, 0, nullptr, 0});
    StartOptions options;
    for (int letter = 0;
         (letter = ::getopt_long(argc, argv, letters.c_str(), names.data(), nullptr)) != -1;) {
        if (auto taken = take(options, letter, optarg); !taken) {
            return fail(std::move(taken.error()));
        }
        if (letter == 'w' || letter == 'W' || letter == 'P') {
            adm::hide_word(optarg); // a login may take minutes
        }
    }
    if (::optind < argc) {
        options.extra_word = argv[::optind];
    }
    return options;
}

Result<void> check_complete(const StartOptions& options) {
    // In open-iscsi's order, and with its words.
    std::string_view missing;
    if (options.initiator.empty()) {
        missing = "InitiatorName";
    } else if (!options.tpgt) {
        missing = "Portal Group";
    } else if (options.target.empty()) {
        missing = "TargetName";
    } else if (options.address.empty()) {
        missing = "IP Address";
    }
    if (!missing.empty()) {
        return fail(Errc::invalid, fmt::format("{} not set. Exiting iscsistart", missing));
    }
    if (!options.extra_word.empty()) {
        return fail(Errc::invalid,
                    fmt::format("'{}' is not an option", base::printable(options.extra_word, 64)));
    }
    return {};
}

std::string start_usage() {
    std::string text = "Usage: iscsistart [OPTION]...\n"
                       "Makes one iSCSI session, as a system needs it that boots from its disk.\n"
                       "\n";
    for (const OptionRow& row : rows) {
        std::string name = row.argument == nullptr ? row.name : fmt::format("{}={}", row.name, row.argument);
        text += fmt::format("  -{}, --{:<20} {}\n", static_cast<char>(row.letter), name, row.help);
    }
    return text;
}

} // namespace iscsi::tools
