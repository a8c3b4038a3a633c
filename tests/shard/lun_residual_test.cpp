// What a request becomes when the target's count of bytes is not the one that was asked for.
#include "bench.hpp"

#include "base/limits.hpp"

#include <catch2/catch.hpp>
#include <cerrno>

using namespace iscsi;
using namespace iscsi::test;
using block::Verb;

TEST_CASE("a short read never ends well", "[rfc7143-11.4.5][SCSI-RESID-01]") {
    Bench bench;
    start_session(bench);
    bend_first(bench, 1000, {0, {}, 512});
    CHECK(bench.execute(Verb::read, 0, 1024) == EREMOTEIO);
    bend_first(bench, 1, {0, {}, 0});
    CHECK(bench.execute(Verb::read, 0, 1024) == 0);
}

TEST_CASE("good with more than was asked for is another place of the unit, not success",
          "[rfc7143-11.4.5][SCSI-RESID-01]") {
    Bench bench;
    start_session(bench);
    Bent too_much;
    too_much.overflow_bytes = 3584;
    bend_first(bench, 1000, too_much);
    CHECK(bench.execute(Verb::write, 0, 512) == EREMOTEIO);
    bend_first(bench, 1, too_much);
    CHECK(bench.execute(Verb::write, 0, 512) == 0);
}

TEST_CASE("a request that ends one session after another fails in the end", "[rfc7143-11.4.5]") {
    Bench bench;
    bench.holds = true;
    start_session(bench);
    // More is missing than was asked for: a violation, each time.
    bench.target.bend = [&](const SeenCommand& command) -> std::optional<Bent> {
        auto response = bench.target.judge().response_to(command.itt, 0);
        response.flags |= wire::response_flag::underflow;
        response.residual_count = 4096;
        bench.target.judge().send(response);
        Bent answered;
        answered.silent = true;
        return answered;
    };
    auto bad = bench.write(0, 512, 1);
    bench.lun->start(*bad);
    int logins = 1;
    while (!bad->done) {
        bench.run_until([&] { return bad->done || bench.drops == logins; });
        if (bench.drops == logins) {
            start_session(bench);
            ++logins;
        }
    }
    CHECK(bad->error_number == EIO);
    CHECK(bench.target.seen.size() == base::limits::scsi_retries_max + 1);
}
