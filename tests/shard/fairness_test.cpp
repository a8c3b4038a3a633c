// What units and sessions of one shard get of what they share, counted in requests that ended: nobody here is
// given less than four fifths of the mean while all of them ask for as much as they can get.
#include "bench.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

using namespace iscsi;
using namespace iscsi::test;
using block::Verb;

namespace {

constexpr std::uint64_t lun_number_unit = std::uint64_t{1} << 48;
constexpr std::size_t many = 16;
constexpr std::uint32_t window = 16; // far less than all of them have to send

/// A unit whose user starts a request again as soon as it has ended.
class Unit final : public block::BlockQueue {
public:
    struct Load {
        Verb verb = Verb::read;
        unsigned depth = 32;
        std::uint64_t bytes = 512;
    };

    Unit(ring::Loop& loop, shard::Nexus& nexus, std::uint64_t number, Load load)
        : load_(load), ios_(load.depth) {
        scsi::LunFacts facts = Bench::disk_facts();
        facts.lun = base::Lun(number * lun_number_unit);
        lun = std::make_unique<shard::Lun>(loop, nexus, facts, 128);
        lun->attach(*this);
        memory_.resize(load.bytes);
        for (Io& io : ios_) {
            io.verb = load.verb;
            io.length_bytes = load.bytes;
            io.data = memory_;
            ended_.push_back(&io);
        }
    }

    /// What has ended begins anew.
    void go_on() {
        for (Io* io : std::exchange(ended_, {})) {
            lun->start(*io);
        }
    }

    void complete(block::Request& request, int error_number) override {
        CHECK(error_number == 0);
        ++done;
        ended_.push_back(static_cast<Io*>(&request));
    }
    void resize(const block::Attributes&) override {}
    void close(std::function<void()>) override {}

    std::unique_ptr<shard::Lun> lun;
    std::uint64_t done = 0;

private:
    Load load_;
    std::vector<std::byte> memory_;
    std::vector<Io> ios_;
    std::vector<Io*> ended_;
};

/// A session with its target. Where `stuck` is set the target neither receives nor answers.
struct Session {
    explicit Session(ring::Loop& loop, shard::NexusObserver& observer)
        : target(Bench::disk_bytes), nexus(loop, loop, observer) {
        target.remember = false;
    }
    Target target;
    shard::Nexus nexus;
    bool stuck = false;
};

class Shard final : public shard::NexusObserver {
public:
    explicit Shard(std::size_t sessions) {
        auto made = ring::Loop::create(512);
        REQUIRE(made);
        loop_ = std::move(*made);
        for (std::size_t i = 0; i < sessions; ++i) {
            open(*sessions_.emplace_back(std::make_unique<Session>(*loop_, *this)));
        }
    }
    ~Shard() override {
        for (auto& session : sessions_) {
            session->stuck = false;
        }
        run_until([&] { return std::ranges::all_of(units_, [](auto& unit) { return unit->lun->idle(); }); });
        units_.clear();
        for (auto& session : sessions_) {
            bool ended = false;
            group_.spawn(log_out(*session, ended));
            run_until([&] { return ended; });
            CHECK(session->target.violations().empty());
        }
        loop_->turn(ring::monotonic_now());
    }

    Session& session(std::size_t index) { return *sessions_[index]; }
    Unit& add(Session& session, std::uint64_t number, Unit::Load load) {
        return *units_.emplace_back(std::make_unique<Unit>(*loop_, session.nexus, number, load));
    }

    /// Until so many requests have ended, and then no more are begun.
    void run(std::uint64_t requests) {
        const std::uint64_t enough = total() + requests;
        while (total() < enough) {
            for (auto& unit : units_) {
                unit->go_on();
            }
            turn();
        }
    }

    /// The unit that was given the least, as a part of what they were given on the average.
    static double slowest_to_mean(const std::vector<Unit*>& units) {
        std::uint64_t least = UINT64_MAX;
        std::uint64_t all = 0;
        for (const Unit* unit : units) {
            least = std::min(least, unit->done);
            all += unit->done;
        }
        return static_cast<double>(least) * static_cast<double>(units.size()) / static_cast<double>(all);
    }

    void on_nexus_dropped(const base::Error& error) override { FAIL(error.detail); }
    void on_nexus_event(const session::Event&) override {}
    void on_lun_effects(base::Lun, const scsi::Disposition&) override {}

private:
    void open(Session& session) {
        shard::OpenRequest request = Bench::open_request(session.target.port());
        bool opened = false;
        group_.spawn(log_in(session, std::move(request), opened));
        run_until([&] { return opened; });
        session.target.judge().config.window = window;
    }
    static ring::Task<void> log_in(Session& session, shard::OpenRequest request, bool& opened) {
        auto reply = co_await session.nexus.open(std::move(request));
        REQUIRE(reply);
        session.target.begin_session(*reply);
        session.nexus.resume();
        opened = true;
    }
    static ring::Task<void> log_out(Session& session, bool& ended) {
        (void)co_await session.nexus.log_out();
        ended = true;
    }

    void turn() {
        loop_->turn(ring::monotonic_now() + std::chrono::milliseconds(1));
        for (auto& session : sessions_) {
            if (!session->stuck) {
                session->target.pump();
            }
        }
        REQUIRE(ring::monotonic_now() < give_up_at_);
    }
    void run_until(const std::function<bool()>& done) {
        while (!done()) {
            turn();
        }
    }
    std::uint64_t total() const {
        std::uint64_t all = 0;
        for (const auto& unit : units_) {
            all += unit->done;
        }
        return all;
    }

    base::TimePoint give_up_at_ = ring::monotonic_now() + std::chrono::minutes(2);
    std::unique_ptr<ring::Loop> loop_;
    std::vector<std::unique_ptr<Session>> sessions_;
    std::vector<std::unique_ptr<Unit>> units_;
    ring::TaskGroup group_;
};

constexpr double fair = 0.8;

} // namespace

TEST_CASE("sixteen units of a session share its command window, whoever has more in hand", "[fairness]") {
    Shard shard(1);
    const unsigned depth_of_one = GENERATE(32U, 4U);
    const Verb verb_of_one = GENERATE(Verb::read, Verb::write);
    std::vector<Unit*> units;
    for (std::size_t i = 0; i < many; ++i) {
        const bool one = i == many / 2;
        const Unit::Load load{one ? verb_of_one : Verb::read, one ? depth_of_one : 32};
        units.push_back(&shard.add(shard.session(0), i, load));
    }
    shard.run(many * 200);
    CHECK(Shard::slowest_to_mean(units) >= fair);
}

TEST_CASE("a command of an idle unit is sent before the second one of any other", "[fairness]") {
    Shard shard(1);
    Unit& busy = shard.add(shard.session(0), 1, {.depth = 128});
    shard.run(1000);
    Unit& quiet = shard.add(shard.session(0), 2, {.depth = 1});
    const std::uint64_t before = busy.done;
    while (quiet.done == 0) {
        shard.run(1);
    }
    CHECK(busy.done - before <= 3 * window); // what was at the target, and what left with it
}

TEST_CASE("a unit that says TASK SET FULL takes nothing from the others", "[fairness]") {
    Shard shard(1);
    std::vector<Unit*> others;
    for (std::size_t i = 0; i < many; ++i) {
        Unit& unit = shard.add(shard.session(0), i, {});
        if (i != 3) {
            others.push_back(&unit);
        }
    }
    bool full = false;
    shard.session(0).target.bend = [&](const SeenCommand& command) -> std::optional<Bent> {
        full = command.lun.value() == 3 * lun_number_unit ? !full : full;
        return full && command.lun.value() == 3 * lun_number_unit ? std::optional(Bent{0x28, {}, {}})
                                                                  : std::nullopt;
    };
    shard.run(many * 200);
    CHECK(Shard::slowest_to_mean(others) >= fair);
    shard.session(0).target.bend = nullptr;
}

TEST_CASE("sixteen sessions share their shard, and one whose target is stuck takes nothing from the others",
          "[fairness]") {
    Shard shard(many);
    const bool stuck = GENERATE(false, true);
    std::vector<Unit*> others;
    for (std::size_t i = 0; i < many; ++i) {
        const bool is_stuck = stuck && i == many - 1;
        // More than sockets take.
        const Unit::Load load =
            is_stuck ? Unit::Load{Verb::write, 64, std::uint64_t{1} << 20} : Unit::Load{Verb::read, 32, 4096};
        Unit& unit = shard.add(shard.session(i), 1, load);
        shard.session(i).stuck = is_stuck;
        if (!is_stuck) {
            others.push_back(&unit);
        }
    }
    shard.run(many * 200);
    CHECK(Shard::slowest_to_mean(others) >= fair);
}
