// The half of CHAP that is OpenSSL's: digests, randomness, and challenges that can be recognised.
#include "login/chap.hpp"

#include "base/check.hpp"
#include "base/wiped.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <memory>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

namespace iscsi::login {
namespace {

using base::Errc;
using base::Result;

struct Row {
    ChapAlgorithm algorithm;
    std::string_view name;
    const char* openssl_name;
    std::size_t response_bytes;
};

constexpr std::array<Row, 4> rows{{
    {ChapAlgorithm::md5, "MD5", "MD5", 16},
    {ChapAlgorithm::sha1, "SHA1", "SHA1", 20},
    {ChapAlgorithm::sha256, "SHA256", "SHA256", 32},
    {ChapAlgorithm::sha3_256, "SHA3-256", "SHA3-256", 32},
}};

const Row& row_of(ChapAlgorithm algorithm) {
    for (const Row& row : rows) {
        if (row.algorithm == algorithm) {
            return row;
        }
    }
    base::check(false, "a CHAP algorithm that is not in the table");
    return rows[0];
}

using Digest = std::unique_ptr<EVP_MD, decltype(&EVP_MD_free)>;
using Context = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;

Digest fetch(ChapAlgorithm algorithm) {
    return {EVP_MD_fetch(nullptr, row_of(algorithm).openssl_name, nullptr), &EVP_MD_free};
}

bool add(EVP_MD_CTX* context, base::Bytes bytes) {
    return EVP_DigestUpdate(context, bytes.data(), bytes.size()) == 1;
}

} // namespace

std::string_view text(ChapAlgorithm algorithm) {
    return row_of(algorithm).name;
}

std::size_t response_bytes(ChapAlgorithm algorithm) {
    return row_of(algorithm).response_bytes;
}

bool is_available(ChapAlgorithm algorithm) {
    return fetch(algorithm) != nullptr;
}

Result<Secret> chap_response(ChapAlgorithm algorithm, std::uint8_t identifier, base::Bytes secret,
                             base::Bytes challenge) {
    Digest digest = fetch(algorithm);
    Context context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
    std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
    unsigned int size = 0;
    bool computed = digest && context && EVP_DigestInit_ex(context.get(), digest.get(), nullptr) == 1 &&
                    add(context.get(), base::bytes_of_object(identifier)) && add(context.get(), secret) &&
                    add(context.get(), challenge) &&
                    EVP_DigestFinal_ex(context.get(), out.data(), &size) == 1 &&
                    size == response_bytes(algorithm);
    if (!computed) {
        return base::fail(Errc::internal, fmt::format("CHAP: this host cannot compute {}", text(algorithm)));
    }
    Secret response(std::as_bytes(std::span(out.data(), size)));
    base::wipe(std::as_writable_bytes(std::span(out)));
    return response;
}

bool system_random(base::MutableBytes out) {
    return RAND_bytes(reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(out.size())) == 1;
}

Challenges::Challenges(RandomSource random) : random_(std::move(random)), ready_(random_(key_)) {}

Challenges::~Challenges() {
    base::wipe(key_);
}

const Challenges& Challenges::of_process() {
    static const Challenges challenges;
    return challenges;
}

bool Challenges::mark(base::Bytes nonce, base::MutableBytes out) const {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int size = 0;
    const auto* input = reinterpret_cast<const unsigned char*>(nonce.data());
    if (!ready_ || HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()), input, nonce.size(),
                        digest.data(), &size) == nullptr) {
        return false;
    }
    std::memcpy(out.data(), digest.data(), std::min<std::size_t>(out.size(), size));
    return true;
}

Result<Challenges::Challenge> Challenges::fresh() const {
    Challenge challenge;
    base::MutableBytes whole(challenge);
    if (!random_(whole.first(nonce_bytes)) || !mark(whole.first(nonce_bytes), whole.subspan(nonce_bytes))) {
        return base::fail(Errc::internal, "CHAP: no random numbers on this host");
    }
    return challenge;
}

Result<std::uint8_t> Challenges::fresh_identifier() const {
    std::byte identifier{};
    if (!random_(base::MutableBytes(&identifier, 1))) {
        return base::fail(Errc::internal, "CHAP: no random numbers on this host");
    }
    return std::to_integer<std::uint8_t>(identifier);
}

bool Challenges::is_ours(base::Bytes challenge) const {
    std::array<std::byte, challenge_bytes - nonce_bytes> expected{};
    return challenge.size() == challenge_bytes && mark(challenge.first(nonce_bytes), expected) &&
           same_secret(challenge.subspan(nonce_bytes), expected);
}

} // namespace iscsi::login
