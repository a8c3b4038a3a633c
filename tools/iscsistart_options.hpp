// iscsistart's command line, as open-iscsi's. Values only; one thread.
#pragma once

#include "base/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace iscsi::tools {

/// What is asked of the machine's firmware, instead of a session by hand.
enum class Firmware : std::uint8_t { none, connect, network, print };

struct StartOptions {
    std::string config_file;                                     ///< -c; empty = the usual one
    std::string initiator;                                       ///< -i
    std::string target;                                          ///< -t
    std::string address;                                         ///< -a, without brackets
    std::string username;                                        ///< -u
    std::string password;                                        ///< -w
    std::string username_in;                                     ///< -U
    std::string password_in;                                     ///< -W
    std::optional<std::uint16_t> tpgt;                           ///< -g
    std::uint16_t port = 3260;                                   ///< -p
    int debug_level = 0;                                         ///< -d
    Firmware firmware = Firmware::none;                          ///< -b, -N, -f
    std::vector<std::pair<std::string, std::string>> parameters; ///< -P name=value, in order
    std::string extra_word;                                      ///< the first that belongs to no option
    bool help = false;
    bool version = false;
};

/// Errc::invalid says what is wrong; without detail when getopt has said it.
base::Result<StartOptions> parse_start_options(int argc, char** argv);

/// Whether a session by hand has all it needs, and no more. Errc::invalid names what is missing or too much.
base::Result<void> check_complete(const StartOptions& options);

std::string start_usage();

} // namespace iscsi::tools
