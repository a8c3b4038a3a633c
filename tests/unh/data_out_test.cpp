// UNH-IOL full feature phase, initiators: groups 8, 9, 11 and 12, what is written and when.
#include "unh.hpp"

#include <algorithm>
#include <utility>

using namespace iscsi;
using namespace iscsi::scripted;
using namespace iscsi::scripted::unh;

namespace {

constexpr std::uint32_t large = 100352; // three R2Ts behind a first burst

/// The write's memory is what the target got.
void check_written(Rig& rig, const Io& io) {
    CHECK(io.good());
    const ByteVector& disk = rig.target.disks.bytes();
    CHECK(std::equal(io.memory.begin(), io.memory.end(), disk.begin()));
    check_clean(rig.target);
}

/// R2Ts of the test's own for the only write, by offset and length.
void ask(Target& target, const std::vector<std::pair<std::uint32_t, std::uint32_t>>& parts,
         std::uint32_t r2t_sn = 0) {
    Pdu command = target.seen(write_command).back();
    for (auto [offset, length] : parts) {
        target.send(Pdu(Opcode::r2t)
                        .set(field::itt, command.get(field::itt))
                        .set(field::lun, command.get(field::lun))
                        .set(field::ttt, 0xabcd0000U + offset)
                        .set(field::r2t_sn, r2t_sn++)
                        .set(field::buffer_offset, offset)
                        .set(field::desired_length, length));
    }
}

} // namespace

TEST_CASE("InitialR2T=No, ImmediateData=Yes: FirstBurstLength is sent unasked, the rest as R2Ts ask",
          "[UNH-FFP-8.1][DATA-01][DATA-02]") {
    Rig rig(mode(false, true));
    REQUIRE(rig.log_in());
    Io& io = rig.write(large);
    rig.run();
    Pdu command = rig.target.seen(write_command).at(0);
    auto all = sequences(rig.target);
    CHECK(command.data.size() == segment);
    CHECK_FALSE(command.has(field::final));
    CHECK(command.data.size() + bytes_of_all(all[no_tag]) == first_burst);
    std::size_t solicited = 0;
    for (const Pdu& asked : rig.target.sent(r2t)) {
        CHECK(bytes_of_all(all[asked.get32(field::ttt)]) == asked.get(field::desired_length));
        solicited += asked.get(field::desired_length);
    }
    CHECK(solicited == large - first_burst);
    check_written(rig, io);
}

TEST_CASE("InitialR2T=Yes, ImmediateData=No: nothing is sent before an R2T asks for it",
          "[UNH-FFP-8.2][DATA-01][DATA-02]") {
    Rig rig(mode(true, false));
    REQUIRE(rig.log_in());
    rig.target.on(write_command).hold();
    Io& io = rig.write(large);
    rig.run();
    CHECK(rig.target.seen(write_command).at(0).data.empty());
    CHECK(rig.target.seen(write_command).at(0).has(field::final));
    CHECK(rig.target.seen(data_out).empty());
    rig.target.release();
    rig.run();
    CHECK_FALSE(sequences(rig.target).contains(no_tag));
    CHECK(bytes_of_all(rig.target.seen(data_out)) == large);
    check_written(rig, io);
}

TEST_CASE("InitialR2T=No, ImmediateData=No: FirstBurstLength is sent in Data-Outs of its own",
          "[UNH-FFP-8.3][DATA-01][DATA-02]") {
    Rig rig(mode(false, false));
    REQUIRE(rig.log_in());
    Io& io = rig.write(GENERATE(512U, first_burst - 512, first_burst, first_burst + 512, large));
    rig.run();
    CHECK(rig.target.seen(write_command).at(0).data.empty());
    CHECK(bytes_of_all(sequences(rig.target)[no_tag]) ==
          std::min<std::size_t>(io.memory.size(), first_burst));
    check_written(rig, io);
}

TEST_CASE("a Data-Out carries the tag and the unit of its R2T, and none when nobody asked",
          "[UNH-FFP-9.1][DATA-03]") {
    RigConfig config = mode(false, true);
    config.target.disk.units = {0, 3};
    Rig rig(config);
    REQUIRE(rig.log_in());
    std::uint32_t next = 0;
    const std::vector<std::uint32_t> tags{0, 1, 0xfffffffeU};
    rig.target.sending(r2t).edit([&](Pdu& pdu) { pdu.set(field::ttt, tags.at(next++)); });
    Io& io = rig.write(large, 0, 3);
    rig.run();
    CHECK(io.good());
    auto all = sequences(rig.target);
    REQUIRE(all.size() == 4);
    for (std::uint32_t tag : tags) {
        REQUIRE_FALSE(all[tag].empty());
        CHECK(all[tag][0].get(field::lun) == lun_field(3));
    }
    CHECK(all[no_tag].at(0).get(field::lun) == 0);
    check_clean(rig.target);
}

TEST_CASE("no Data-Out is longer than the target's MaxRecvDataSegmentLength", "[UNH-FFP-11.1.1][DATA-01]") {
    std::uint32_t most = GENERATE(512U, 514U, 1000U, 8192U, 65536U, 16777215U);
    RigConfig config = mode(GENERATE(false, true), GENERATE(false, true));
    config.target.keys["MaxRecvDataSegmentLength"] = std::to_string(most);
    Rig rig(config);
    REQUIRE(rig.log_in());
    Io& io = rig.write(large);
    rig.run();
    for (const Pdu& pdu : rig.target.seen(data_out)) {
        CHECK(pdu.data.size() <= most);
    }
    CHECK(rig.target.seen(write_command).at(0).data.size() <= most);
    check_written(rig, io);
}

TEST_CASE("F is on the last Data-Out of the unsolicited data, and on no other", "[UNH-FFP-11.2.1][DATA-03]") {
    Rig rig(mode(false, GENERATE(false, true)));
    REQUIRE(rig.log_in());
    Io& io = rig.write(large);
    rig.run();
    std::vector<Pdu> pdus = sequences(rig.target)[no_tag];
    REQUIRE(pdus.size() >= 3);
    CHECK(std::ranges::count_if(pdus, [](const Pdu& pdu) { return pdu.has(field::final); }) == 1);
    CHECK(pdus.back().has(field::final));
    check_written(rig, io);
}

TEST_CASE("F is on the last Data-Out that answers an R2T, and on no other", "[UNH-FFP-11.2.2][DATA-03]") {
    Rig rig(mode(true, GENERATE(false, true)));
    REQUIRE(rig.log_in());
    Io& io = rig.write(large);
    rig.run();
    for (const auto& [ttt, pdus] : sequences(rig.target)) {
        CHECK(std::ranges::count_if(pdus, [](const Pdu& pdu) { return pdu.has(field::final); }) == 1);
        CHECK(pdus.back().has(field::final));
    }
    check_written(rig, io);
}

TEST_CASE("DataSN begins anew with each R2T", "[UNH-FFP-11.3][SEQ-06]") {
    Rig rig(mode(true, false));
    REQUIRE(rig.log_in());
    Io& io = rig.write(large);
    rig.run();
    auto all = sequences(rig.target);
    CHECK(all.size() == 4);
    for (const auto& [ttt, pdus] : all) {
        for (std::size_t i = 0; i < pdus.size(); ++i) {
            CHECK(pdus[i].get(field::data_sn) == i);
        }
    }
    check_written(rig, io);
}

TEST_CASE("the offsets of Data-Outs go up without a gap from where their sequence begins",
          "[UNH-FFP-11.4][DATA-03]") {
    Rig rig(mode(false, true));
    REQUIRE(rig.log_in());
    Io& io = rig.write(large);
    rig.run();
    std::map<std::uint32_t, std::uint64_t> next{{no_tag, segment}};
    for (const Pdu& asked : rig.target.sent(r2t)) {
        next[asked.get32(field::ttt)] = asked.get(field::buffer_offset);
    }
    for (const Pdu& pdu : rig.target.seen(data_out)) {
        std::uint64_t& offset = next.at(pdu.get32(field::ttt));
        CHECK(pdu.get(field::buffer_offset) == offset);
        offset += pdu.data.size();
    }
    check_written(rig, io);
}

TEST_CASE("an R2T that one PDU can answer is answered by one: its tag, offset and length",
          "[UNH-FFP-12.1][DATA-03]") {
    Rig rig(mode(true, false));
    REQUIRE(rig.log_in());
    Io& io = rig.write(segment);
    rig.run();
    std::vector<Pdu> asked = rig.target.sent(r2t);
    std::vector<Pdu> answers = rig.target.seen(data_out);
    REQUIRE(asked.size() == 1);
    REQUIRE(answers.size() == 1);
    CHECK(answers[0].get(field::ttt) == asked[0].get(field::ttt));
    CHECK(answers[0].get(field::itt) == asked[0].get(field::itt));
    CHECK(answers[0].get(field::buffer_offset) == 0);
    CHECK(answers[0].data.size() == segment);
    CHECK(answers[0].has(field::final));
    check_written(rig, io);
}

TEST_CASE("an R2T is answered with exactly the bytes that it asks for", "[UNH-FFP-12.2][DATA-01][DATA-03]") {
    Rig rig(mode(true, false));
    REQUIRE(rig.log_in());
    rig.target.on(write_command).ignore();
    Io& io = rig.write(65536);
    rig.run();
    const std::vector<std::pair<std::uint32_t, std::uint32_t>> parts{
        {0, 1}, {1, 3}, {4, 4095}, {4099, 4096}, {8195, 4097}, {12292, 20480}, {32772, max_burst - 4}};
    std::uint32_t r2t_sn = 0;
    for (auto part : parts) {
        ask(rig.target, {part}, r2t_sn++);
        rig.run();
        const std::vector<Pdu> answers = sequences(rig.target)[0xabcd0000U + part.first];
        REQUIRE_FALSE(answers.empty());
        CHECK(answers[0].get(field::buffer_offset) == part.first);
        CHECK(bytes_of_all(answers) == part.second);
        CHECK(answers.size() == (part.second + segment - 1) / segment);
    }
    rig.target.behave(rig.target.seen(write_command).at(0));
    rig.run();
    check_written(rig, io);
}

TEST_CASE("R2Ts are answered in the order in which they come, also when offsets jump",
          "[UNH-FFP-12.3][DATA-03]") {
    RigConfig config = mode(true, false);
    config.login.offers.max_outstanding_r2t = 8;
    Rig rig(config);
    REQUIRE(rig.log_in());
    CHECK(rig.negotiated.session.max_outstanding_r2t == 8);
    // Order is what we ask for, and with the rule OR what comes of it; we go along with a target that does
    // not keep it.
    CHECK(offered(rig.target, "DataSequenceInOrder") == "Yes");
    CHECK(rig.negotiated.session.data_sequence_in_order);
    rig.target.on(write_command).ignore();
    Io& io = rig.write(4 * max_burst / 2);
    rig.run();
    const std::vector<std::uint32_t> order{max_burst, 0, max_burst + max_burst / 2, max_burst / 2};
    ask(rig.target, {{order[0], max_burst / 2},
                     {order[1], max_burst / 2},
                     {order[2], max_burst / 2},
                     {order[3], max_burst / 2}});
    rig.run();
    std::vector<std::uint32_t> answered;
    for (const Pdu& pdu : rig.target.seen(data_out)) {
        auto offset = pdu.get32(field::ttt) - 0xabcd0000U;
        if (answered.empty() || answered.back() != offset) {
            answered.push_back(offset);
        }
    }
    CHECK(answered == order);
    rig.target.behave(rig.target.seen(write_command).at(0));
    rig.run();
    check_written(rig, io);
}

TEST_CASE("R2Ts of several commands are answered one after the other, in the order in which they come",
          "[UNH-FFP-12.4][DATA-03]") {
    RigConfig config = mode(true, false);
    config.login.offers.max_outstanding_r2t = 4;
    Rig rig(config);
    REQUIRE(rig.log_in());
    rig.target.on(write_command).hold();
    std::vector<Io*> ios;
    for (std::uint64_t i = 0; i < 5; ++i) {
        ios.push_back(&rig.write(65536, i * 128));
    }
    rig.run();
    REQUIRE(rig.target.held() == 5);
    rig.target.release();
    rig.run();
    std::vector<std::uint32_t> asked;
    for (const Pdu& pdu : rig.target.sent(r2t)) {
        asked.push_back(pdu.get32(field::ttt));
    }
    std::vector<std::uint32_t> answered;
    for (const Pdu& pdu : rig.target.seen(data_out)) {
        if (answered.empty() || answered.back() != pdu.get32(field::ttt)) {
            answered.push_back(pdu.get32(field::ttt));
        }
    }
    CHECK(asked.size() == 10);
    CHECK(answered == asked);
    for (std::size_t i = 0; i < ios.size(); ++i) {
        CHECK(ios[i]->good());
        auto at = rig.target.disks.bytes().begin() + static_cast<long>(i * 65536);
        CHECK(std::equal(ios[i]->memory.begin(), ios[i]->memory.end(), at));
    }
    check_clean(rig.target);
}
