#include "records/store.hpp"

#include "base/limits.hpp"
#include "base/names.hpp"
#include "base/text.hpp"
#include "records/store_files.hpp"

#include <fmt/format.h>

namespace iscsi::records {
namespace {

using base::Errc;
using base::fail;
using base::Result;

} // namespace

Store::Store(Paths paths, std::chrono::milliseconds lock_wait)
    : paths_(std::move(paths)), lock_wait_(lock_wait) {}

Result<InitiatorName> read_initiator_name(const std::string& path) {
    Result<std::string> content = read_file(path);
    if (!content) {
        return fail(content.error());
    }
    InitiatorName found;
    Warnings ignored;
    for_each_line(*content, path, ignored, [&](const Line& line) {
        if (line.key == "InitiatorName" && found.name.empty()) {
            found.name = line.value;
        }
        if (line.key == "InitiatorAlias" && found.alias.empty()) {
            found.alias = base::printable(line.value, base::limits::record_value_bytes_max);
        }
    });
    if (found.name.empty()) {
        return fail(Errc::not_found, fmt::format("{}: no line InitiatorName=<name>", base::printable(path)));
    }
    Result<void> named = base::check_iscsi_name(found.name);
    if (!named) {
        return fail(Errc::invalid, fmt::format("{}: {}", base::printable(path), named.error().message()));
    }
    return found;
}

Result<Config> read_config(const std::string& path, Warnings& warnings) {
    Result<std::string> content = read_file(path);
    if (content) {
        return parse_config(*content, path, warnings);
    }
    if (content.error().code != Errc::not_found) {
        return fail(content.error());
    }
    warnings.push_back(content.error().detail);
    return Config{};
}

Result<Config> read_named_config(const std::string& path, Warnings& warnings) {
    Result<std::string> content = read_file(path);
    return content ? Result<Config>(parse_config(*content, path, warnings))
                   : fail(Errc::database, content.error().message());
}

Result<Paths> find_paths() {
    Paths paths = Paths::from_environment();
    if (paths.db_dir_is_chosen()) {
        return paths.db_dir_is_absolute()
                   ? Result<Paths>(paths)
                   : fail(Errc::database, "ISCSI_DB_DIR in the environment is not an absolute path");
    }
    Warnings said_by_those_who_use_it;
    const Result<Config> config = read_config(paths.config_file(), said_by_those_who_use_it);
    // Who may not read that file may not read the database either.
    const std::string db_dir = config ? config->daemon.text(Key::daemon_db_dir) : std::string();
    if (!db_dir.empty() && !db_dir.starts_with('/')) {
        return fail(Errc::database, fmt::format("{}: iscsid.db_dir = {} is not an absolute path",
                                                paths.config_file(), base::printable(db_dir)));
    }
    return Paths(paths.root(), db_dir);
}

Result<InitiatorName> Store::initiator_name() const {
    return read_initiator_name(paths_.initiator_name_file());
}

Result<Config> Store::config(Warnings& warnings) const {
    return read_config(paths_.config_file(), warnings);
}

} // namespace iscsi::records
