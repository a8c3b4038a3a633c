// The path of an I/O takes no memory: operator new of this whole program counts while it is watched.
#include "harness.hpp"

#include <cstdlib>
#include <new>

namespace {

bool watched = false;
std::size_t allocations = 0;

void* counted(std::size_t bytes) {
    allocations += watched ? 1 : 0;
    void* memory = std::malloc(bytes == 0 ? 1 : bytes);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}

} // namespace

void* operator new(std::size_t bytes) {
    return counted(bytes);
}
void* operator new[](std::size_t bytes) {
    return counted(bytes);
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    return counted(bytes);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
    return counted(bytes);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete[](void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
    std::free(memory);
}

namespace iscsi::testing {
namespace {

/// Counts what happens in its scope.
class Watch {
public:
    Watch() { watched = true; }
    ~Watch() { watched = false; }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
};

/// Moves everything both ways; only the session's own part is watched.
void turn(session::Session& session, FakeTarget& target) {
    std::array<iovec, 64> out{};
    for (;;) {
        std::span<iovec> pieces;
        {
            Watch watch;
            pieces = session.tx_spans(out);
        }
        if (pieces.empty()) {
            break;
        }
        std::size_t sent = 0;
        for (const iovec& piece : pieces) {
            target.receive({static_cast<const std::byte*>(piece.iov_base), piece.iov_len});
            sent += piece.iov_len;
        }
        Watch watch;
        session.tx_done(sent);
    }
    std::vector<std::byte>& from = target.output();
    while (!from.empty()) {
        base::RxSpans spans = session.rx_spans();
        std::size_t direct = std::min(from.size(), spans.direct.size());
        std::size_t staged = std::min(from.size() - direct, spans.staging.size());
        std::copy_n(from.begin(), direct, spans.direct.begin());
        std::copy_n(from.begin() + static_cast<long>(direct), staged, spans.staging.begin());
        from.erase(from.begin(), from.begin() + static_cast<long>(direct + staged));
        Watch watch;
        REQUIRE(session.rx_done(direct + staged, base::TimePoint{}));
    }
}

TEST_CASE("thousands of reads and writes allocate nothing", "[allocation]") {
    PairConfig config = wrapping_config();
    config.session.connection.header_digest = GENERATE(false, true);
    config.session.connection.data_digest = config.session.connection.header_digest;
    config.session.session.initial_r2t = config.session.connection.header_digest;
    config.session.recovery = recovery_config().session.recovery;
    config.target.numbers = config.session.numbers;
    config.target.connection = config.session.connection;
    config.target.session = config.session.session;
    session::Session session(config.session, base::TimePoint{});
    FakeTarget target(config.target);
    std::array<Io, 32> ios;
    allocations = 0;
    for (std::uint32_t round = 0; round < 150; ++round) {
        for (std::uint32_t i = 0; i < ios.size(); ++i) {
            std::uint32_t bytes = round % 10 == 0 ? 20000 : 4096;
            if ((round + i) % 2 == 0) {
                ios[i].write(i * 32768, std::vector<std::byte>(bytes, std::byte{7}));
            } else {
                ios[i].read(i * 32768, bytes);
            }
            Watch watch;
            session.submit(ios[i].command, base::TimePoint{});
        }
        while (!session.idle()) {
            turn(session, target);
            Watch watch;
            while (session.next_completion() != nullptr) {
            }
        }
        for (const Io& io : ios) {
            REQUIRE(io.command.outcome == session::Outcome::responded);
        }
    }
    CHECK(target.commands_seen() == 150 * 32);
    CHECK(allocations == 0);
    INFO(complaints(target));
    CHECK(target.violations.empty());
    {
        Watch watch; // The instrument itself works.
        std::vector<int> probe(10);
        CHECK(probe.size() == 10);
    }
    CHECK(allocations > 0);
}

} // namespace
} // namespace iscsi::testing
