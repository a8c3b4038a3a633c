// iscsistart: sessions from the command line or from the tables of boot firmware, without the record
// database: for an initramfs. The sessions live in iscsid, as every session does: the daemon that runs is
// asked, or one is started that stays when this program ends. A later iscsid takes them and their devices
// over when that one is stopped (ARCHITECTURE: a restart). One thread.
#include "boot_firmware.hpp"
#include "boot_records.hpp"
#include "iscsistart_options.hpp"
#include "privacy.hpp"
#include "start_daemon.hpp"
#include "start_network.hpp"

#include "base/names.hpp"
#include "base/standard_descriptors.hpp"
#include "base/text.hpp"
#include "records/store.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <fmt/format.h>
#include <iterator>
#include <netdb.h>
#include <optional>
#include <string>
#include <sys/socket.h>
#include <utility>
#include <vector>

namespace iscsi::tools {
namespace {

using base::Errc;
using base::fail;
using base::Result;
using records::Key;

constexpr int exit_failed = 1;

void complain(std::string_view text) {
    for (std::string_view line : base::split(text, '\n')) {
        if (!line.empty()) {
            std::fprintf(stderr, "iscsistart: %.*s\n", static_cast<int>(line.size()), line.data());
        }
    }
}

int complain_of(const base::Error& error) {
    complain(error.message());
    return base::exit_code(error.code);
}

/// What a disk to boot from needs before the keys of the command line.
Result<void> prepare(records::Record& node, const StartOptions&) {
    auto set = node.set(Key::node_startup, "onboot");
    return set ? adm::prepare_for_boot(node) : set;
}

Result<void> set_chap(records::Record& node, const StartOptions& options) {
    const std::array<std::pair<Key, const std::string*>, 4> values{{
        {Key::session_username, &options.username},
        {Key::session_password, &options.password},
        {Key::session_username_in, &options.username_in},
        {Key::session_password_in, &options.password_in},
    }};
    for (const auto& [key, value] : values) {
        if (value->empty()) {
            continue;
        }
        if (auto set = node.set(key, *value); !set) {
            return set;
        }
    }
    return options.password.empty() ? Result<void>() : node.set(Key::session_authmethod, "CHAP");
}

/// Whether the names that were given have their secrets, which may come from elsewhere. No CHAP at all would
/// be a surprise.
Result<void> check_chap(const records::Record& node, const StartOptions& options) {
    if (!options.username.empty() && node.text(Key::session_password).empty()) {
        return fail(Errc::invalid, "-u has no secret: give it with -w");
    }
    if (!options.username_in.empty() && node.text(Key::session_password_in).empty()) {
        return fail(Errc::invalid, "-U has no secret: give it with -W");
    }
    return {};
}

Result<void> set_parameters(records::Record& node, const StartOptions& options) {
    return adm::set_parameters(node, options.parameters);
}

Result<records::Config> read_config(const StartOptions& options, const records::Store& store) {
    records::Warnings warnings;
    auto config = options.config_file.empty() ? store.config(warnings)
                                              : records::read_named_config(options.config_file, warnings);
    for (const std::string& warning : options.debug_level > 0 ? warnings : records::Warnings{}) {
        complain(warning);
    }
    return config;
}

/// The node record that the options describe, over what iscsid.conf says.
Result<records::Record> node_of(const StartOptions& options, const records::Store& store) {
    auto config = read_config(options, store);
    if (!config) {
        return fail(std::move(config.error()));
    }
    if (auto named = base::check_iscsi_name(options.initiator); !named) {
        return fail(std::move(named.error()));
    }
    auto iface = records::make_iface("default");
    if (!iface) {
        return fail(std::move(iface.error()));
    }
    // The daemon may have read no initiatorname.iscsi: the name travels with the record.
    if (auto set = iface->set(Key::iface_initiatorname, options.initiator); !set) {
        return fail(std::move(set.error()));
    }
    records::Portal portal{options.address, options.port, *options.tpgt};
    auto node =
        records::make_node(config->node, options.target, portal, *iface, records::Origin{"fw", "", 0});
    if (!node) {
        return node;
    }
    for (auto* step : {&prepare, &set_chap, &set_parameters}) {
        if (auto done = step(*node, options); !done) {
            return fail(std::move(done.error()));
        }
    }
    if (auto complete = check_chap(*node, options); !complete) {
        return fail(std::move(complete.error()));
    }
    return node;
}

/// A name that cannot be resolved now is refused now: the daemon would go on asking for it for as long as it
/// waits for a disk to boot from.
Result<void> check_address(const StartOptions& options) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int error = ::getaddrinfo(options.address.c_str(), nullptr, &hints, &found);
    if (error != 0) {
        return fail(Errc::transport,
                    fmt::format("cannot resolve '{}': {}", base::printable(options.address, 64),
                                ::gai_strerror(error)));
    }
    ::freeaddrinfo(found);
    return {};
}

std::string place_of(const records::Record& node) {
    const records::NodeId id = records::node_id(node);
    return fmt::format("{} {}", base::printable(id.target), records::portal_text(id.portal));
}

/// Says what became of a login; gives whether there is a session.
bool report(const std::string& place, const Result<ipc::LoginReply>& reply) {
    if (!reply && reply.error().code == Errc::session_exists) {
        std::printf("iscsistart: there is a session with %s\n", place.c_str());
        return true;
    }
    if (!reply) {
        complain(reply.error().detail);
        complain(fmt::format("initiator reported error ({} - {})", base::exit_code(reply.error().code),
                             base::text(reply.error().code)));
        return false;
    }
    for (const ipc::AttachedLun& lun : reply->luns) {
        const std::string& where = lun.device.empty() ? lun.state : lun.device;
        std::printf("iscsistart: LUN %llu: %s\n", static_cast<unsigned long long>(lun.number), where.c_str());
    }
    return true;
}

/// How long the others are waited for when there is a session: one try, of which a path that lives needs no
/// more.
std::chrono::seconds patience_of(const std::vector<records::Record>& nodes) {
    std::int64_t longest = 1;
    for (const records::Record& node : nodes) {
        longest = std::max(longest, node.number(Key::conn_login_timeout));
    }
    constexpr std::int64_t most = 15;
    return std::chrono::seconds(std::min(longest, most));
}

/// Reports the answers as they come; gives how many sessions there are. The tries that are not waited for go
/// on in the daemon, which asks nobody whether the asker is still there.
std::size_t wait_for_logins(adm::Client& client, const std::vector<records::Record>& nodes,
                            std::vector<std::uint64_t> ids) {
    std::vector<std::string> places;
    std::ranges::transform(nodes, std::back_inserter(places), place_of);
    std::size_t sessions = 0;
    std::optional<std::chrono::steady_clock::time_point> deadline;
    while (!ids.empty()) {
        const auto answered = client.wait_any(ids, deadline);
        if (!answered) {
            break;
        }
        const auto at = static_cast<std::ptrdiff_t>(*answered);
        const bool is_there =
            report(places[*answered], adm::expect<ipc::LoginReply>(client.wait(ids[*answered])));
        sessions += is_there ? 1 : 0;
        if (is_there && !deadline) {
            deadline = std::chrono::steady_clock::now() + patience_of(nodes);
        }
        ids.erase(ids.begin() + at);
        places.erase(places.begin() + at);
    }
    for (const std::string& place : places) {
        complain(fmt::format("no session with {} yet: iscsid goes on trying", place));
    }
    return sessions;
}

/// Logs in with all at once. One session is enough to boot from: the others are other ways to its disk.
int log_in(const StartOptions& options, const records::Paths& paths,
           const std::vector<records::Record>& nodes) {
    for (const records::Record& node : nodes) {
        std::printf("iscsistart: Logging into %s\n", place_of(node).c_str());
    }
    std::fflush(stdout);
    auto client = daemon_for(options, paths);
    if (!client) {
        complain_of(client.error());
        return exit_failed;
    }
    std::vector<std::uint64_t> ids;
    ids.reserve(nodes.size());
    for (const records::Record& node : nodes) {
        ids.push_back(client->post(ipc::Login{node, false}));
    }
    return wait_for_logins(*client, nodes, std::move(ids)) > 0 ? 0 : exit_failed;
}

/// The session of -i, -t, -g and -a.
int log_in_by_hand(const StartOptions& options) {
    if (auto complete = check_complete(options); !complete) {
        return complain_of(complete.error());
    }
    auto paths = records::find_paths();
    if (!paths) {
        return complain_of(paths.error());
    }
    records::Store store(std::move(*paths));
    auto node = node_of(options, store);
    if (!node) {
        return complain_of(node.error());
    }
    if (auto resolved = check_address(options); !resolved) {
        complain_of(resolved.error());
        return exit_failed;
    }
    return log_in(options, store.paths(), {std::move(*node)});
}

/// -b
int log_in_to_firmware(const StartOptions& options, records::Paths paths,
                       const std::vector<adm::BootTarget>& targets) {
    const records::Store store(std::move(paths));
    auto config = read_config(options, store);
    if (!config) {
        return complain_of(config.error());
    }
    std::vector<records::Record> nodes;
    for (const adm::BootTarget& target : targets) {
        auto node = adm::make_boot_node(target, config->node);
        auto done = node ? prepare(*node, options) : fail(node.error());
        if (done) {
            done = set_parameters(*node, options);
        }
        if (!done) {
            return complain_of(done.error());
        }
        nodes.push_back(std::move(*node));
    }
    return log_in(options, store.paths(), nodes);
}

/// -b, -N and -f. Where there are no tables, what open-iscsi says.
int ask_firmware(const StartOptions& options) {
    auto paths = records::find_paths();
    if (!paths) {
        return complain_of(paths.error());
    }
    const adm::BootTargets targets = adm::read_boot_firmware(paths->root());
    const std::string why = targets.unusable.empty() ? "" : adm::text_of_unusable(targets);
    if (targets.usable.empty()) {
        std::printf("%s%s%s.\n",
                    options.firmware == Firmware::connect   ? "Could not get boot entry"
                    : options.firmware == Firmware::network ? "Could not setup fw entries"
                                                            : "Could not get list of targets from firmware",
                    why.empty() ? "" : ": ", why.c_str());
        return base::exit_code(adm::no_boot_firmware(paths->root()));
    }
    if (!why.empty()) {
        complain(fmt::format("not every target of the firmware can be used: {}", why));
    }
    switch (options.firmware) {
    case Firmware::connect:
        return log_in_to_firmware(options, std::move(*paths), targets.usable);
    case Firmware::network:
        return set_up_network(paths->root(), targets.usable) ? 0 : exit_failed;
    default:
        for (const adm::BootTarget& target : targets.usable) {
            std::fputs(adm::boot_record_text(target).text().c_str(), stdout);
        }
        return 0;
    }
}

int run(int argc, char** argv) {
    auto options = parse_start_options(argc, argv);
    if (!options) {
        if (options.error().detail.empty()) {
            std::fputs("Try `iscsistart --help' for more information.\n", stderr);
        } else {
            complain(options.error().detail);
        }
        return base::exit_code(options.error().code);
    }
    if (options->help) {
        std::fputs(start_usage().c_str(), stdout);
        return 0;
    }
    if (options->version) {
        std::printf("iscsistart version %s\n", std::string(records::compat_version).c_str());
        return 0;
    }
    return options->firmware == Firmware::none ? log_in_by_hand(*options) : ask_firmware(*options);
}

} // namespace
} // namespace iscsi::tools

int main(int argc, char** argv) {
    iscsi::base::fill_standard_descriptors(iscsi::base::ClosedOutput::swallowed);
    iscsi::adm::make_private();
    return iscsi::tools::run(argc, argv);
}
