// Cuts the bytes of a stream socket into lines of bounded length. The caller appends what it received and
// takes the lines out; a line longer than the bound makes every later call fail, because the stream cannot be
// trusted any more. Lines may carry secrets: what was taken out is not left in the buffer. Owns its bytes;
// one thread.
#pragma once

#include "base/limits.hpp"
#include "base/result.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace iscsi::ipc {

class LineBuffer {
public:
    explicit LineBuffer(std::size_t line_bytes_max = base::limits::ipc_line_bytes_max)
        : line_bytes_max_(line_bytes_max) {}

    void append(std::string_view bytes);

    /// The next whole line without its newline; empty when more bytes are needed. Error `invalid` when a line
    /// is longer than the bound.
    base::Result<std::optional<std::string>> next();

    /// Bytes that are held and not yet taken.
    std::size_t size() const { return bytes_.size() - taken_; }

private:
    std::size_t line_bytes_max_;
    std::string bytes_;
    std::size_t taken_ = 0;    ///< bytes_ before this were given out
    std::size_t searched_ = 0; ///< no newline before this
};

} // namespace iscsi::ipc
