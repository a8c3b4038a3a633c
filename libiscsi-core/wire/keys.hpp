// The key=value text of login and text PDUs (RFC 7143 section 6.1): a reader over bytes somebody else owns
// and a writer with a bound. The reader checks syntax only; what a key means is login's business. Any thread.
#pragma once

#include "base/bytes.hpp"
#include "base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace iscsi::wire {

/// RFC 7143 section 6.1: a value without a longer bound of its own.
inline constexpr std::size_t simple_value_bytes_max = 255;
/// The longest value that means anything to us: CHAP's 1024 bytes in hexadecimal behind "0x"
/// (section 12.1.3).
inline constexpr std::size_t value_bytes_max = 2 + 2 * 1024;

/// One pair, viewed in the text it was read from.
struct KeyValue {
    std::string_view key;
    std::string_view value;
    bool operator==(const KeyValue&) const = default;
};

/// True for a capital letter followed by up to 62 of A-Z a-z 0-9 . - + @ _ (RFC 7143 section 6.1), for the
/// few defined keys that begin with a small letter ("iSCSIProtocolLevel", RFC 7144), and for such names with
/// X# before them ("X#NodeArchitecture", RFC 7143 section 13.26, which targets send although the syntax has
/// no '#').
bool is_key_name(std::string_view name);

/// Walks the pairs of one complete key text. Errors are Errc::protocol.
class KeyReader {
public:
    /// `text` outlives the reader and the pairs it gives.
    explicit KeyReader(base::Bytes text) : rest_(base::text_of(text)) {}
    explicit KeyReader(std::string_view text) : rest_(text) {}

    /// The next pair, or empty at the end. Fails on a missing final NUL, a bad key name, a missing '=', a
    /// value that is too long. Stray empty pairs (extra NULs) are skipped: targets pad with them.
    base::Result<std::optional<KeyValue>> next();

private:
    std::string_view rest_;
};

/// Collects pairs up to a bound.
class KeyWriter {
public:
    explicit KeyWriter(std::size_t max_bytes) : max_bytes_(max_bytes) {}

    /// Appends "key=value" and its NUL. Errc::invalid when a name or value is not sayable or the bound is
    /// hit.
    base::Result<void> add(std::string_view key, std::string_view value);
    base::Result<void> add(std::string_view key, std::uint64_t value);
    base::Result<void> add(std::string_view key, bool value);
    base::Result<void> add(std::string_view key, const char* value) {
        return add(key, std::string_view(value));
    }

    bool empty() const { return text_.empty(); }
    /// Valid until the next add or clear.
    base::Bytes bytes() const { return base::bytes_of(text_); }
    void clear() { text_.clear(); }
    /// Hands the text out and starts anew.
    std::string take();

private:
    std::string text_;
    std::size_t max_bytes_;
};

} // namespace iscsi::wire
