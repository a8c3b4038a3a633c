#include "records/secret_reference.hpp"

#include "records/names.hpp"

namespace iscsi::records {

std::optional<SecretReference> secret_reference(std::string_view value) {
    constexpr std::string_view file = "file:";
    constexpr std::string_view credential = "credential:";
    if (value.starts_with("file:/")) {
        return SecretReference{SecretReference::Kind::file, std::string(value.substr(file.size()))};
    }
    if (value.starts_with(credential)) {
        return SecretReference{SecretReference::Kind::credential,
                               std::string(value.substr(credential.size()))};
    }
    return std::nullopt;
}

base::Result<void> check_secret_reference(const SecretReference& reference) {
    return reference.kind == SecretReference::Kind::credential ? check_file_name(reference.place)
                                                               : base::Result<void>();
}

} // namespace iscsi::records
