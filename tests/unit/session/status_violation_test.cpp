// What a target does wrong with status, one rule each: the session says which, ends the connection,
// and no command that was touched by it ever completes as responded.
#include "scene.hpp"

namespace iscsi::testing {
namespace {

TEST_CASE("good status with less data than expected is refused", "[rfc7143-11.4.5][DATA-06]") {
    Scene scene;
    scene.read(64);
    FakeTarget& target = scene.pair.target;
    target.send(target.stamped(scene.data_in(0, 0), FakeTarget::Status::none), pattern(32, 1));
    scene.send(target.response_to(scene.itt));
    scene.protocol_error("32 bytes of data, 64 were due");
}

TEST_CASE("good status in a Data-In with less data than expected is refused", "[rfc7143-11.7][DATA-06]") {
    Scene scene;
    scene.read(64);
    auto pdu = scene.data_in(0, 0);
    pdu.flags = wire::final_bit | wire::data_in_flag::status;
    scene.send(scene.pair.target.stamped(pdu), 60);
    scene.protocol_error("60 bytes of data, 64 were due");
}

TEST_CASE("an underflow that does not match the data is refused", "[rfc7143-11.4.5][DATA-06]") {
    Scene scene;
    scene.read(64);
    FakeTarget& target = scene.pair.target;
    target.send(target.stamped(scene.data_in(0, 0), FakeTarget::Status::none), pattern(32, 1));
    auto response = target.response_to(scene.itt);
    response.flags |= wire::response_flag::underflow;
    response.residual_count = 16;
    scene.send(response);
    scene.protocol_error("32 bytes of data, 48 were due");
}

TEST_CASE("a residual that cannot be is refused", "[rfc7143-11.4.5][DATA-06]") {
    Scene scene;
    scene.read(64);
    auto response = scene.pair.target.response_to(scene.itt);
    SECTION("more underflow than was expected at all") {
        response.flags |= wire::response_flag::underflow;
        response.residual_count = 65;
        scene.send(response);
        scene.protocol_error("underflow of 65");
    }
    SECTION("underflow and overflow at once") {
        response.flags |= wire::response_flag::underflow | wire::response_flag::overflow;
        response.residual_count = 64;
        scene.send(response);
        scene.protocol_error("at once");
    }
}

TEST_CASE("an ExpDataSN that misses Data-In PDUs is refused", "[rfc7143-11.4.8][DATA-07]") {
    Scene scene;
    scene.read(64);
    FakeTarget& target = scene.pair.target;
    target.send(target.stamped(scene.data_in(0, 0), FakeTarget::Status::none), pattern(64, 1));
    auto response = target.response_to(scene.itt);
    response.exp_data_sn = 2;
    scene.send(response);
    scene.protocol_error("ExpDataSN 2 after 1");
}

TEST_CASE("a response for a task that does not exist is refused", "[rfc7143-11.4][SEQ-08]") {
    Scene scene;
    scene.read(64);
    scene.send(scene.pair.target.response_to(scene.itt ^ 1U));
    scene.protocol_error("does not exist");
}

TEST_CASE("a reserved response code is refused", "[rfc7143-11.4.3][DATA-09]") {
    Scene scene;
    scene.read(64);
    auto response = scene.pair.target.response_to(scene.itt);
    response.response = 0x02;
    scene.send(response);
    scene.protocol_error("reserved response code 0x02");
}

TEST_CASE("a gap in StatSN is refused", "[rfc7143-4.2.2.2][SEQ-05]") {
    Scene scene;
    scene.write(64);
    auto ahead = GENERATE(1U, 0xffffffffU);
    scene.pair.target.stat_sn = scene.pair.target.stat_sn + ahead;
    SECTION("of a SCSI Response") {
        scene.send(scene.pair.target.response_to(scene.itt));
        scene.protocol_error("StatSN");
    }
    SECTION("of an Asynchronous Message") {
        scene.send(scene.pair.target.stamped(wire::AsyncMessage{}));
        scene.protocol_error("StatSN");
    }
    SECTION("of a Reject") {
        scene.send(scene.pair.target.stamped(wire::Reject{}), 48);
        scene.protocol_error("StatSN");
    }
}

TEST_CASE("a gap in StatSN of a Data-In with status is refused", "[rfc7143-4.2.2.2][SEQ-05]") {
    Scene scene;
    scene.read(64);
    ++scene.pair.target.stat_sn;
    auto pdu = scene.data_in(0, 0);
    pdu.flags = wire::final_bit | wire::data_in_flag::status;
    scene.send(scene.pair.target.stamped(pdu), 64);
    scene.protocol_error("StatSN");
}

TEST_CASE("sense data longer than its segment is refused", "[rfc7143-11.4.7]") {
    Scene scene;
    scene.read(64);
    auto response = scene.pair.target.response_to(scene.itt, 2);
    std::vector<std::byte> data(20);
    SECTION("SenseLength beyond the end") {
        data[1] = std::byte{19};
        scene.pair.target.send(response, data);
        scene.pair.run();
        scene.protocol_error("SenseLength 19");
    }
    SECTION("no room for SenseLength itself") {
        scene.pair.target.send(response, base::Bytes(data).first(1));
        scene.pair.run();
        scene.protocol_error("one byte");
    }
}

} // namespace
} // namespace iscsi::testing
