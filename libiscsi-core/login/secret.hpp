// Bytes that are wiped when they are no longer needed. Never printed, never compared in a way that tells how
// much was right. Owned; any thread, one at a time.
#pragma once

#include "base/bytes.hpp"

#include <string_view>
#include <vector>

namespace iscsi::login {

class Secret {
public:
    Secret() = default;
    explicit Secret(std::string_view text);
    explicit Secret(base::Bytes bytes);
    Secret(const Secret&) = default;
    Secret(Secret&& other) noexcept;
    Secret& operator=(const Secret& other);
    Secret& operator=(Secret&& other) noexcept;
    ~Secret();

    bool empty() const { return bytes_.empty(); }
    base::Bytes bytes() const { return bytes_; }

private:
    void wipe();

    std::vector<std::byte> bytes_;
};

/// Equality in a time that depends on the lengths only.
bool same_secret(base::Bytes a, base::Bytes b);

} // namespace iscsi::login
