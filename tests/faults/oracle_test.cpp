// The write oracle must be able to fail: each kind of harm it claims to find is done to it here.
#include "faults/history.hpp"
#include "faults/load.hpp"
#include "faults/stamp.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cerrno>
#include <cstring>
#include <deque>
#include <optional>
#include <string>
#include <vector>

using namespace iscsi::faults;
using iscsi::base::MutableBytes;

namespace {

constexpr std::uint64_t device = 77;
constexpr std::size_t sector_bytes = 512;
constexpr std::uint64_t sectors = 2048;

/// A read of `sector` that found what write `sequence` leaves there.
Reading finds(std::uint64_t sequence, std::uint64_t sector = 0) {
    return {Content::stamped, {device, sector, sequence, 0}};
}

/// Bytes with the harm that a test wants done, and a volatile cache in front of them.
class Disk final : public Source {
public:
    std::vector<std::byte> cache = std::vector<std::byte>(sectors * sector_bytes);
    std::vector<std::byte> medium = cache;
    int loses_one_write_in = 0; ///< answers it well all the same; 0: none
    int writes_late_one_in = 0; ///< executes it once more, a hundred requests later
    bool flushes_nothing = false;
    int fails_one_in = 0; ///< with an error; executes half of them

    std::uint64_t size_bytes() const override { return cache.size(); }
    bool can(Verb) const override { return true; }
    bool can_fua() const override { return true; }
    bool ready() const override { return true; }
    pollfd waits_for() override { return {-1, 0, 0}; }

    void submit(const Request& request) override {
        ++requests_;
        replay();
        const bool fails = fails_one_in > 0 && requests_ % fails_one_in == 0;
        if (!fails || requests_ % 2 == 0) {
            execute(request);
        }
        waiting_.push_back({request.slot, fails ? EIO : 0, false});
    }

    void progress(short, std::vector<Answer>& answers) override {
        // Not in the order in which they came.
        while (!waiting_.empty()) {
            answers.push_back(waiting_.back());
            waiting_.pop_back();
        }
    }

    void lose_cache() { cache = medium; }

private:
    struct Late {
        int when;
        std::size_t at;
        std::vector<std::byte> data;
    };

    void execute(const Request& request) {
        const auto here = cache.begin() + static_cast<std::ptrdiff_t>(request.offset);
        const auto length = static_cast<std::ptrdiff_t>(request.length);
        switch (request.verb) {
        case Verb::read:
            std::copy_n(here, length, request.data.begin());
            break;
        case Verb::write:
            if (loses_one_write_in > 0 && requests_ % loses_one_write_in == 0) {
                break;
            }
            std::copy_n(request.data.begin(), length, here);
            if (writes_late_one_in > 0 && requests_ % writes_late_one_in == 0) {
                late_.push_back(
                    {requests_ + 100, request.offset, {request.data.begin(), request.data.end()}});
            }
            break;
        case Verb::zero:
        case Verb::trim:
            std::fill_n(here, length, std::byte{0});
            break;
        case Verb::flush:
            medium = flushes_nothing ? medium : cache;
            break;
        }
        if (request.fua && !flushes_nothing) {
            std::copy_n(here, length, medium.begin() + static_cast<std::ptrdiff_t>(request.offset));
        }
    }

    void replay() {
        while (!late_.empty() && late_.front().when <= requests_) {
            std::ranges::copy(late_.front().data,
                              cache.begin() + static_cast<std::ptrdiff_t>(late_.front().at));
            late_.pop_front();
        }
    }

    int requests_ = 0;
    std::vector<Answer> waiting_;
    std::deque<Late> late_;
};

/// An oracle on such a disk.
struct Bench {
    Disk disk;
    std::vector<std::string> complaints;
    Load load;

    explicit Bench(unsigned flushes = 10)
        : load(disk, options(flushes), [this](const std::string& what) { complaints.push_back(what); }) {
        run(Load::Job::fill, 1'000'000);
    }

    static LoadOptions options(unsigned flushes) {
        LoadOptions out;
        out.sectors = sectors;
        out.device = device;
        out.flushes = flushes;
        out.trims = 5;
        return out;
    }

    void run(Load::Job job, int turns) {
        load.start(job);
        for (int turn = 0; turn < turns && !(load.idle() && job != Load::Job::mixed); ++turn) {
            step();
        }
        load.start(Load::Job::nothing);
        while (load.in_progress() > 0) {
            step();
        }
    }

    void step() {
        load.submit();
        std::vector<Answer> answers;
        disk.progress(0, answers);
        std::ranges::for_each(answers, [this](const Answer& answer) { load.take(answer); });
    }

    bool complains_of(const std::string& what) const {
        return std::ranges::any_of(complaints,
                                   [&](const auto& line) { return line.find(what) != line.npos; });
    }
};

} // namespace

TEST_CASE("a stamp says whose it is, and every flipped bit shows", "[oracle]") {
    std::array<std::byte, sector_bytes> sector{};
    CHECK(read_stamp(sector, device, 5).content == Content::zeros);
    write_stamp({device, 5, 9, 2}, sector);
    const Reading whole = read_stamp(sector, device, 5);
    CHECK(whole.content == Content::stamped);
    CHECK(whole.stamp.sequence == 9);
    CHECK(whole.stamp.epoch == 2);
    CHECK(read_stamp(sector, device, 6).content == Content::misplaced);
    CHECK(read_stamp(sector, device + 1, 5).content == Content::foreign);
    for (std::size_t bit = 0; bit < sector_bytes * 8; ++bit) {
        auto harmed = sector;
        harmed[bit / 8] ^= std::byte{1} << bit % 8;
        REQUIRE(read_stamp(harmed, device, 5).content == Content::damaged);
    }
}

TEST_CASE("the last acknowledged write has to be there", "[oracle]") {
    History history(1);
    history.acknowledged(0, {1, false}, false);
    history.acknowledged(0, {2, false}, false);
    CHECK_FALSE(history.read(0, finds(2)));
    REQUIRE(history.read(0, finds(1)));
    CHECK(history.read(0, finds(1))->find("ghost") != std::string::npos); // 2 was read before
    CHECK(history.read(0, {Content::zeros, {}}));
    CHECK(history.read(0, {Content::damaged, {}}));
    CHECK(history.read(0, {Content::foreign, {device + 1, 0, 2, 0}}));
    CHECK(history.read(0, {Content::misplaced, {device, 3, 2, 0}}));
}

TEST_CASE("a write in doubt may be there or not, but it cannot change its mind", "[oracle]") {
    History history(2);
    for (std::uint64_t sector : {0, 1}) {
        history.acknowledged(sector, {1, false}, false);
        history.doubtful(sector, {2, false});
    }
    CHECK(history.in_doubt() == 2);
    SECTION("it is there and stays") {
        CHECK_FALSE(history.read(0, finds(2)));
        CHECK(history.read(0, finds(1)));
    }
    SECTION("it is not there, and must not come any more") {
        CHECK_FALSE(history.read(0, finds(1)));
        const auto wrong = history.read(0, finds(2));
        REQUIRE(wrong);
        CHECK(wrong->find("ghost") != std::string::npos);
    }
    SECTION("once it is overwritten, it must not come any more") {
        history.acknowledged(0, {3, false}, false);
        CHECK(history.read(0, finds(2)));
        CHECK(history.read(0, finds(1)));
        CHECK_FALSE(history.read(0, finds(3)));
    }
}

TEST_CASE("what was flushed outlives a lost cache, what was not may go", "[oracle]") {
    History history(1);
    history.acknowledged(0, {1, false}, false);
    const std::uint64_t sent = history.now();
    history.acknowledged(0, {2, false}, false); // while the flush was on its way
    CHECK_FALSE(history.flushed(sent));
    CHECK(history.read(0, finds(1))); // before a crash
    history.cache_lost();
    SECTION("the newer one may have got through") {
        CHECK_FALSE(history.read(0, finds(2)));
        CHECK(history.read(0, finds(1)));
    }
    SECTION("or be gone; then it stays away, and a flush must say so") {
        CHECK(history.read(0, {Content::zeros, {}}));
        CHECK_FALSE(history.read(0, finds(1)));
        CHECK(history.read(0, finds(2)));
        CHECK(history.flushed(history.now()));
    }
    SECTION("a flush that was answered well promises that nothing was lost") {
        CHECK_FALSE(history.flushed(history.now()));
        CHECK(history.read(0, finds(1)));
        CHECK_FALSE(history.read(0, finds(2)));
    }
    SECTION("a flush that failed promises nothing, nor does the one behind it") {
        history.flush_failed();
        CHECK_FALSE(history.flushed(history.now()));
        CHECK_FALSE(history.read(0, finds(1)));
        CHECK_FALSE(history.flushed(history.now()));
    }
    SECTION("a write through the cache is safe at once") {
        history.acknowledged(0, {3, false}, true);
        history.cache_lost();
        CHECK(history.read(0, finds(1)));
        CHECK_FALSE(history.read(0, finds(3)));
    }
}

TEST_CASE("a disk that does as it is told is never complained of", "[oracle]") {
    Bench bench;
    bench.run(Load::Job::mixed, 2000);
    bench.disk.lose_cache();
    bench.load.cache_lost();
    bench.run(Load::Job::verify, 1'000'000);
    CHECK(bench.complaints.empty());
    CHECK(bench.load.counts().writes > 1000);
    CHECK(bench.load.counts().zeroes > 10);
    CHECK(bench.load.counts().trims > 10);
    CHECK(bench.load.counts().flushes > 10);
}

TEST_CASE("requests that fail leave doubts, not complaints", "[oracle]") {
    Bench bench;
    bench.disk.fails_one_in = 7;
    bench.load.start(Load::Job::mixed);
    while (bench.load.counts().errors < 30) {
        bench.step(); // it rests after errors: this takes a tenth of a second
    }
    bench.disk.fails_one_in = 0;
    bench.run(Load::Job::mixed, 100);
    bench.run(Load::Job::verify, 1'000'000);
    CHECK(bench.complaints.empty());
}

TEST_CASE("a lost acknowledged write is found", "[oracle]") {
    Bench bench;
    bench.disk.loses_one_write_in = 501;
    bench.run(Load::Job::mixed, 2000);
    bench.disk.loses_one_write_in = 0;
    bench.run(Load::Job::verify, 1'000'000);
    CHECK(bench.complains_of("stale"));
}

TEST_CASE("a write that is executed once more, later, is found", "[oracle]") {
    Bench bench;
    bench.disk.writes_late_one_in = 301;
    bench.run(Load::Job::mixed, 2000);
    bench.run(Load::Job::verify, 1'000'000);
    CHECK(bench.complains_of("ghost"));
}

TEST_CASE("a flush that does nothing is found when the cache is lost", "[oracle]") {
    Bench bench;
    bench.run(Load::Job::mixed, 200);
    bench.disk.flushes_nothing = true;
    bench.run(Load::Job::mixed, 2000);
    bench.disk.lose_cache();
    bench.load.cache_lost();
    bench.run(Load::Job::verify, 1'000'000);
    CHECK_FALSE(bench.complaints.empty());
}

TEST_CASE("a sector that was harmed, rolled back, swapped or taken from another disk is found", "[oracle]") {
    Bench bench(0);
    const auto sector = [&bench](std::uint64_t number) {
        return MutableBytes(bench.disk.cache).subspan(number * sector_bytes, sector_bytes);
    };
    const std::vector<std::byte> before(sector(9).begin(), sector(9).end());
    bench.run(Load::Job::fill, 1'000'000);
    std::string expected;
    SECTION("one bit") {
        sector(9)[300] ^= std::byte{4};
        expected = "damaged";
    }
    SECTION("a version of before") {
        std::ranges::copy(before, sector(9).begin());
        expected = "stale";
    }
    SECTION("two that changed places") {
        std::swap_ranges(sector(9).begin(), sector(9).end(), sector(10).begin());
        expected = "misplaced";
    }
    SECTION("one of another disk") {
        write_stamp({device + 1, 9, 9, 0}, sector(9));
        expected = "foreign";
    }
    SECTION("zeros") {
        std::ranges::fill(sector(9), std::byte{0});
        expected = "zeros";
    }
    bench.run(Load::Job::verify, 1'000'000);
    CHECK(bench.complains_of(expected));
    CHECK(bench.complaints.size() <= 2);
}
