// UNH-IOL full feature phase, initiators: groups 10, 11.1.2 and 13, what is read, and SNACK.
#include "unh.hpp"

#include <algorithm>

using namespace iscsi;
using namespace iscsi::scripted;
using namespace iscsi::scripted::unh;

namespace {

/// Fills the disk with something to read.
void fill(Target& target) {
    unsigned i = 0;
    std::ranges::generate(target.disks.bytes(), [&i] { return static_cast<std::byte>(++i * 31 >> 3); });
}

void check_read(Rig& rig, const Io& io) {
    CHECK(rig.result);
    CHECK(io.good());
    CHECK(std::equal(io.memory.begin(), io.memory.end(), rig.target.disks.bytes().begin()));
}

RigConfig small_segments() {
    RigConfig config;
    config.login.offers.max_recv_data_segment_bytes = segment;
    config.login.offers.max_burst_bytes = max_burst;
    config.login.offers.first_burst_bytes = first_burst;
    return config;
}

} // namespace

TEST_CASE("status on the last Data-In ends the command, and its StatSN counts", "[UNH-FFP-10.1][DATA-05]") {
    RigConfig config = small_segments();
    config.target.status_in_data = GENERATE(true, false);
    Rig rig(config);
    REQUIRE(rig.log_in());
    fill(rig.target);
    Io& io = rig.read(65536);
    rig.run();
    check_read(rig, io);
    CHECK(rig.target.sent(data_in.with(field::has_status)).size() == (config.target.status_in_data ? 1 : 0));
    CHECK(rig.target.sent(scsi_response).size() == (config.target.status_in_data ? 0 : 1));
    rig.touch();
    rig.run();
    CHECK(rig.target.seen(scsi_command).back().get32(field::exp_stat_sn) == rig.target.stat_sn - 1);
    check_clean(rig.target);
}

TEST_CASE("the A bit is ignored at ErrorRecoveryLevel 0", "[UNH-FFP-10.2][DATA-05]") {
    Rig rig(small_segments());
    REQUIRE(rig.log_in());
    CHECK(offered(rig.target, "ErrorRecoveryLevel") == "0");
    fill(rig.target);
    rig.target.sending(data_in).set(field::acknowledge).set(field::ttt, 77).set(field::lun, 0);
    rig.target.expect(snack).never().because("there is no DataACK at level 0");
    Io& io = rig.read(65536);
    rig.run();
    check_read(rig, io);
    check_clean(rig.target);
}

TEST_CASE("a Data-In without data is taken, wherever it comes", "[UNH-FFP-11.1.2][DATA-05]") {
    Rig rig(small_segments());
    REQUIRE(rig.log_in());
    fill(rig.target);
    std::size_t at = GENERATE(0U, 1U, 2U);
    rig.target.executing(read_command).run([&](const Pdu& command) {
        std::uint32_t data_sn = 0;
        for (std::size_t i = 0; i < 3; ++i) {
            std::uint64_t offset = std::min<std::size_t>(i, 2) * segment;
            Pdu part(Opcode::data_in);
            part.set(field::itt, command.get(field::itt)).set(field::buffer_offset, offset);
            if (i == at) {
                rig.target.send(Pdu(part).set(field::data_sn, data_sn++));
            }
            if (i < 2) {
                auto from = rig.target.disks.bytes().begin() + static_cast<long>(offset);
                part.with_data(ByteVector(from, from + segment)).set(field::final, i);
                rig.target.send(part.set(field::data_sn, data_sn++));
            }
        }
        rig.target.send(Target::status(scsi_status::good).set(field::itt, command.get(field::itt)));
    });
    Io& io = rig.read(2 * segment);
    rig.run();
    check_read(rig, io);
    CHECK(rig.target.sent(data_in).size() == 3);
    CHECK(rig.target.sent(data_in.with(field::data_length, 0)).size() == 1);
    check_clean(rig.target);
}

TEST_CASE("a missing Data-In is not asked for again at ErrorRecoveryLevel 0: nothing is handed on and the "
          "session ends",
          "[UNH-FFP-13.1][SEQ-06]") {
    Rig rig(small_segments());
    REQUIRE(rig.log_in());
    fill(rig.target);
    SendRule& line = rig.target.sending(data_in).after(GENERATE(0U, 1U, 5U));
    SECTION("it does not come") {
        line.once().drop();
    }
    SECTION("only its number is left out") {
        line.edit([](Pdu& pdu) { pdu.set(field::data_sn, pdu.get(field::data_sn) + 1); });
    }
    rig.target.expect(snack).never();
    Io& io = rig.read(65536);
    rig.run();
    CHECK_FALSE(rig.result);
    CHECK_FALSE(io.done);
    rig.drop();
    CHECK(io.outcome == session::Outcome::lost);
    check_clean(rig.target);
}

TEST_CASE("a missing R2T is not asked for again at ErrorRecoveryLevel 0: the session ends",
          "[UNH-FFP-13.1][SEQ-06]") {
    Rig rig(mode(true, false));
    REQUIRE(rig.log_in());
    rig.target.sending(r2t).once().set(field::r2t_sn, 1);
    rig.target.expect(snack).never();
    Io& io = rig.write(65536);
    rig.run();
    CHECK_FALSE(rig.result);
    rig.drop();
    CHECK(io.outcome == session::Outcome::lost);
    check_clean(rig.target);
}

TEST_CASE("Data-In after Data-In with the A bit brings no DataACK at ErrorRecoveryLevel 0, and the read is "
          "whole all the same",
          "[UNH-FFP-13.2][DATA-05]") {
    RigConfig config = small_segments();
    config.login.offers.data_digest = "CRC32C";
    config.login.offers.header_digest = "CRC32C";
    Rig rig(config);
    rig.cut_anywhere = true;
    REQUIRE(rig.log_in());
    fill(rig.target);
    // At the end of each burst, as a target of a higher level would.
    rig.target.sending(data_in.with(field::final)).set(field::acknowledge).set(field::ttt, 5);
    rig.target.expect(snack).never();
    Io& io = rig.read(4 * max_burst);
    rig.run();
    check_read(rig, io);
    CHECK(rig.target.sent(data_in.with(field::acknowledge)).size() == 4);
    check_clean(rig.target);
}
