// The commands that a block request becomes.
#include "shard/lun.hpp"

#include "base/limits.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace iscsi::shard {
namespace {

namespace limits = base::limits;

/// What zeroes are written from where the target has no WRITE SAME.
constexpr std::size_t zeroes_bytes = std::size_t{256} * 1024;
alignas(4096) const std::array<std::byte, zeroes_bytes> zeroes{};

/// WRITE SAME without a limit from the target: as many blocks as its (10) form can say, as Linux does.
constexpr std::uint64_t write_same_blocks_default = 0xffff;

} // namespace

bool Lun::prepare(Slot& slot) {
    slot.data_in = {};
    slot.sink = nullptr;
    slot.registered = {};
    slot.data_out = {};
    slot.direction = session::Direction::none;
    slot.write_same = false;
    slot.attribute = session::TaskAttribute::simple;
    slot.timeout = {};
    block::Verb verb = slot.phase == Phase::flush ? block::Verb::flush : slot.request->verb;
    switch (verb) {
    case block::Verb::read:
        prepare_transfer(slot, false);
        return true;
    case block::Verb::write:
        prepare_transfer(slot, true);
        return true;
    case block::Verb::flush:
        slot.covers = cache_->unflushed.acknowledged();
        if (!facts_.write_cache && !others_know_a_cache()) {
            // One that was turned off has been written out (SBC-3 section 6.4.5).
            cache_->unflushed.on_flushed(slot.covers);
            finish(slot, end_of_flush(slot));
            return false;
        }
        slot.timeout = limits::scsi_flush_timeout;
        set_command(slot, scsi::synchronize_cache10());
        return true;
    case block::Verb::discard:
        return prepare_discard(slot);
    case block::Verb::write_zeroes:
        prepare_zeroes(slot);
        return true;
    }
    return false;
}

void Lun::set_command(Slot& slot, const scsi::Cdb& cdb) {
    slot.cdb = cdb.bytes;
    slot.cdb_bytes = cdb.length;
}

scsi::BlockRange Lun::next_piece(const Slot& slot, std::uint64_t bytes_max) const {
    const block::Request& request = *slot.request;
    std::uint64_t bytes = std::min(request.length_bytes - slot.done_bytes, bytes_max);
    return {base::Lba((request.offset_bytes + slot.done_bytes) / facts_.block_bytes),
            base::BlockCount(bytes / facts_.block_bytes)};
}

void Lun::prepare_transfer(Slot& slot, bool write) {
    const block::Request& request = *slot.request;
    scsi::BlockRange piece = next_piece(slot, transfer_bytes_max_);
    slot.piece_bytes = piece.count.value() * facts_.block_bytes;
    if (request.buffer) {
        slot.registered = {*request.buffer, static_cast<std::uint32_t>(slot.done_bytes),
                           static_cast<std::uint32_t>(slot.piece_bytes)};
    }
    if (write) {
        slot.direction = session::Direction::out;
        if (!request.buffer) {
            slot.data_out = request.data.subspan(slot.done_bytes, slot.piece_bytes);
        }
        bool fua = facts_.dpofua && must_be_durable(request);
        slot.unforced |= !fua;
        return set_command(slot, scsi::write_blocks(piece.lba, piece.count, fua));
    }
    slot.direction = session::Direction::in;
    if (request.sink != nullptr) {
        slot.sink = request.sink;
        slot.sink_offset = slot.done_bytes;
        slot.sink_bytes = slot.piece_bytes;
    } else {
        slot.data_in = request.data.subspan(slot.done_bytes, slot.piece_bytes);
    }
    set_command(slot, scsi::read_blocks(piece.lba, piece.count, false));
}

bool Lun::prepare_discard(Slot& slot) {
    if (discard_ == scsi::DiscardMethod::none) {
        finish(slot, EOPNOTSUPP);
        return false;
    }
    std::uint64_t blocks_max = std::max<std::uint64_t>(1, scsi::max_discard_blocks(facts_));
    scsi::BlockRange piece = next_piece(slot, blocks_max * facts_.block_bytes);
    slot.piece_bytes = piece.count.value() * facts_.block_bytes;
    slot.direction = session::Direction::out;
    slot.timeout = limits::scsi_zeroes_timeout;
    slot.unforced = true;
    if (discard_ == scsi::DiscardMethod::unmap) {
        slot.data_out = scsi::unmap_parameter_list(std::span(&piece, 1), slot.parameters);
        set_command(slot, scsi::unmap(static_cast<std::uint16_t>(slot.data_out.size())));
        return true;
    }
    if (discard_ == scsi::DiscardMethod::write_same10 &&
        piece.lba.value() + piece.count.value() > UINT32_MAX) {
        finish(slot, EOPNOTSUPP);
        return false;
    }
    scsi::WriteSameOptions options;
    options.unmap = true;
    slot.data_out = base::Bytes(zeroes).first(facts_.block_bytes);
    set_command(slot, discard_ == scsi::DiscardMethod::write_same16
                          ? scsi::write_same16(piece.lba, piece.count, options)
                          : scsi::write_same10(piece.lba, piece.count, options));
    return true;
}

void Lun::prepare_zeroes(Slot& slot) {
    slot.direction = session::Direction::out;
    bool fua = !write_same_ && facts_.dpofua && must_be_durable(*slot.request);
    slot.unforced |= !fua;
    if (!write_same_) {
        std::uint64_t bytes_max = std::min<std::uint64_t>(zeroes_bytes, transfer_bytes_max_);
        scsi::BlockRange piece = next_piece(slot, bytes_max);
        slot.piece_bytes = piece.count.value() * facts_.block_bytes;
        slot.data_out = base::Bytes(zeroes).first(slot.piece_bytes);
        return set_command(slot, scsi::write_blocks(piece.lba, piece.count, fua));
    }
    slot.write_same = true;
    slot.timeout = limits::scsi_zeroes_timeout;
    std::uint64_t blocks_max = facts_.limits.max_write_same_blocks != 0 ? facts_.limits.max_write_same_blocks
                                                                        : write_same_blocks_default;
    blocks_max = std::min<std::uint64_t>(blocks_max, UINT32_MAX);
    scsi::BlockRange piece = next_piece(slot, blocks_max * facts_.block_bytes);
    slot.piece_bytes = piece.count.value() * facts_.block_bytes;
    slot.data_out = base::Bytes(zeroes).first(facts_.block_bytes);
    scsi::WriteSameOptions options;
    // Deallocated blocks are as good as zeroes only where the target says that they read as such.
    options.unmap = slot.request->may_unmap && facts_.lbprz && facts_.lbpws;
    set_command(slot, scsi::write_same16(piece.lba, piece.count, options));
}

} // namespace iscsi::shard
