// The target's disk: for each block the number of its content (content.hpp), on the medium and in a cache
// that can be lost. The bytes of a write are looked at when they land. Values; one thread.
#pragma once

#include "sim/shadow.hpp"

#include <array>
#include <cstdint>

namespace iscsi::sim {

class Medium {
public:
    Medium(Stage& stage, Shadow& shadow, bool cached) : stage_(stage), shadow_(shadow), cached_(cached) {
        now_.fill(Shadow::content_of_version(0));
        stable_ = now_;
    }

    std::uint32_t blocks() const { return shadow_.blocks(); }
    void write(std::uint32_t block, const std::byte* bytes, bool fua) {
        const int content = content_of(bytes, block);
        if (content == no_content) {
            return stage_.fail("what is written to block {} is no block of any write", block);
        }
        land(block, static_cast<Content>(content), fua);
    }
    void zero(std::uint32_t block) { land(block, zeroes, false); }
    void read(std::uint32_t block, std::byte* to) const { fill_block(to, now_[block], block); }
    void flush() { stable_ = now_; }
    void lose_cache() {
        now_ = stable_;
        shadow_.on_cache_lost();
    }
    Content now(std::uint32_t block) const { return now_[block]; }
    Content stable(std::uint32_t block) const { return stable_[block]; }

private:
    void land(std::uint32_t block, Content content, bool fua) {
        shadow_.on_landing(block, content);
        now_[block] = content;
        if (fua || !cached_) {
            stable_[block] = content;
        }
    }

    Stage& stage_;
    Shadow& shadow_;
    bool cached_;
    std::array<Content, blocks_max> now_;
    std::array<Content, blocks_max> stable_;
};

} // namespace iscsi::sim
