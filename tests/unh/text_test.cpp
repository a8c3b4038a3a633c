// UNH-IOL full feature phase, initiators: group 18, Text Requests. We send them in discovery sessions only.
#include "unh.hpp"

#include "login/text_exchange.hpp"

#include <chrono>
#include <memory>

using namespace iscsi;
using namespace iscsi::scripted;
using namespace iscsi::scripted::unh;
using namespace std::chrono_literals;

namespace {

RigConfig discovery() {
    RigConfig config;
    config.login.discovery = true;
    config.login.target_name.clear();
    config.login.initiator_alias = "unit";
    return config;
}

/// A discovery session up to its first request.
class Discovery {
public:
    Discovery() : rig(discovery()) {
        login::LoginConfig with = rig.config.login;
        with.deadline = rig.now + 10s;
        auto made = login::Login::make(with);
        REQUIRE(made);
        REQUIRE(rig.drive_login(**made));
        REQUIRE((*made)->finished());
        login::TextExchangeConfig config;
        config.connection = (*made)->negotiated().connection;
        config.numbers = (*made)->sequence_numbers();
        exchange = std::make_unique<login::TextExchange>(config);
    }
    base::Result<void> run() { return rig.drive(*exchange); }

    Rig rig;
    std::unique_ptr<login::TextExchange> exchange;
};

/// Part of an answer, with a tag for more.
Pdu part(std::uint32_t tag, std::uint64_t lun, std::string_view text) {
    return Pdu(Opcode::text_response).set(field::ttt, tag).set(field::lun, lun).with_text(text);
}

} // namespace

TEST_CASE("a Text Request carries one key=value with its NUL, F and not C",
          "[UNH-FFP-18.1][DISC-02][TEXT-01]") {
    Discovery discovery;
    REQUIRE(discovery.run());
    std::vector<Pdu> requests = discovery.rig.target.seen(text_request);
    REQUIRE(requests.size() == 1);
    CHECK(requests[0].text() == std::string("SendTargets=All\0", 16));
    CHECK(requests[0].has(field::final));
    CHECK_FALSE(requests[0].has(field::continues));
    CHECK(discovery.exchange->finished());
    CHECK(discovery.exchange->text().find(discovery.rig.target.config.name) != std::string::npos);
    check_clean(discovery.rig.target);
}

TEST_CASE("a Text Request has a tag that no other request in progress has", "[UNH-FFP-18.2][DISC-02]") {
    Discovery discovery;
    discovery.rig.target.on(text_request)
        .once()
        .reply(part(9, 0, std::string("TargetName=iqn.2026-01.a:b\0", 27)));
    REQUIRE(discovery.run());
    std::vector<Pdu> requests = discovery.rig.target.seen(text_request);
    REQUIRE(requests.size() == 2);
    CHECK(requests[0].get(field::itt) != no_tag);
    CHECK(requests[1].get(field::itt) == requests[0].get(field::itt)); // one exchange
    CHECK(discovery.rig.target.seen(logout_request).at(0).get(field::itt) != requests[0].get(field::itt));
    check_clean(discovery.rig.target);
}

TEST_CASE("the first Text Request of an exchange has no Target Transfer Tag", "[UNH-FFP-18.3.1][DISC-02]") {
    Discovery discovery;
    REQUIRE(discovery.run());
    Pdu request = discovery.rig.target.seen(text_request).at(0);
    CHECK(request.get(field::ttt) == no_tag);
    CHECK(request.get(field::lun) == 0);
    check_clean(discovery.rig.target);
}

TEST_CASE("a Text Request that asks for more copies tag and LUN of the response, and has no text",
          "[UNH-FFP-18.3.2][DISC-02]") {
    Discovery discovery;
    Target& target = discovery.rig.target;
    target.on(text_request).once().reply(part(0x1000, 7, "TargetName=iqn.2026-"));
    target.on(text_request.with(field::ttt, 0x1000))
        .reply(part(0, 1ULL << 63, "01.a:b").set(field::continues));
    target.on(text_request.with(field::ttt, 0))
        .reply(Pdu(Opcode::text_response).set(field::final).with_text(std::string(1, '\0')));
    REQUIRE(discovery.run());
    std::vector<Pdu> requests = target.seen(text_request);
    REQUIRE(requests.size() == 3);
    CHECK(requests[1].get(field::ttt) == 0x1000);
    CHECK(requests[1].get(field::lun) == 7);
    CHECK(requests[2].get(field::ttt) == 0);
    CHECK(requests[2].get(field::lun) == 1ULL << 63);
    CHECK(requests[1].data.empty());
    CHECK(requests[2].data.empty());
    CHECK(discovery.exchange->text() == std::string("TargetName=iqn.2026-01.a:b\0", 27));
    check_clean(target);
}

TEST_CASE("CmdSN, ExpStatSN and the I bit of Text Requests follow the rules of all requests",
          "[UNH-FFP-18.4][DISC-02][SEQ-01]") {
    Discovery discovery;
    Target& target = discovery.rig.target;
    target.on(text_request).once().reply(part(1, 0, std::string("TargetName=iqn.2026-01.a:b\0", 27)));
    std::uint32_t first = target.stat_sn;
    REQUIRE(discovery.run());
    std::vector<Pdu> requests = target.seen(text_request);
    REQUIRE(requests.size() == 2);
    for (const Pdu& request : requests) {
        CHECK(request.has(field::immediate)); // the same in the whole exchange
        CHECK(request.get32(field::cmd_sn) == discovery.rig.config.login.cmd_sn.value());
    }
    CHECK(requests[0].get32(field::exp_stat_sn) == first);
    CHECK(requests[1].get32(field::exp_stat_sn) == first + 1);
    CHECK(target.seen(logout_request).at(0).get32(field::exp_stat_sn) == first + 2);
    check_clean(target);
}

TEST_CASE("a target that resets the exchange ends it; the next one begins without anything of it",
          "[UNH-FFP-18.5][DISC-02]") {
    Discovery reset;
    reset.rig.target.on(text_request).once().reply(part(3, 0, "TargetName=iqn.2026-01.a:"));
    reset.rig.target.on(text_request.with(field::ttt, 3)).reply([](const Pdu& request) {
        return Pdu(Opcode::reject)
            .set(field::reject_reason, 0x04)
            .with_data(ByteVector(request.header().begin(), request.header().end()));
    });
    base::Result<void> outcome = reset.run();
    REQUIRE_FALSE(outcome);
    CHECK(outcome.error().code == base::Errc::protocol);
    CHECK_FALSE(reset.exchange->text_complete());
    check_clean(reset.rig.target);

    Discovery next;
    REQUIRE(next.run());
    CHECK(next.rig.target.seen(text_request).at(0).get(field::ttt) == no_tag);
    CHECK(next.exchange->text().find("iqn.2026-01.a:") == std::string::npos);
    check_clean(next.rig.target);
}
