#include "records/paths.hpp"

#include <cstdlib>
#include <filesystem>
#include <system_error>

#ifndef ISCSI_DB_DIR
#define ISCSI_DB_DIR "/etc/iscsi"
#endif

namespace iscsi::records {

namespace {

std::string_view without_slashes_at_end(std::string_view path) {
    while (path.ends_with('/')) {
        path.remove_suffix(1);
    }
    return path;
}

/// The variable as a path without dots; empty when it is not set.
std::filesystem::path path_from_environment(const char* name) {
    const char* value = ::secure_getenv(name);
    return value == nullptr ? std::filesystem::path() : std::filesystem::path(value).lexically_normal();
}

/// The same, from the current directory.
std::string absolute_path_from_environment(const char* name) {
    const std::filesystem::path path = path_from_environment(name);
    if (path.empty()) {
        return {};
    }
    std::error_code error;
    std::filesystem::path absolute = std::filesystem::absolute(path, error);
    return error ? path.string() : absolute.lexically_normal().string();
}

} // namespace

Paths::Paths(std::string_view root, std::string_view db_dir)
    : root_(without_slashes_at_end(root)), db_dir_(without_slashes_at_end(db_dir)),
      db_dir_is_chosen_(!db_dir_.empty()) {
    if (!db_dir_is_chosen_) {
        db_dir_ = ISCSI_DB_DIR;
    }
}

Paths Paths::from_environment() {
    return Paths(absolute_path_from_environment("ISCSI_ROOT"),
                 path_from_environment("ISCSI_DB_DIR").string());
}

} // namespace iscsi::records
