// A secret's key may say where the secret is instead of what it is: "file:/path" or "credential:NAME". The
// reference is what records, listings and requests carry; the daemon looks behind it when it logs in. Pure
// functions; any thread.
#pragma once

#include "base/result.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace iscsi::records {

struct SecretReference {
    enum class Kind : std::uint8_t {
        file,       ///< place is an absolute path
        credential, ///< place is the name of a credential of the daemon's service (systemd.exec(5))
    };
    Kind kind;
    std::string place;
};

/// The reference in the value of a secret's key; empty when the value is the secret itself. Every value that
/// begins with "file:/" or "credential:" is a reference.
std::optional<SecretReference> secret_reference(std::string_view value);

/// Fit to be looked behind: a credential's name is the name of a file. Errc::invalid.
base::Result<void> check_secret_reference(const SecretReference& reference);

} // namespace iscsi::records
