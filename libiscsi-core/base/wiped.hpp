// Memory that is not left as it was. A std::string leaves its text behind where it dies, where a short one
// was moved from, and where it outgrew its place; WipedText does not, so secrets are held in one. What is
// copied out of it is the copier's. Owned; any thread, one at a time.
#pragma once

#include "base/bytes.hpp"

#include <string>
#include <string_view>

namespace iscsi::base {

/// Zeroes, also where the compiler could tell that nobody looks any more.
void wipe(MutableBytes bytes);
/// Zeroes all that the string holds in memory, and leaves it empty.
void wipe(std::string& text) noexcept;

class WipedText {
public:
    WipedText() = default;
    explicit WipedText(std::string_view text) : text_(text) {}
    WipedText(const WipedText&) = default;
    WipedText(WipedText&& other) noexcept;
    WipedText& operator=(const WipedText& other);
    WipedText& operator=(WipedText&& other) noexcept;
    ~WipedText() { wipe(text_); }

    const std::string& text() const { return text_; }
    bool empty() const { return text_.empty(); }

    friend bool operator==(const WipedText&, const WipedText&) = default;
    friend bool operator==(const WipedText& a, std::string_view b) { return a.text_ == b; }

private:
    std::string text_;
};

} // namespace iscsi::base
