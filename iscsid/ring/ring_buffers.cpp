// The ring's table of registered buffers.
#include "ring/ring.hpp"

namespace iscsi::ring {

bool Ring::prepare_buffers() {
    if (!buffers_.empty()) {
        return true;
    }
    if (io_uring_register_buffers_sparse(&ring_, buffers_max) != 0) {
        return false;
    }
    buffers_.resize(buffers_max);
    for (std::uint32_t i = 0; i < buffers_max; ++i) {
        buffers_[i] = buffers_max - 1 - i;
    }
    free_buffers_ = buffers_max;
    return true;
}

std::optional<std::uint32_t> Ring::claim_buffer() {
    if (free_buffers_ == 0) {
        return std::nullopt;
    }
    return buffers_[--free_buffers_];
}

void Ring::release_buffer(std::uint32_t index) {
    buffers_[free_buffers_++] = index;
}

} // namespace iscsi::ring
