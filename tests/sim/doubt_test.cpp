// A unit in doubt and nobody who looks at it, on virtual time: how long its users wait, and for what.
#include "base/limits.hpp"
#include "sim/target.hpp"
#include "sim/world.hpp"

#include <catch2/catch.hpp>
#include <cerrno>

using namespace iscsi;
using namespace iscsi::sim;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

Plan quiet_plan() {
    Plan plan;
    plan.pings = false;
    return plan;
}

/// A read that has met POWER ON, for which the unit is in doubt now.
struct Scene : block::BlockQueue, shard::NexusObserver {
    Scene() {
        kernel.listen(target);
        loop = std::move(*ring::Loop::create());
        nexus = std::make_unique<shard::Nexus>(*loop, *loop, *this);
        lun = std::make_unique<shard::Lun>(*loop, *nexus, facts_of(plan), plan.depth);
        lun->attach(*this);
        log_in();
        target.suffer(Mishap::power_loss);
        pass(seconds(10)); // it is there again then
        log_in();
        memory.resize(facts_of(plan).block_bytes);
        read.data = memory;
        read.length_bytes = memory.size();
        lun->start(read);
        pass(seconds(1));
    }
    ~Scene() override {
        nexus->seal();
        procedures.spawn(nexus->abandon());
        pass(seconds(1));
        lun.reset();
        nexus.reset();
        pass(seconds(1));
        loop.reset();
    }

    void log_in() {
        procedures.spawn(open());
        pass(seconds(1));
        REQUIRE(nexus->state() == shard::PathState::up);
    }
    ring::Task<void> open() {
        auto opened = co_await nexus->open(open_request(plan));
        nexus->resume();
    }
    /// Also when nothing happens. The number of turns that it took.
    int pass(base::Duration time) {
        const base::TimePoint until = stage.now + time;
        int turns = 0;
        for (; stage.now < until; ++turns) {
            loop->turn(until);
        }
        return turns;
    }

    void complete(block::Request&, int error) override { ended_with = error; }
    void resize(const block::Attributes&) override {}
    void close(std::function<void()>) override {}
    void on_nexus_dropped(const base::Error&) override {}
    void on_nexus_event(const session::Event&) override {}
    void on_lun_effects(base::Lun, const scsi::Disposition&) override {}

    const Plan plan = quiet_plan();
    Stage stage{1, false};
    Shadow shadow{stage, plan.blocks};
    Medium medium{stage, shadow, plan.write_cache};
    Kernel kernel{stage};
    Target target{kernel, medium, plan};
    std::unique_ptr<ring::Loop> loop;
    std::unique_ptr<shard::Nexus> nexus;
    std::unique_ptr<shard::Lun> lun;
    ring::TaskGroup procedures;
    block::Request read;
    std::vector<std::byte> memory;
    int ended_with = -1;
};

} // namespace

TEST_CASE("a unit that nobody looks at is not waited for longer than that may take", "[SCSI-UA-05]") {
    Scene scene;
    REQUIRE(scene.lun->in_doubt());
    scene.pass(base::limits::scsi_doubt_max - seconds(2));
    CHECK(scene.ended_with == -1);
    scene.pass(seconds(2));
    CHECK(scene.ended_with == ENODEV);
    CHECK_FALSE(scene.lun->in_doubt());
}

TEST_CASE("while its path is down nobody can look at a unit: neither does the time count then, nor does "
          "anything wake for it",
          "[SCSI-UA-05]") {
    Scene scene;
    scene.target.suffer(Mishap::reset);
    scene.pass(seconds(1));
    REQUIRE(scene.nexus->state() == shard::PathState::down);
    CHECK(scene.pass(minutes(10)) < 5);
    CHECK(scene.lun->in_doubt());
    scene.log_in();
    scene.pass(base::limits::scsi_doubt_max - seconds(2));
    CHECK(scene.ended_with == -1);
    scene.pass(seconds(2));
    CHECK(scene.ended_with == ENODEV);
}
