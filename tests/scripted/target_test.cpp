// The scripted target on its own, and our initiator against it while it behaves.
#include "scripted/crc.hpp"
#include "scripted/rig.hpp"

#include <catch2/catch.hpp>

using namespace iscsi;
using namespace iscsi::scripted;

namespace {

std::string hex(std::span<const std::byte> bytes) {
    return fmt::format("{:02x}",
                       fmt::join(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                 reinterpret_cast<const std::uint8_t*>(bytes.data()) + bytes.size(), " "));
}

ByteVector counting(int first, int step) {
    ByteVector bytes(32);
    for (std::byte& byte : bytes) {
        byte = static_cast<std::byte>(first);
        first += step;
    }
    return bytes;
}

} // namespace

TEST_CASE("the scripted target's CRC gives the values that the RFC prints", "[rfc7143-A.4]") {
    CHECK(hex(digest_of(ByteVector(32))) == "aa 36 91 8a");
    CHECK(hex(digest_of(ByteVector(32, std::byte{0xff}))) == "43 ab a8 62");
    CHECK(hex(digest_of(counting(0, 1))) == "4e 79 dd 46");
    CHECK(hex(digest_of(counting(31, -1))) == "5c db 3f 11");
}

TEST_CASE("whatever a test sets in a PDU stays, and the rest is filled in") {
    Pdu pdu(Opcode::nop_in);
    CHECK(pdu.has(field::final));
    CHECK(pdu.get(field::itt) == no_tag);
    pdu.set(field::stat_sn, 7).fill(field::stat_sn, 9).fill(field::exp_cmd_sn, 3);
    CHECK(pdu.get(field::stat_sn) == 7);
    CHECK(pdu.get(field::exp_cmd_sn) == 3);
    pdu.set(field::final, 0).set(field::opcode, 0x3e).set(field::data_length, 4000);
    ByteVector bytes = encode(pdu, {true, true});
    CHECK(bytes.size() == 52);
    Framer framer;
    framer.add(bytes);
    CHECK_FALSE(framer.next({true, true}));
}

TEST_CASE("a good initiator reads and writes on a good target, and the judge has nothing to say",
          "[DIG-01][DATA-02]") {
    RigConfig config;
    config.login.offers.header_digest = GENERATE("None", "CRC32C");
    config.login.offers.data_digest = GENERATE("None", "CRC32C");
    config.login.offers.initial_r2t = GENERATE(false, true);
    config.login.offers.immediate_data = GENERATE(false, true);
    config.login.offers.first_burst_bytes = 16384;
    config.login.offers.max_burst_bytes = 32768;
    Rig rig(config);
    rig.cut_anywhere = GENERATE(false, true);
    REQUIRE(rig.log_in());
    for (std::uint32_t bytes : {512U, 8192U, 12288U, 16384U, 100352U}) {
        CHECK(rig.target.complaints() == std::vector<std::string>());
        Io& written = rig.write(bytes, 3);
        rig.run();
        REQUIRE(rig.result);
        REQUIRE(written.good());
        Io& read = rig.read(bytes, 3);
        rig.run();
        REQUIRE(rig.result);
        REQUIRE(read.good());
        CHECK(read.memory == written.memory);
    }
    rig.session->begin_logout(rig.now);
    rig.run();
    CHECK(rig.session->logged_out());
    CHECK(rig.target.ending() == Ending::orderly);
    CHECK(rig.target.complaints() == std::vector<std::string>());
}
