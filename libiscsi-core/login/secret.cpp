#include "login/secret.hpp"

#include "base/wiped.hpp"

#include <openssl/crypto.h>
#include <utility>

namespace iscsi::login {

Secret::Secret(std::string_view text) : Secret(base::bytes_of(text)) {}

Secret::Secret(base::Bytes bytes) : bytes_(bytes.begin(), bytes.end()) {}

Secret::Secret(Secret&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

Secret& Secret::operator=(const Secret& other) {
    if (this != &other) {
        wipe();
        bytes_ = other.bytes_;
    }
    return *this;
}

Secret& Secret::operator=(Secret&& other) noexcept {
    if (this != &other) {
        wipe();
        bytes_ = std::exchange(other.bytes_, {});
    }
    return *this;
}

Secret::~Secret() {
    wipe();
}

void Secret::wipe() {
    base::wipe(bytes_);
    bytes_.clear();
}

bool same_secret(base::Bytes a, base::Bytes b) {
    return a.size() == b.size() && (a.empty() || CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0);
}

} // namespace iscsi::login
