// The closed loop over our own initiator: login engine and session engine, driven by the daemon's ring and
// stream, without the block side.
#include "base/result.hpp"
#include "bench/loop.hpp"
#include "bench/null_target.hpp"
#include "bench/sockets.hpp"
#include "login/login.hpp"
#include "ring/loop.hpp"
#include "ring/stream.hpp"
#include "scsi/cdb.hpp"
#include "session/session.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <fmt/core.h>
#include <memory>
#include <vector>

namespace iscsi::bench {
namespace {

using namespace std::chrono_literals;

struct Slot : session::Command {
    std::vector<std::byte> buffer;
    std::uint64_t begun_ns = 0;
};

class EngineLoop final : private ring::Stream::Owner {
public:
    EngineLoop(const LoopOptions& options, Latencies& latencies);
    ~EngineLoop() override;

    std::uint64_t run(Budget& budget);

private:
    void log_in();
    void begin_session(const login::Login& login);
    void log_out();
    void turn();
    void start(Slot& slot);
    void on_end(const Slot& slot) const;
    void on_progress(ring::Stream& stream) override;
    void on_closed(ring::Stream& stream, const base::Error& error) override;

    const LoopOptions& options_;
    Latencies& latencies_;
    Places places_;
    std::unique_ptr<ring::Loop> loop_;
    ring::Stream stream_;
    std::unique_ptr<login::Login> login_;
    std::unique_ptr<session::Session> session_;
    std::vector<Slot> slots_;
    Budget* budget_ = nullptr;
    std::uint32_t in_flight_ = 0;
    std::uint64_t done_ = 0;
    bool leaving_ = false;
};

template <class T>
T value_of(base::Result<T> result) {
    if (!result) {
        die(result.error().message());
    }
    return std::move(*result);
}

login::LoginConfig login_config(const LoopOptions& options) {
    login::LoginConfig config;
    config.initiator_name = "iqn.2026-01.bench:engine";
    config.target_name = null_target_name;
    config.isid = base::Isid(0x800000000002U);
    config.offers.header_digest = options.header_digest ? "CRC32C" : "None";
    config.offers.data_digest = options.data_digest ? "CRC32C" : "None";
    config.deadline = ring::monotonic_now() + 10s;
    return config;
}

EngineLoop::EngineLoop(const LoopOptions& options, Latencies& latencies)
    : options_(options), latencies_(latencies), places_(options), loop_(value_of(ring::Loop::create())),
      stream_(*loop_, *this, ring::Stream::Wake::payload), slots_(options.depth) {
    for (Slot& slot : slots_) {
        slot.buffer.resize(options.io_bytes);
        slot.direction = options.write ? session::Direction::out : session::Direction::in;
        slot.data_in = options.write ? base::MutableBytes{} : slot.buffer;
        slot.data_out = options.write ? slot.buffer : base::Bytes{};
    }
    log_in();
}

EngineLoop::~EngineLoop() {
    log_out();
}

void EngineLoop::log_in() {
    login_ = value_of(login::Login::make(login_config(options_)));
    stream_.open(connect_to(options_.address, options_.port).release(), *login_);
    while (!login_->finished()) {
        turn();
    }
    begin_session(*login_);
}

void EngineLoop::begin_session(const login::Login& login) {
    session::SessionConfig config;
    config.session = login.negotiated().session;
    config.connection = login.negotiated().connection;
    config.numbers = login.sequence_numbers();
    config.tasks = std::bit_ceil(std::max(2U, options_.depth));
    config.nop_out_interval = 5s;
    config.nop_out_timeout = 5s;
    config.logout_timeout = 5s;
    session_ = std::make_unique<session::Session>(config, loop_->now());
    stream_.hand_over(*session_);
}

void EngineLoop::log_out() {
    leaving_ = true;
    session_->begin_logout(loop_->now());
    stream_.mark();
    while (!session_->logged_out() && !stream_.is_closed()) {
        turn();
    }
    stream_.close({base::Errc::cancelled, {}}, ring::Stream::Ending::orderly);
    while (!stream_.is_closed()) {
        turn();
    }
}

void EngineLoop::turn() {
    loop_->turn(ring::monotonic_now() + 10s);
}

void EngineLoop::start(Slot& slot) {
    base::Lba lba(places_.next());
    base::BlockCount blocks(options_.io_bytes / options_.block_bytes);
    scsi::Cdb cdb = options_.write ? scsi::write16(lba, blocks, false) : scsi::read16(lba, blocks, false);
    slot.cdb = cdb.bytes;
    slot.cdb_bytes = cdb.length;
    slot.begun_ns = latencies_.begin();
    session_->submit(slot, loop_->now());
    stream_.mark();
    ++in_flight_;
}

void EngineLoop::on_end(const Slot& slot) const {
    bool whole = options_.write || slot.received_bytes == options_.io_bytes;
    if (slot.outcome != session::Outcome::responded || slot.status != 0 || !whole) {
        die(fmt::format("an I/O ended with outcome {}, status {:#x}, {} bytes",
                        static_cast<unsigned>(slot.outcome), slot.status, slot.received_bytes));
    }
}

void EngineLoop::on_progress(ring::Stream&) {
    if (session_ == nullptr) {
        return;
    }
    while (session::Command* command = session_->next_completion()) {
        auto& slot = static_cast<Slot&>(*command);
        on_end(slot);
        latencies_.end(slot.begun_ns);
        --in_flight_;
        ++done_;
        if (budget_->take()) {
            start(slot);
        }
    }
}

void EngineLoop::on_closed(ring::Stream&, const base::Error& error) {
    if (!leaving_) {
        die(error.message());
    }
}

std::uint64_t EngineLoop::run(Budget& budget) {
    budget_ = &budget;
    done_ = 0;
    for (Slot& slot : slots_) {
        if (budget.take()) {
            start(slot);
        }
    }
    while (in_flight_ > 0) {
        turn();
    }
    return done_;
}

} // namespace
} // namespace iscsi::bench

int main(int argc, char** argv) {
    auto options = iscsi::bench::parse_loop_options(argc, argv);
    iscsi::bench::Latencies latencies(options.latency);
    iscsi::bench::EngineLoop loop(options, latencies);
    iscsi::bench::measure("engine", options, latencies,
                          [&](iscsi::bench::Budget& budget) { return loop.run(budget); });
    return 0;
}
