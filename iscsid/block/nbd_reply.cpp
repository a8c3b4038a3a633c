// The answering half of NbdConnection: requests to the handler, completions into replies, replies into sends.
#include "base/check.hpp"
#include "block/nbd_connection.hpp"
#include "block/nbd_rules.hpp"

#include <algorithm>
#include <cstring>

namespace iscsi::block {
namespace {

constexpr std::size_t iovecs_per_reply = 2;

} // namespace

void NbdConnection::start(Slot& slot) {
    slot.at_handler = true;
    ++at_handler_;
    handler_.start(slot);
}

void NbdConnection::complete(Request& request, int error_number) {
    auto& slot = static_cast<Slot&>(request);
    base::check(slot.connection == this && slot.at_handler,
                "a request is completed once, where it came from");
    slot.at_handler = false;
    --at_handler_;
    if (phase_ == Phase::closed) {
        free_slot(slot);
        owner_.on_ready();
        return;
    }
    if (slot.verb == Verb::discard && slot.fua && error_number == 0) {
        // Force unit access of a trim: its effect is on stable storage once a flush behind it is done.
        slot.verb = Verb::flush;
        slot.fua = false;
        return start(slot);
    }
    finish(slot, nbd::error_of(error_number));
    owner_.on_ready();
}

/// Queues the reply. Data that the client does not get is given back at once.
void NbdConnection::finish(Slot& slot, nbd::Error error) {
    put_head(slot, error);
    slot.wants_data = slot.wants_data && error == nbd::Error::none;
    if (!slot.wants_data) {
        release_data(slot);
    }
    replies_[(replies_first_ + replies_count_) % slots_max] = slot.index;
    ++replies_count_;
}

void NbdConnection::put_head(Slot& slot, nbd::Error error) {
    const auto put = [&slot](const auto& head) {
        static_assert(sizeof head <= sizeof slot.head);
        std::memcpy(slot.head.data(), &head, sizeof head);
        slot.head_bytes = sizeof head;
    };
    const bool failed = error != nbd::Error::none;
    if (!structured_replies_ || (!failed && !slot.wants_data)) {
        return put(nbd::SimpleReply{
            .magic = nbd::simple_reply_magic,
            .error = static_cast<std::uint32_t>(error),
            .cookie = slot.cookie,
        });
    }
    nbd::ChunkHeader header{
        .magic = nbd::structured_reply_magic,
        .flags = nbd::reply_done,
        .type = static_cast<std::uint16_t>(nbd::Chunk::none),
        .cookie = slot.cookie,
        .length = std::uint32_t{0},
    };
    if (failed) {
        header.type = static_cast<std::uint16_t>(nbd::Chunk::error);
        header.length = sizeof(nbd::ErrorChunk) - sizeof header;
        return put(nbd::ErrorChunk{
            .header = header,
            .error = static_cast<std::uint32_t>(error),
            .message_bytes = std::uint16_t{0},
        });
    }
    if (slot.data.empty()) {
        return put(header);
    }
    header.type = static_cast<std::uint16_t>(nbd::Chunk::offset_data);
    header.length = static_cast<std::uint32_t>(sizeof(base::Be64) + slot.data.size());
    put(nbd::OffsetDataChunk{.header = header, .offset = slot.offset_bytes});
}

void NbdConnection::release_data(Slot& slot) {
    if (!slot.data.empty()) {
        pool_.release(std::exchange(slot.data, {}), *this);
    }
}

void NbdConnection::free_slot(Slot& slot) {
    release_data(slot);
    free_slots_[free_count_++] = slot.index;
}

std::size_t NbdConnection::reply_bytes(const Slot& slot) const {
    return slot.head_bytes + slot.data.size();
}

std::span<iovec> NbdConnection::tx_spans(std::span<iovec> out) {
    std::size_t used = 0;
    const auto put = [&out, &used](const std::byte* bytes, std::size_t n) {
        out[used++] = {const_cast<std::byte*>(bytes), n};
    };
    if (const base::Bytes said = handshake_.output(); !said.empty() && !out.empty()) {
        put(said.data(), said.size());
    }
    std::size_t skip = reply_sent_;
    for (std::size_t i = 0; i < replies_count_ && out.size() - used >= iovecs_per_reply; ++i) {
        const Slot& slot = (*slots_)[replies_[(replies_first_ + i) % slots_max]];
        for (const base::Bytes part :
             {base::Bytes(slot.head).first(slot.head_bytes), base::Bytes(slot.data)}) {
            const std::size_t skipped = std::min(skip, part.size());
            skip -= skipped;
            if (skipped < part.size()) {
                put(part.data() + skipped, part.size() - skipped);
            }
        }
    }
    return out.first(used);
}

void NbdConnection::tx_done(std::size_t n) {
    const std::size_t said = std::min(n, handshake_.output().size());
    handshake_.sent(said);
    n -= said;
    while (n > 0) {
        base::check(replies_count_ > 0, "sent no more than there was");
        Slot& slot = (*slots_)[replies_[replies_first_]];
        const std::size_t left = reply_bytes(slot) - reply_sent_;
        if (n < left) {
            reply_sent_ += n;
            break;
        }
        n -= left;
        reply_sent_ = 0;
        replies_first_ = (replies_first_ + 1) % slots_max;
        --replies_count_;
        free_slot(slot);
    }
    if (finished()) {
        owner_.on_ready();
    }
}

} // namespace iscsi::block
