#include "block/nbd_connection.hpp"

#include "base/check.hpp"
#include "block/nbd_rules.hpp"

#include <algorithm>
#include <cstring>

namespace iscsi::block {

NbdConnection::NbdConnection(const Context& context)
    : info_(context.info), pool_(context.pool), handler_(context.handler), owner_(context.owner),
      barrier_(context.barrier), handshake_(context.info),
      staging_(std::make_unique<std::array<std::byte, staging_bytes>>()),
      slots_(std::make_unique<std::array<Slot, slots_max>>()) {
    static_assert(NbdHandshake::input_bytes_max <= staging_bytes);
    for (std::size_t i = 0; i < slots_max; ++i) {
        Slot& slot = (*slots_)[i];
        slot.connection = this;
        slot.index = static_cast<SlotIndex>(i);
        free_slots_[free_count_++] = slot.index;
    }
}

NbdConnection::~NbdConnection() {
    base::check(idle(), "a connection dies after its requests");
}

void NbdConnection::reset() {
    base::check(idle() && free_count_ == slots_max, "a connection is idle before it serves a client");
    broken_ = {};
    structured_replies_ = false;
    read_at_ = filled_to_ = 0;
    blocked_ = false;
    payload_ = nullptr;
    discard_bytes_ = 0;
    reply_sent_ = 0;
}

void NbdConnection::open(base::TimePoint now) {
    reset();
    handshake_.begin();
    handshake_end_ = now + handshake_time_max;
    phase_ = Phase::handshake;
}

void NbdConnection::open_transmission() {
    reset();
    attributes_ = info_.attributes;
    phase_ = Phase::transmission;
}

void NbdConnection::abandon() {
    phase_ = Phase::closed;
    pool_.forget(*this);
    if (payload_ != nullptr) {
        free_slot(*std::exchange(payload_, nullptr));
    }
    while (replies_count_ > 0) {
        Slot& slot = (*slots_)[replies_[replies_first_]];
        replies_first_ = (replies_first_ + 1) % slots_max;
        --replies_count_;
        free_slot(slot);
    }
}

NbdConnection& NbdConnection::of(Request& request) {
    return *static_cast<Slot&>(request).connection;
}

bool NbdConnection::finished() const {
    return phase_ == Phase::leaving && handshake_.output().empty() && free_count_ == slots_max;
}

base::RxSpans NbdConnection::rx_spans() {
    if (blocked_ && (phase_ == Phase::handshake || phase_ == Phase::transmission)) {
        base::Result<void> advanced = advance();
        if (!advanced) {
            broken_ = std::move(advanced.error());
            phase_ = Phase::broken;
        }
        if (finished()) {
            owner_.on_ready();
        }
    }
    if (blocked_ || (phase_ != Phase::handshake && phase_ != Phase::transmission)) {
        return {};
    }
    base::RxSpans spans;
    if (payload_ != nullptr) {
        spans.direct = payload_->data.subspan(payload_received_);
    }
    spans.staging = base::MutableBytes(*staging_).subspan(filled_to_);
    return spans;
}

base::Result<void> NbdConnection::rx_done(std::size_t n, base::TimePoint) {
    if (payload_ != nullptr) {
        const std::size_t direct = std::min(n, payload_->data.size() - payload_received_);
        payload_received_ += direct;
        n -= direct;
        if (payload_received_ == payload_->data.size()) {
            on_payload_complete();
        }
    }
    base::check(n <= staging_bytes - filled_to_, "received what there was room for");
    filled_to_ += n;
    return advance();
}

/// Works through staging_ until more bytes, memory or slots are needed.
base::Result<void> NbdConnection::advance() {
    Step last = Step::stepped;
    while (last == Step::stepped) {
        const base::Bytes unread = base::Bytes(*staging_).subspan(read_at_, filled_to_ - read_at_);
        if (unread.empty() || phase_ == Phase::leaving) {
            last = Step::starved;
            break;
        }
        base::Result<Step> done = step(unread);
        if (!done) {
            return base::fail(std::move(done.error()));
        }
        last = *done;
    }
    blocked_ = last == Step::blocked;
    if (!blocked_ && read_at_ > 0) {
        std::memmove(staging_->data(), staging_->data() + read_at_, filled_to_ - read_at_);
        filled_to_ -= read_at_;
        read_at_ = 0;
    }
    return {};
}

base::Result<NbdConnection::Step> NbdConnection::step(base::Bytes unread) {
    if (phase_ == Phase::handshake) {
        return step_handshake(unread);
    }
    if (discard_bytes_ > 0) {
        const std::uint64_t dropped = std::min<std::uint64_t>(discard_bytes_, unread.size());
        discard_bytes_ -= dropped;
        consume(dropped);
        return Step::stepped;
    }
    if (payload_ != nullptr) {
        take_payload(unread);
        return Step::stepped;
    }
    return step_header(unread);
}

base::Result<NbdConnection::Step> NbdConnection::step_handshake(base::Bytes unread) {
    if (!handshake_.output().empty()) {
        return Step::blocked;
    }
    base::Result<std::size_t> taken = handshake_.take(unread);
    if (!taken) {
        return base::fail(std::move(taken.error()));
    }
    consume(*taken);
    if (handshake_.outcome() == NbdHandshake::Outcome::transmission) {
        attributes_ = info_.attributes;
        structured_replies_ = handshake_.structured_replies();
        phase_ = Phase::transmission;
    }
    if (handshake_.outcome() == NbdHandshake::Outcome::aborted) {
        phase_ = Phase::leaving;
    }
    return *taken > 0 ? Step::stepped : Step::starved;
}

void NbdConnection::take_payload(base::Bytes unread) {
    const std::size_t n = std::min(unread.size(), payload_->data.size() - payload_received_);
    std::memcpy(payload_->data.data() + payload_received_, unread.data(), n);
    payload_received_ += n;
    consume(n);
    if (payload_received_ == payload_->data.size()) {
        on_payload_complete();
    }
}

void NbdConnection::on_payload_complete() {
    Slot& slot = *std::exchange(payload_, nullptr);
    payload_received_ = 0;
    start(slot);
}

base::Result<NbdConnection::Step> NbdConnection::step_header(base::Bytes unread) {
    if (unread.size() < sizeof(nbd::RequestHeader)) {
        return Step::starved;
    }
    const auto header = base::load<nbd::RequestHeader>(unread);
    if (header.magic != nbd::request_magic) {
        return base::fail(base::Errc::protocol, "nbd client: bad magic of a request");
    }
    const auto command = static_cast<nbd::Command>(header.type.get());
    if (command == nbd::Command::disc) {
        phase_ = Phase::leaving;
        return Step::stepped;
    }
    if (command == nbd::Command::write && header.length > nbd::payload_bytes_max) {
        return base::fail(base::Errc::protocol, "nbd client: payload too long");
    }
    const nbd::Error refused = nbd::refusal(header, attributes_, structured_replies_);
    const Step begun = begin(header, refused);
    if (begun == Step::stepped) {
        consume(sizeof header);
    }
    return begun;
}

/// Gives the request a slot and memory and sends it on its way; changes nothing when there is none, or when
/// it has to wait for those of a client that has gone.
NbdConnection::Step NbdConnection::begin(const nbd::RequestHeader& header, nbd::Error refused) {
    if (free_count_ == 0 || (barrier_ != nullptr && barrier_->load(std::memory_order_seq_cst) != 0)) {
        return Step::blocked;
    }
    const auto command = static_cast<nbd::Command>(header.type.get());
    const bool has_data = command == nbd::Command::read || command == nbd::Command::write;
    base::MutableBytes data;
    if (has_data && refused == nbd::Error::none && header.length > 0) {
        data = pool_.claim(header.length, *this);
        if (data.empty()) {
            return Step::blocked;
        }
    }
    Slot& slot = (*slots_)[free_slots_[--free_count_]];
    slot.cookie = header.cookie;
    slot.fua = (header.flags & nbd::command_fua) != 0;
    slot.may_unmap = (header.flags & nbd::command_no_hole) == 0;
    slot.offset_bytes = header.offset;
    slot.length_bytes = header.length;
    slot.data = data;
    slot.wants_data = command == nbd::Command::read;
    if (refused != nbd::Error::none) {
        pool_.forget(*this); // it may have waited for memory, and the device has shrunk meanwhile
        discard_bytes_ = command == nbd::Command::write ? header.length.get() : 0;
        finish(slot, refused);
        return Step::stepped;
    }
    switch (command) {
    case nbd::Command::write:
        slot.verb = Verb::write;
        break;
    case nbd::Command::flush:
        slot.verb = Verb::flush;
        break;
    case nbd::Command::trim:
        slot.verb = Verb::discard;
        break;
    case nbd::Command::write_zeroes:
        slot.verb = Verb::write_zeroes;
        break;
    default:
        slot.verb = Verb::read;
    }
    if (slot.verb != Verb::flush && header.length == 0) {
        finish(slot, nbd::Error::none); // the protocol leaves the meaning open; nothing to do is done
    } else if (slot.verb == Verb::write) {
        payload_ = &slot;
        payload_received_ = 0;
    } else {
        start(slot);
    }
    return Step::stepped;
}

base::Deadline NbdConnection::deadline() const {
    switch (phase_) {
    case Phase::handshake:
        return handshake_end_;
    case Phase::broken:
        return base::TimePoint{};
    default:
        return {};
    }
}

base::Result<void> NbdConnection::at(base::TimePoint now) {
    if (phase_ == Phase::broken) {
        return base::fail(broken_);
    }
    if (phase_ == Phase::handshake && now >= handshake_end_) {
        return base::fail(base::Errc::request_timed_out, "nbd client: did not finish the handshake");
    }
    return {};
}

} // namespace iscsi::block
