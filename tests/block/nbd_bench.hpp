// One NbdConnection on a memory block, with a client that is two strings: what it says is fed in pieces, what
// it hears is gathered. Stands for ring::Stream, keeps its rules: at most one receive and one send, spans
// used once. One thread.
#pragma once

#include "block/nbd_connection.hpp"
#include "nbd_script.hpp"
#include "support/memory_block.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <string_view>

namespace iscsi::test {

inline std::unique_ptr<block::BufferPool> make_pool(std::size_t bytes) {
    auto pool = block::BufferPool::create(bytes);
    REQUIRE(pool);
    return std::move(*pool);
}

inline block::Attributes test_attributes(std::uint64_t size_bytes) {
    block::Attributes attributes;
    attributes.size_bytes = size_bytes;
    attributes.max_request_bytes = 1024 * 1024;
    attributes.max_discard_bytes = 1024 * 1024;
    return attributes;
}

class NbdBench final : block::NbdConnection::Owner {
public:
    explicit NbdBench(block::BufferPool& pool, std::size_t disk_bytes = 1024 * 1024)
        : disk(disk_bytes), info{"disk", "a disk for tests", test_attributes(disk_bytes)},
          connection({.info = info, .pool = pool, .handler = disk, .owner = *this}) {
        disk.complete = [this](block::Request& request, int result) { connection.complete(request, result); };
    }
    ~NbdBench() override {
        disk.release_all();
        connection.abandon();
    }

    void open() { connection.open(base::TimePoint{}); }
    /// Handshake done, its answers heard and dropped.
    void open_and_go(bool structured) {
        open();
        say(client_flags() + (structured ? option(8) : "") + go());
        REQUIRE(!failed);
        heard.clear();
    }

    /// The client sends `text`, in pieces of at most `piece` bytes; hears what the server has to say between
    /// them. What the server does not take waits, see all_said().
    void say(std::string_view text, std::size_t piece = SIZE_MAX) {
        unsaid_ += text;
        go_on(piece);
    }

    /// Goes on until neither side can.
    void go_on(std::size_t piece = SIZE_MAX) {
        bool moved = true;
        while (moved && !failed) {
            moved = feed(piece);
            moved = (!deaf && hear()) || moved;
        }
    }

    /// One send of the server, of at most `bytes_max`.
    bool hear(std::size_t bytes_max = SIZE_MAX) {
        std::array<iovec, 512> spans;
        std::size_t n = 0;
        for (const iovec& span : connection.tx_spans(spans)) {
            const std::size_t part = std::min(span.iov_len, bytes_max - n);
            heard.append(static_cast<const char*>(span.iov_base), part);
            n += part;
        }
        if (n > 0) {
            connection.tx_done(n);
        }
        return n > 0;
    }

    bool all_said() const { return unsaid_.empty(); }
    void forget_unsaid() {
        unsaid_.clear();
        said_to_ = 0;
    }
    std::string take_heard() { return std::exchange(heard, {}); }

    MemoryBlock disk;
    block::NbdExportInfo info;
    block::NbdConnection connection;
    std::string heard;
    bool deaf = false; ///< the client reads nothing
    bool failed = false;
    base::Error error;
    std::size_t ready_calls = 0;

private:
    void on_ready() override { ++ready_calls; }

    void fail(base::Result<void>& result) {
        failed = true;
        error = result.error();
    }

    bool feed(std::size_t piece) {
        const base::RxSpans spans = connection.rx_spans();
        if (base::is_due(connection.deadline(), base::TimePoint{})) {
            base::Result<void> passed = connection.at(base::TimePoint{});
            REQUIRE(!passed);
            fail(passed);
            return false;
        }
        const base::Bytes left = base::bytes_of(unsaid_).subspan(said_to_);
        std::size_t n = 0;
        for (base::MutableBytes span : {spans.direct, spans.staging}) {
            const std::size_t part = std::min({span.size(), left.size() - n, piece - n});
            std::copy_n(left.begin() + static_cast<std::ptrdiff_t>(n), part, span.begin());
            n += part;
        }
        if (n == 0) {
            return false;
        }
        said_to_ += n;
        if (said_to_ == unsaid_.size()) {
            forget_unsaid();
        }
        base::Result<void> taken = connection.rx_done(n, base::TimePoint{});
        if (!taken) {
            fail(taken);
        }
        return true;
    }

    std::string unsaid_;
    std::size_t said_to_ = 0;
};

} // namespace iscsi::test
