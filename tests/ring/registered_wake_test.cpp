// A receive into a registered buffer is woken by what comes for it, whatever was waited for before.
#include "ring/tcp_connection.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <liburing.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

using namespace iscsi;
using namespace iscsi::ring_tests;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t header_bytes = 4;
constexpr std::size_t staging_bytes = std::size_t{16} << 10;
constexpr std::size_t spans_bytes = std::size_t{200} << 10;
constexpr std::size_t buffer_bytes = std::size_t{64} << 10;

/// A header, then a payload for a place in memory, then one for a registered buffer.
class HalfRegistered final : public base::Engine {
public:
    base::RxSpans rx_spans() override {
        if (bytes < header_bytes) {
            return {{}, staging_, {}, 0};
        }
        const std::size_t at = bytes - header_bytes;
        if (at < spans_bytes) {
            return {base::MutableBytes(place_).subspan(at), {}, {}, spans_bytes - at};
        }
        const auto done = static_cast<std::uint32_t>(at - spans_bytes);
        base::RxSpans spans;
        spans.registered = {buffer.index, buffer.offset + done, buffer.bytes - done};
        return spans;
    }
    base::Result<void> rx_done(std::size_t n, base::TimePoint) override {
        bytes += n;
        return {};
    }
    std::span<iovec> tx_spans(std::span<iovec> out) override { return out.first(0); }
    void tx_done(std::size_t) override {}
    base::Deadline deadline() const override { return {}; }
    base::Result<void> at(base::TimePoint) override { return {}; }

    std::size_t bytes = 0;
    base::RegisteredSpan buffer;

private:
    std::vector<std::byte> staging_ = std::vector<std::byte>(staging_bytes);
    std::vector<std::byte> place_ = std::vector<std::byte>(spans_bytes);
};

/// Memory that is registered with a ring, and lies where a RegisteredSpan's offset can say so.
class RegisteredMemory {
public:
    explicit RegisteredMemory(ring::Ring& ring) {
        void* const low = reinterpret_cast<void*>(std::uintptr_t{0x20000000});
        at_ = ::mmap(low, buffer_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(at_ == low);
        REQUIRE(ring.prepare_buffers());
        span.index = ring.claim_buffer().value();
        span.offset = static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(at_));
        span.bytes = buffer_bytes;
        const iovec memory{at_, buffer_bytes};
        io_uring_rsrc_update2 update{};
        update.offset = span.index;
        update.data = reinterpret_cast<std::uintptr_t>(&memory);
        update.nr = 1;
        REQUIRE(::syscall(SYS_io_uring_register, newest_ring, IORING_REGISTER_BUFFERS_UPDATE, &update,
                          sizeof update) == 1);
    }
    ~RegisteredMemory() { ::munmap(at_, buffer_bytes); }
    RegisteredMemory(const RegisteredMemory&) = delete;
    RegisteredMemory& operator=(const RegisteredMemory&) = delete;

    base::RegisteredSpan span;

private:
    void* at_ = nullptr;
};

} // namespace

TEST_CASE("a payload's rest for a registered buffer does not wait for what a longer one before it did") {
    TcpConnection<HalfRegistered> c(1 << 20);
    const RegisteredMemory memory(c.loop->ring());
    c.engine.buffer = memory.span;
    const std::vector<char> bytes(spans_bytes + buffer_bytes, 'x');
    c.send(bytes, 0, header_bytes);
    c.turn_until([&] { return c.engine.bytes == header_bytes; });
    c.turn(1ms);
    // All at once: the receive that takes it is a full one.
    const timeval patience{60, 0};
    REQUIRE(::setsockopt(c.peer, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0);
    REQUIRE(::send(c.peer, bytes.data(), spans_bytes, 0) == static_cast<ssize_t>(spans_bytes));
    const base::TimePoint end = ring::monotonic_now() + 60s;
    for (int there = 0; static_cast<std::size_t>(there) < spans_bytes;) {
        REQUIRE(::ioctl(c.stream.fd(), FIONREAD, &there) == 0);
        REQUIRE(ring::monotonic_now() < end);
    }
    c.turn_until([&] { return c.engine.bytes == header_bytes + spans_bytes; });
    c.turn(1ms);
    c.send(bytes, spans_bytes, buffer_bytes);
    c.turn_until([&] { return c.engine.bytes == header_bytes + bytes.size(); });
}
