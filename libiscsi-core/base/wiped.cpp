#include "base/wiped.hpp"

#include <cstring>
#include <utility>

namespace iscsi::base {

void wipe(MutableBytes bytes) {
    if (!bytes.empty()) {
        ::explicit_bzero(bytes.data(), bytes.size());
    }
}

void wipe(std::string& text) noexcept {
    // Behind its end may stand what it was before.
    text.resize(text.capacity());
    ::explicit_bzero(text.data(), text.size());
    text.clear();
}

WipedText::WipedText(WipedText&& other) noexcept : text_(std::move(other.text_)) {
    wipe(other.text_);
}

WipedText& WipedText::operator=(const WipedText& other) {
    if (this != &other) {
        wipe(text_);
        text_ = other.text_;
    }
    return *this;
}

WipedText& WipedText::operator=(WipedText&& other) noexcept {
    if (this != &other) {
        wipe(text_);
        text_ = std::move(other.text_);
        wipe(other.text_);
    }
    return *this;
}

} // namespace iscsi::base
