#include "sim/shadow.hpp"

#include "base/check.hpp"

#include <algorithm>

namespace iscsi::sim {

unsigned Shadow::begin(Kind kind, Range range) {
    base::check(count_ < versions_max, "a schedule has less than 64 versions");
    const unsigned version = count_++;
    versions_[version] = {range, kind, ended_, false};
    zeroing_ |= kind == Kind::write ? 0 : only(version);
    for (std::uint32_t block = range.first; block < range.end(); ++block) {
        now_[block] |= only(version);
        stable_[block] |= only(version);
    }
    for (unsigned i = 0; i < reading_count_; ++i) {
        Reading& reading = *readings_[i];
        const std::uint32_t end = std::min(range.end(), reading.range.end());
        for (std::uint32_t block = std::max(range.first, reading.range.first); block < end; ++block) {
            reading.allowed[block - reading.range.first] |= only(version);
        }
    }
    return version;
}

void Shadow::settle(Range range, std::array<Versions, blocks_max>& of, Versions superseded) {
    for (std::uint32_t block = range.first; block < range.end(); ++block) {
        of[block] &= ~superseded;
    }
}

void Shadow::end_well(unsigned version, bool durable) {
    const Version& ended = versions_[version];
    ended_ |= only(version);
    if (ended.kind == Kind::discard) {
        return; // a hint: the target may have done nothing of it, or all
    }
    well_ |= only(version);
    if (durable) {
        settle(ended.range, stable_, ended.ended_before);
    }
    if (!ended.tainted || durable) {
        settle(ended.range, now_, ended.ended_before);
        certain_ |= only(version);
    }
}

void Shadow::end_badly(unsigned version) {
    ended_ |= only(version);
}

void Shadow::end_flush(Flushing flushing) {
    const Versions settled = flushing.certain & certain_;
    for (unsigned version = 1; version < count_; ++version) {
        if ((settled & only(version)) != 0) {
            settle(versions_[version].range, stable_, versions_[version].ended_before);
        }
    }
}

void Shadow::begin_read(Reading& reading, Range range) {
    base::check(!reading.active && reading_count_ < readings_.size(), "a reading is used once at a time");
    reading.range = range;
    reading.active = true;
    std::copy_n(now_.begin() + range.first, range.count, reading.allowed.begin());
    readings_[reading_count_++] = &reading;
}

void Shadow::end_read(Reading& reading, base::Bytes bytes) {
    reading.active = false;
    auto* const end = readings_.begin() + reading_count_;
    *std::find(readings_.begin(), end, &reading) = readings_[reading_count_ - 1];
    --reading_count_;
    for (std::uint32_t i = 0; i < reading.range.count && !bytes.empty(); ++i) {
        const std::uint32_t block = reading.range.first + i;
        const int content = content_of(bytes.data() + std::size_t{i} * block_bytes, block);
        if (content == no_content || !holds(reading.allowed[i], static_cast<Content>(content))) {
            return stage_.fail("a read brought content {} of block {}, allowed were versions {:#x}", content,
                               block, reading.allowed[i]);
        }
    }
}

void Shadow::on_cache_lost() {
    certain_ = 0;
    for (std::uint32_t block = 0; block < blocks_; ++block) {
        now_[block] = stable_[block];
    }
    for (unsigned version = 1; version < count_; ++version) {
        versions_[version].tainted |= (ended_ & only(version)) == 0;
    }
    for (unsigned i = 0; i < reading_count_; ++i) {
        Reading& reading = *readings_[i];
        for (std::uint32_t at = 0; at < reading.range.count; ++at) {
            reading.allowed[at] |= stable_[reading.range.first + at];
        }
    }
}

void Shadow::on_landing(std::uint32_t block, Content content) {
    Versions writers = now_[block] & ~well_;
    if (!holds(writers & ~only(0), content)) {
        stage_.fail(
            "content {} lands in block {}, where nobody is writing it (may hold versions {:#x}, of them "
            "done {:#x})",
            content, block, now_[block], now_[block] & well_);
    }
}

} // namespace iscsi::sim
