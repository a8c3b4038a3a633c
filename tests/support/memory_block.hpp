// A block device in memory for tests: the RequestHandler behind any queue. Requests can be held and let go
// later, in any order, and made to fail. Owns the data; completes by the function it is given. The thread of
// its queue.
#pragma once

#include "base/check.hpp"
#include "block/block.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

namespace iscsi::test {

class MemoryBlock final : public block::RequestHandler {
public:
    explicit MemoryBlock(std::size_t bytes) : data(bytes) { held_.reserve(64 * 1024); }

    /// How a request is ended; must be set before the first one.
    std::function<void(block::Request&, int)> complete;

    std::vector<std::byte> data;
    int error_number = 0;              ///< what requests end with from now on
    bool hold = false;                 ///< requests wait for release()
    std::array<std::size_t, 5> seen{}; ///< requests by verb
    std::size_t fua_seen = 0;
    std::size_t keep_mapped_seen = 0; ///< write_zeroes that must not unmap

    std::size_t count(block::Verb verb) const { return seen[static_cast<std::size_t>(verb)]; }
    std::size_t held() const { return held_.size(); }
    const block::Request& held_request(std::size_t index) const { return *held_.at(index); }

    void start(block::Request& request) override {
        ++seen[static_cast<std::size_t>(request.verb)];
        fua_seen += request.fua ? 1 : 0;
        keep_mapped_seen += request.verb == block::Verb::write_zeroes && !request.may_unmap ? 1 : 0;
        if (hold) {
            held_.push_back(&request);
        } else {
            finish(request);
        }
    }

    /// Ends the `index`th request that is held.
    void release(std::size_t index) {
        base::check(index < held_.size(), "the request is held");
        block::Request& request = *held_[index];
        held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(index));
        finish(request);
    }
    void release_all() {
        while (!held_.empty()) {
            release(0);
        }
    }

private:
    void finish(block::Request& request) {
        if (error_number == 0) {
            carry_out(request);
        }
        complete(request, error_number);
    }

    void carry_out(block::Request& request) {
        if (request.verb == block::Verb::flush) {
            return;
        }
        base::check(request.offset_bytes + request.length_bytes <= data.size(),
                    "a request is within the disk");
        const auto at = data.begin() + static_cast<std::ptrdiff_t>(request.offset_bytes);
        switch (request.verb) {
        case block::Verb::read:
            if (request.sink != nullptr) {
                put_in_pieces(request, base::Bytes(data).subspan(request.offset_bytes, request.length_bytes));
            } else {
                std::copy_n(at, request.data.size(), request.data.begin());
            }
            break;
        case block::Verb::write:
            std::copy(request.data.begin(), request.data.end(), at);
            break;
        default:
            std::fill_n(at, request.length_bytes, std::byte{0});
        }
    }

    /// As they might arrive: cut anywhere, a piece twice.
    static void put_in_pieces(const block::Request& request, base::Bytes bytes) {
        const std::size_t cut = bytes.size() * 2 / 3 + 1;
        request.sink->put(0, bytes.first(cut));
        request.sink->put(cut / 2, bytes.subspan(cut / 2));
    }

    std::vector<block::Request*> held_;
};

} // namespace iscsi::test
