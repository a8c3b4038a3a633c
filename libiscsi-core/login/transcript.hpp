// What was said in one login, for people who look for the reason why it failed: each PDU's direction, stages
// and status, and the keys as they went over the wire. Never a secret: values are shown of keys that are
// known to hold none; of CHAP_R, CHAP_C and what is not known the length is. A challenge with its response
// would let somebody guess the secret off line. Safe to print whatever the target sends, and bounded. It
// keeps a part of a text until the rest has come, and wipes it. One thread.
#pragma once

#include "base/bytes.hpp"
#include "wire/bhs.hpp"

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::login {

class Transcript {
public:
    /// Of both directions together; the first and the last half of a longer one are kept.
    static constexpr std::size_t lines_max = 240;
    /// Of one PDU; the rest is counted.
    static constexpr std::size_t keys_max = 48;
    /// Of a line, in characters; no line is longer.
    static constexpr std::size_t line_bytes_max = 320;

    Transcript() = default;
    Transcript(const Transcript&) = delete;
    Transcript& operator=(const Transcript&) = delete;
    ~Transcript();

    /// A Login Request on its way, with its data segment.
    void sent(const wire::Bhs& header, base::Bytes data);
    /// Whatever came, whole, with its data segment; of another PDU than a Login Response only the header is
    /// looked at.
    void received(const wire::Bhs& header, base::Bytes data);

    /// So far, one line each, without newlines: "> " before what we sent, "< " before what came, "    "
    /// before the keys of the PDU above.
    std::vector<std::string> lines() const;

private:
    /// Key text of one direction, over PDUs with the C bit.
    struct Text {
        std::string part;       ///< of a pair whose end has not come
        std::size_t beyond = 0; ///< bytes of it that are not kept
        bool is_rest = false;   ///< the pair before had no NUL: what comes may be the rest of its value
    };

    void add(std::string line);
    void add_text(Text& text, base::Bytes data, bool continues);
    void end_pair(Text& text, std::size_t& keys, bool has_end);

    std::vector<std::string> first_;
    std::deque<std::string> last_;
    std::size_t left_out_ = 0;
    Text ours_;
    Text theirs_;
};

/// "Key=value" as a transcript shows it.
std::string shown_pair(std::string_view pair);

} // namespace iscsi::login
