// The one table of login keys (RFC 7143 section 13 and what RFC 7144 and the obsolete ones add): name, type,
// range, default, rule, scope, who may send it and when, and the member its result lands in. Everything that
// knows a key by name asks here. Constant data; any thread.
#pragma once

#include "wire/parameters.hpp"

#include <cstdint>
#include <span>
#include <string_view>
#include <variant>

namespace iscsi::login {

/// The syntax of a value (RFC 7143 section 6.1).
enum class KeyType : std::uint8_t { boolean, number, list, text };

/// How the two sides' values become one (RFC 7143 section 6.2).
enum class KeyRule : std::uint8_t {
    minimum,     ///< the smaller number
    maximum,     ///< the larger number
    logical_and, ///< Yes when both say Yes
    logical_or,  ///< Yes when either says Yes
    choose,      ///< the first of the proposer's list that the other supports
    declare,     ///< each side tells its own; no answer
    refuse,      ///< obsolete: answered with Reject (RFC 7143 section 13.25)
};

enum class KeyScope : std::uint8_t { session, connection };

/// Who may send a key.
enum class KeySender : std::uint8_t { initiator, target, both };

/// In which stages of login a key may be sent.
enum class KeyStage : std::uint8_t { any, operational };

/// Where the result is kept; monostate for keys that login keeps itself.
using KeyMember =
    std::variant<std::monostate, bool wire::SessionParameters::*, std::uint8_t wire::SessionParameters::*,
                 std::uint16_t wire::SessionParameters::*, std::uint32_t wire::SessionParameters::*,
                 bool wire::ConnectionParameters::*, std::uint32_t wire::ConnectionParameters::*>;

struct LoginKey {
    std::string_view name;
    KeyType type;
    KeyRule rule;
    KeyScope scope;
    KeySender sender;
    KeyStage stage;
    bool in_discovery;             ///< false: irrelevant in a discovery session
    std::uint32_t low;             ///< numbers: smallest legal value
    std::uint32_t high;            ///< numbers: largest legal value
    std::uint32_t initial;         ///< the RFC's default; booleans: 1 = Yes
    std::string_view initial_text; ///< the default of a list
    KeyMember member;
};

/// All keys, in the order in which they are offered.
std::span<const LoginKey> login_keys();

/// The row of `name` (case-sensitive), or nullptr.
const LoginKey* find_login_key(std::string_view name);

} // namespace iscsi::login
