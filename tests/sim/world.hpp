// One schedule from its seed to its verdict: a real Nexus and a real Lun on a real loop, below them the
// simulated kernel and target, above them users of the block device with their shadow disk. After each turn
// of the loop the invariants hold: no request ends twice or never, or without a reason in error; what is read
// and what lands is what the shadow disk allows; the initiator keeps to the numbering, the window and its
// tags. One thread; everything in it lives as long as it does.
#pragma once

#include "block/block.hpp"
#include "sim/control.hpp"
#include "sim/kernel.hpp"
#include "sim/medium.hpp"
#include "sim/plan.hpp"
#include "sim/shadow.hpp"
#include "sim/target.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace iscsi::sim {

struct Verdict {
    bool broken = false;
    std::string finding;
    std::uint64_t digest = 0; ///< of everything that happened
    std::uint64_t happenings = 0;
    Met met;
    std::uint32_t failures = 0; ///< requests that ended with an errno
};

/// The unit as the plan has it.
scsi::LunFacts facts_of(const Plan& plan);

/// Runs the schedule of `seed`; `verbose` tells it on standard output.
Verdict run_schedule(std::uint64_t seed, bool verbose);

class World final : public block::BlockQueue {
public:
    World(Stage& stage, const Plan& plan);
    ~World() override;

    void run();
    Verdict verdict() const;
    /// The thread has another kernel from now on.
    void forget() { kernel_.leave(); }

private:
    struct Request : block::Request, base::DataSink {
        void put(std::uint64_t offset, base::Bytes bytes) override;

        enum class State : std::uint8_t { idle, running, held, done };
        State state = State::idle;
        unsigned version = 0;
        bool inert = false; ///< a hint, or nothing: no version
        base::TimePoint began;
        Shadow::Flushing flushing;
        std::uint64_t losses = 0; ///< of the cache, that the Lun knew of when it began
        Shadow::Reading reading;
        std::vector<std::byte> memory;
        Stage* stage = nullptr; ///< of a read that has a sink: who is told of what must not be
    };
    static constexpr std::size_t requests_max = 24;

    void complete(block::Request& request, int error_number) override;
    bool hold(block::Request& request) override;
    void release_held() override;
    void resize(const block::Attributes&) override {}
    void close(std::function<void()>) override {}

    bool turn_until(bool (World::*done)() const);
    void check();
    bool all_done() const { return started_ == plan_.requests && running_ == 0; }
    bool verified() const { return running_ == 0; }
    bool lun_is_idle() const { return running_ == 0 && lun_->idle() && control_->ended(); }
    bool is_logged_out() const { return control_->logged_out() && control_->ended(); }
    bool is_up() const { return control_->running(); }
    void start_some();
    void draw(Request& request);
    void begin(Request& request);
    void settle(Request& request, int error_number);
    bool has_reason(const Request& request, int error_number);
    bool tells_of_loss(const Request& request);
    void check_durable();
    void start_verifying();
    void end();

    Stage& stage_;
    const Plan& plan_;
    Shadow shadow_;
    Medium medium_;
    Kernel kernel_;
    Target target_;
    std::unique_ptr<ring::Loop> loop_;
    std::unique_ptr<Control> control_;
    std::unique_ptr<shard::Lun> lun_;
    std::unique_ptr<ring::Timer> next_start_;
    std::vector<std::unique_ptr<Request>> requests_;
    std::uint32_t started_ = 0;
    std::uint32_t running_ = 0; ///< held ones too
    bool verifying_ = false;
    std::uint32_t failures_ = 0;
    std::uint32_t hard_failures_ = 0; ///< those that are the target's word
    std::uint64_t told_losses_ = 0;   ///< of the cache, by a flush that failed
};

} // namespace iscsi::sim
