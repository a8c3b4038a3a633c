#include "ring/stream.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

using namespace iscsi;
using namespace std::chrono_literals;

namespace {

/// Sends a text, collects what comes, in small pieces of its own choosing.
class Echo final : public base::Engine {
public:
    explicit Echo(std::string text, std::size_t staging_bytes = 97)
        : out_(std::move(text)), staging_(staging_bytes) {}

    base::RxSpans rx_spans() override {
        std::size_t half = staging_.size() / 2;
        return {base::MutableBytes(staging_).first(half), base::MutableBytes(staging_).subspan(half)};
    }
    base::Result<void> rx_done(std::size_t n, base::TimePoint) override {
        in += std::string(base::text_of(base::Bytes(staging_).first(n)));
        if (more) {
            more();
        }
        if (in.find("bad") != std::string::npos) {
            return base::fail(base::Errc::protocol, "bad bytes");
        }
        return {};
    }
    std::span<iovec> tx_spans(std::span<iovec> out) override {
        std::size_t count = 0;
        for (std::size_t at = sent; at < out_.size() && count < out.size(); at += 1000) {
            out[count++] = {out_.data() + at, std::min<std::size_t>(1000, out_.size() - at)};
        }
        return out.first(count);
    }
    void tx_done(std::size_t n) override { sent += n; }
    base::Deadline deadline() const override { return due; }
    base::Result<void> at(base::TimePoint) override {
        return base::fail(base::Errc::pdu_timeout, "too late");
    }

    std::string in;
    std::size_t sent = 0;
    base::Deadline due;
    std::function<void()> more; ///< called when bytes were taken

private:
    std::string out_;
    std::vector<std::byte> staging_;
};

struct Owner final : ring::Stream::Owner {
    void on_progress(ring::Stream&) override { ++progress; }
    void on_closed(ring::Stream&, const base::Error& error) override {
        ++closed;
        why = error;
    }
    int progress = 0;
    int closed = 0;
    base::Error why;
};

struct Fixture {
    Fixture() {
        auto made = ring::Loop::create(64);
        REQUIRE(made);
        loop = std::move(*made);
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    }
    ~Fixture() { ::close(fds[1]); }
    void turn_until(auto condition) {
        while (!condition()) {
            loop->turn(ring::monotonic_now() + 50ms);
        }
    }
    std::unique_ptr<ring::Loop> loop;
    int fds[2];
};

} // namespace

TEST_CASE("a stream sends everything its engine has, through full socket buffers") {
    Fixture f;
    std::string text(3 * 1024 * 1024, 'x');
    for (std::size_t i = 0; i < text.size(); ++i) {
        text[i] = static_cast<char>(i * 7 + i / 251);
    }
    Echo engine(text);
    Owner owner;
    ring::Stream stream(*f.loop, owner);
    stream.open(f.fds[0], engine);
    std::string got;
    std::vector<char> buffer(65536);
    while (got.size() < text.size()) {
        f.loop->turn(ring::monotonic_now());
        ssize_t n = ::recv(f.fds[1], buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (n > 0) {
            got.append(buffer.data(), static_cast<std::size_t>(n));
        }
    }
    CHECK(got == text);
    CHECK(engine.sent == text.size());
    stream.close({base::Errc::cancelled, "done"}, ring::Stream::Ending::orderly);
    f.turn_until([&] { return owner.closed == 1; });
    CHECK(owner.why.detail == "done");
}

TEST_CASE("a stream fills both places of its engine in order") {
    Fixture f;
    Echo engine("");
    Owner owner;
    ring::Stream stream(*f.loop, owner);
    stream.open(f.fds[0], engine);
    std::string text;
    for (int i = 0; i < 500; ++i) {
        text += std::to_string(i) + " ";
    }
    REQUIRE(::write(f.fds[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    f.turn_until([&] { return engine.in.size() == text.size(); });
    CHECK(engine.in == text);
    CHECK(owner.progress > 0);
    ::shutdown(f.fds[1], SHUT_RDWR);
    f.turn_until([&] { return owner.closed == 1; });
    CHECK(owner.why.code == base::Errc::disconnected);
    CHECK(stream.is_closed());
}

TEST_CASE("a receive that came back full is followed by others in its turn, but not for ever") {
    constexpr std::size_t full_bytes = 97;
    constexpr std::size_t receives_max = 8;
    Fixture f;
    Echo engine("");
    Owner owner;
    ring::Stream stream(*f.loop, owner);
    stream.open(f.fds[0], engine);
    const std::string text(receives_max * full_bytes + 150, 'x');
    REQUIRE(::write(f.fds[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    f.turn_until([&] { return !engine.in.empty(); });
    CHECK(engine.in.size() == receives_max * full_bytes);
    const int before = owner.progress;
    f.turn_until([&] { return owner.progress != before; });
    CHECK(engine.in.size() == text.size());

    // And what comes when all that had arrived was taken is waited for.
    for (const char* word : {"one", "two", "three"}) {
        const std::size_t size = engine.in.size();
        f.loop->turn(ring::monotonic_now());
        REQUIRE(::write(f.fds[1], word, std::strlen(word)) > 0);
        f.turn_until([&] { return engine.in.size() == size + std::strlen(word); });
        CHECK(engine.in.ends_with(word));
    }
    stream.close({base::Errc::cancelled, "done"}, ring::Stream::Ending::orderly);
    f.turn_until([&] { return owner.closed == 1; });
}

TEST_CASE("a peer that sends as fast as its large bytes are taken has half a MiB of a turn") {
    constexpr std::size_t piece_bytes = std::size_t{128} << 10;
    constexpr std::size_t turn_bytes = std::size_t{512} << 10;
    Fixture f;
    const int room = 2 * piece_bytes;
    REQUIRE(::setsockopt(f.fds[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room) == 0);
    const std::string piece(piece_bytes, 'x');
    Echo engine("", piece_bytes);
    const auto send_piece = [&] {
        REQUIRE(::send(f.fds[1], piece.data(), piece.size(), MSG_DONTWAIT) == std::ssize(piece));
    };
    engine.more = send_piece;
    send_piece();
    Owner owner;
    ring::Stream stream(*f.loop, owner);
    stream.open(f.fds[0], engine);
    for (std::size_t turns = 1; turns <= 3; ++turns) {
        const int before = owner.progress;
        f.turn_until([&] { return owner.progress != before; });
        CHECK(engine.in.size() == turns * turn_bytes);
    }
    stream.close({base::Errc::cancelled, "done"}, ring::Stream::Ending::orderly);
    f.turn_until([&] { return owner.closed == 1; });
}

TEST_CASE("the peer's end behind a full receive is heard") {
    Fixture f;
    Echo engine("");
    Owner owner;
    ring::Stream stream(*f.loop, owner);
    stream.open(f.fds[0], engine);
    const std::string text(97, 'x');
    REQUIRE(::write(f.fds[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    ::shutdown(f.fds[1], SHUT_RDWR);
    f.turn_until([&] { return owner.closed == 1; });
    CHECK(engine.in == text);
    CHECK(owner.why.code == base::Errc::disconnected);
}

TEST_CASE("bytes that the engine refuses end the stream with its error") {
    Fixture f;
    Echo engine("");
    Owner owner;
    ring::Stream stream(*f.loop, owner);
    stream.open(f.fds[0], engine);
    REQUIRE(::write(f.fds[1], "bad", 3) == 3);
    f.turn_until([&] { return owner.closed == 1; });
    CHECK(owner.why.code == base::Errc::protocol);
    CHECK(owner.progress == 1);
}

TEST_CASE("the engine is called at its deadline") {
    Fixture f;
    Echo engine("");
    engine.due = ring::monotonic_now() + 10ms;
    Owner owner;
    ring::Stream stream(*f.loop, owner);
    stream.open(f.fds[0], engine);
    f.turn_until([&] { return owner.closed == 1; });
    CHECK(owner.why.code == base::Errc::pdu_timeout);
    CHECK(ring::monotonic_now() >= *engine.due);
}

TEST_CASE("closing twice tells the owner once, with the first reason") {
    Fixture f;
    Echo engine("");
    Owner owner;
    ring::Stream stream(*f.loop, owner);
    stream.open(f.fds[0], engine);
    f.loop->turn(ring::monotonic_now());
    stream.close({base::Errc::cancelled, "first"}, ring::Stream::Ending::abort);
    stream.close({base::Errc::cancelled, "second"}, ring::Stream::Ending::abort);
    CHECK(owner.closed == 0);
    f.turn_until([&] { return owner.closed > 0; });
    for (int i = 0; i < 3; ++i) {
        f.loop->turn(ring::monotonic_now());
    }
    CHECK(owner.closed == 1);
    CHECK(owner.why.detail == "first");
}
