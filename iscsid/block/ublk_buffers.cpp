// Requests whose data stay in the kernel: their pages are put into the ring's table of buffers while the
// handler has the request, and the socket's operations name them there.
#include "base/check.hpp"
#include "block/ublk_queue.hpp"
#include "block/ublk_rules.hpp"

#include <utility>

namespace iscsi::block {

bool UblkQueue::takes_buffer(const Tag& tag) const {
    return device_.zero_copy_bytes_min != 0 && ublk::has_data(tag.verb) &&
           tag.length_bytes >= device_.zero_copy_bytes_min && context_.handler.takes_buffers();
}

/// False: there is no place, and the data have to be copied.
bool UblkQueue::register_buffer(Tag& tag) {
    if (tag.buffer_op.pending()) {
        return false;
    }
    tag.buffer = context_.loop.ring().claim_buffer();
    if (!tag.buffer) {
        return false;
    }
    ublk::IoCommand argument;
    argument.tag = tag.number;
    argument.address = *tag.buffer;
    submit_command(tag.buffer_op, ublk::register_io_buf, argument);
    tag.state = State::registering;
    ++at_handler_;
    return true;
}

/// Before the request goes back to the kernel: it ends when nothing holds its pages any more.
void UblkQueue::unregister_buffer(Tag& tag) {
    const std::uint32_t index = *std::exchange(tag.buffer, std::nullopt);
    ublk::IoCommand argument;
    argument.tag = tag.number;
    argument.address = index;
    submit_command(tag.buffer_op, ublk::unregister_io_buf, argument);
    // Whoever gets the place registers behind this.
    context_.loop.ring().release_buffer(index);
}

void UblkQueue::Tag::on_buffer(ring::Completion completion) {
    if (queue != nullptr && state == State::registering) {
        queue->on_registered(*this, completion.result);
    }
}

void UblkQueue::on_registered(Tag& tag, int result) {
    --at_handler_;
    if (result < 0) {
        // The kernel is another one than its flags say: copying always works.
        context_.loop.ring().release_buffer(*std::exchange(tag.buffer, std::nullopt));
        device_.zero_copy_bytes_min = 0;
    }
    if (closing_) {
        release(tag);
        turn_away(tag);
        return context_.loop.mark(*this);
    }
    if (result >= 0) {
        return start(tag, {});
    }
    start_copying(tag);
}

} // namespace iscsi::block
