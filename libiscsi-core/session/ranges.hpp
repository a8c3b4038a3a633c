// Which bytes of a write its target has been given, or has asked for: each once. A few ranges that grow
// together, so that also a target that jumps is followed without memory taken. A plain value; one thread
// (that of the session). RFC 7143 sections 11.8 and 13.19.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace iscsi::session {

class Ranges {
public:
    /// Ranges apart from each other that there is room for. In order, as login always asks for
    /// (DataSequenceInOrder, where one Yes decides), there is one.
    static constexpr std::size_t most = 4;

    void clear() { count_ = 0; }

    /// The bytes from `begin` to before `end` (more than none); false, and nothing is changed, when one of
    /// them is in already, or when this would leave more ranges than there is room for.
    bool add(std::uint32_t begin, std::uint32_t end) {
        std::size_t at = 0;
        while (at < count_ && ranges_[at].end < begin) {
            ++at;
        }
        // All before `at` end before it, with a gap.
        bool joins_left = at < count_ && ranges_[at].end == begin;
        std::size_t right = at + (joins_left ? 1 : 0);
        if (right < count_ && ranges_[right].begin < end) {
            return false;
        }
        bool joins_right = right < count_ && ranges_[right].begin == end;
        if (joins_left) {
            ranges_[at].end = joins_right ? ranges_[right].end : end;
            if (joins_right) {
                std::move(ranges_.begin() + right + 1, ranges_.begin() + count_, ranges_.begin() + right);
                --count_;
            }
            return true;
        }
        if (joins_right) {
            ranges_[right].begin = begin;
            return true;
        }
        if (count_ == most) {
            return false;
        }
        std::move_backward(ranges_.begin() + at, ranges_.begin() + count_, ranges_.begin() + count_ + 1);
        ranges_[at] = {begin, end};
        ++count_;
        return true;
    }

private:
    struct Range {
        std::uint32_t begin;
        std::uint32_t end;
    };

    std::array<Range, most> ranges_; ///< the first count_, in order, with gaps between them
    std::uint32_t count_ = 0;
};

} // namespace iscsi::session
