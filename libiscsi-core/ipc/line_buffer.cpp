#include "ipc/line_buffer.hpp"

#include "base/wiped.hpp"

namespace iscsi::ipc {

void LineBuffer::append(std::string_view bytes) {
    // What was given out is dropped here, not in next(): so a burst of short lines is moved once.
    if (taken_ != 0) {
        bytes_.erase(0, taken_);
        // Where the rest has been before.
        bytes_.append(taken_, '\0');
        bytes_.resize(bytes_.size() - taken_);
        searched_ -= taken_;
        taken_ = 0;
    }
    bytes_ += bytes;
}

base::Result<std::optional<std::string>> LineBuffer::next() {
    std::size_t end = bytes_.find('\n', searched_);
    std::size_t length = (end == std::string::npos ? bytes_.size() : end) - taken_;
    if (length > line_bytes_max_) {
        return base::fail(base::Errc::invalid, "a line is longer than the protocol allows");
    }
    if (end == std::string::npos) {
        searched_ = bytes_.size();
        return std::nullopt;
    }
    std::string line = bytes_.substr(taken_, length);
    base::wipe(std::as_writable_bytes(std::span(bytes_).subspan(taken_, length)));
    taken_ = end + 1;
    searched_ = taken_;
    return line;
}

} // namespace iscsi::ipc
