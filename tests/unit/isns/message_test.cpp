#include "isns/message.hpp"
#include "isns_bytes.hpp"
#include "support/fake_login_target.hpp"

#include <catch2/catch.hpp>

using iscsi::base::Errc;
using iscsi::isns::decode_datagram;
using iscsi::isns::Function;
using iscsi::isns::Message;
using iscsi::isns::MessageReader;
using iscsi::isns::Status;
using iscsi::test::bytes_from;
namespace base = iscsi::base;
namespace isns = iscsi::isns;

namespace {

/// Gives `bytes` to a reader in pieces of at most `piece`; how many messages came of it, or the failure.
base::Result<std::vector<Message>> read(base::Bytes bytes, std::size_t piece, std::size_t bytes_max = 4096) {
    MessageReader reader(bytes_max);
    std::vector<Message> messages;
    while (!bytes.empty()) {
        base::MutableBytes room = reader.spans().direct;
        REQUIRE_FALSE(room.empty());
        const std::size_t n = std::min({room.size(), bytes.size(), piece});
        std::copy_n(bytes.begin(), n, room.begin());
        bytes = bytes.subspan(n);
        base::Result<bool> complete = reader.done(n);
        if (!complete) {
            return base::fail(complete.error());
        }
        if (*complete) {
            messages.push_back(reader.message());
            reader.next();
        }
    }
    return messages;
}

} // namespace

TEST_CASE("a message is a header of twelve bytes and its payload", "[rfc4171-5.1]") {
    Message message = isns::make_message(Function::query_device, bytes_from("00000021 00000004 00000001"));
    message.transaction = 0x1234;
    CHECK(isns::encode(message) == bytes_from("0001 0002 000c 8c00 1234 0000 00000021 00000004 00000001"));
    Message answer = isns::make_answer(message, {});
    CHECK(isns::encode(answer) == bytes_from("0001 8002 0000 8c00 1234 0000"));
    CHECK(answer.is_answer_to(Function::query_device));
    CHECK_FALSE(answer.is_answer_to(Function::register_device));
}

TEST_CASE("messages come in parts, and one behind the other", "[rfc4171-5.2]") {
    auto bytes = bytes_from("0001 8002 0008 4400 0007 0000 00000000 00000021"
                            "0001 8002 0004 4000 0007 0001 00000004"
                            "0001 8002 0004 4800 0007 0002 00000001"
                            "0001 000d 0000 4c00 0008 0000");
    auto piece = GENERATE(std::size_t{1}, std::size_t{5}, std::size_t{12}, std::size_t{1000});
    auto messages = read(bytes, piece);
    REQUIRE(messages.has_value());
    REQUIRE(messages->size() == 2);
    CHECK(messages->at(0).function == 0x8002);
    CHECK(messages->at(0).transaction == 7);
    CHECK(messages->at(0).payload == bytes_from("00000000 00000021 00000004 00000001"));
    CHECK(messages->at(1).function == 0x000d);
    CHECK(messages->at(1).payload.empty());
}

TEST_CASE("a payload that is too long for one PDU goes out in several", "[rfc4171-5.2]") {
    Message message = isns::make_message(Function::register_device, {});
    message.payload.assign(2 * 0xfffc + 4, std::byte{7});
    auto bytes = isns::encode(message);
    CHECK(bytes.size() == message.payload.size() + 3 * std::size_t{12});
    CHECK(base::load<base::Be16>(bytes, 6) == 0x8400);
    CHECK(base::load<base::Be16>(bytes, 12 + 0xfffc + 6) == 0x8000);
    CHECK(base::load<base::Be16>(bytes, 2 * (12 + 0xfffc) + 6) == 0x8800);
    CHECK(base::load<base::Be16>(bytes, 2 * (12 + 0xfffc) + 10) == 2);
    auto messages = read(bytes, 1000, 1 << 20);
    REQUIRE(messages.has_value());
    REQUIRE(messages->size() == 1);
    CHECK(messages->at(0).payload == message.payload);
}

TEST_CASE("a header that cannot be ends the connection", "[rfc4171-5.1][rfc4171-5.2]") {
    auto text = GENERATE("0002 8002 0000 4c00 0001 0000",  // another version
                         "0001 8002 0003 4c00 0001 0000",  // no multiple of four
                         "0001 8002 0004 6c00 0001 0000",  // signed
                         "0001 8002 0004 4800 0001 0000",  // the last part without a first one
                         "0001 8002 0004 4400 0001 0001",  // the first part is not number 0
                         "0001 8002 0000 4400 0001 0000",  // an empty part
                         "4854 5450 2f31 2e31 2034 3030"); // HTTP
    auto messages = read(bytes_from(text), 100);
    REQUIRE_FALSE(messages.has_value());
    CHECK(messages.error().code == Errc::protocol);
    CHECK(messages.error().detail.find('\n') == std::string::npos);
}

TEST_CASE("parts that do not belong together end the connection", "[rfc4171-5.2]") {
    const std::string first = "0001 8002 0004 4400 0007 0000 00000000";
    auto text = GENERATE("0001 8002 0004 4800 0008 0001",  // another transaction
                         "0001 8001 0004 4800 0007 0001",  // another function
                         "0001 8002 0004 4800 0007 0002",  // out of order
                         "0001 8002 0004 4c00 0007 0000"); // the first one of another message
    auto messages = read(bytes_from(first + text), 100);
    REQUIRE_FALSE(messages.has_value());
    CHECK(messages.error().code == Errc::protocol);
}

TEST_CASE("a message that never ends is refused before there is room for it", "[limits]") {
    std::vector<std::byte> bytes;
    for (unsigned sequence = 0; sequence < 4; ++sequence) {
        auto head = bytes_from("0001 8002 0400 4000 0007 0000");
        head[6] = static_cast<std::byte>(sequence == 0 ? 0x44 : 0x40);
        head[11] = static_cast<std::byte>(sequence);
        bytes.insert(bytes.end(), head.begin(), head.end());
        bytes.resize(bytes.size() + 0x400);
    }
    CHECK(read(bytes, 999, 4096).has_value());
    auto messages = read(bytes, 999, 4095);
    REQUIRE_FALSE(messages.has_value());
    CHECK(messages.error().code == Errc::protocol);
}

TEST_CASE("a datagram is one whole message", "[rfc4171-2.9.2]") {
    auto whole = bytes_from("0001 000d 0004 4c00 0003 0000 00000000");
    REQUIRE(decode_datagram(whole).has_value());
    CHECK(decode_datagram(whole)->transaction == 3);
    CHECK_FALSE(decode_datagram(base::Bytes(whole).first(15)).has_value());
    CHECK_FALSE(decode_datagram({}).has_value());
    auto longer = whole;
    longer.resize(20);
    CHECK_FALSE(decode_datagram(longer).has_value());
    whole[6] = std::byte{0x44}; // a first part
    CHECK_FALSE(decode_datagram(whole).has_value());
}

TEST_CASE("a status has words", "[rfc4171-5.4]") {
    CHECK(isns::text(Status::successful) == "successful");
    CHECK(isns::text(Status::source_unknown) == "source unknown");
    CHECK(isns::text(static_cast<Status>(23)) == "registration feature not supported");
    CHECK(isns::text(static_cast<Status>(4)) == "status 4");
    CHECK(isns::text(static_cast<Status>(0xffffffff)) == "status 4294967295");
}
