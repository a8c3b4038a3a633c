#include "records/paths.hpp"

#include <cstdlib>
#include <filesystem>
#include <system_error>

#ifndef ISCSI_DB_DIR
#define ISCSI_DB_DIR "/etc/iscsi"
#endif

namespace iscsi::records {

Paths::Paths(std::string_view root) {
    while (root.ends_with('/')) {
        root.remove_suffix(1);
    }
    root_ = root;
}

Paths Paths::from_environment() {
    const char* root = ::secure_getenv("ISCSI_ROOT");
    if (root == nullptr || *root == '\0') {
        return Paths();
    }
    std::error_code error;
    std::filesystem::path absolute = std::filesystem::absolute(root, error);
    return Paths(error ? std::string(root) : absolute.lexically_normal().string());
}

std::string Paths::db_dir() const {
    return root_ + ISCSI_DB_DIR;
}

} // namespace iscsi::records
