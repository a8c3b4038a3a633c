// One command at a target that keeps its peace until the test speaks for it, and what a refusal looks like.
// Header only.
#pragma once

#include "harness.hpp"

namespace iscsi::testing {

class Scene {
public:
    explicit Scene(PairConfig config = wrapping_config()) : pair(with_hold(std::move(config))) {
        pair.target.keep_log = true;
        pair.target.disk = pattern(pair.target.disk.size(), 3);
    }
    void read(std::uint32_t bytes) {
        io.read(0, bytes);
        begin();
    }
    void write(std::uint32_t bytes) {
        // R2Ts are the test's to send.
        pair.target.intercept = [](const wire::Bhs&, base::Bytes) { return true; };
        io.write(0, pattern(bytes, 4));
        begin();
    }
    wire::DataIn data_in(std::uint32_t data_sn, std::uint32_t offset) const {
        wire::DataIn pdu;
        pdu.itt = itt;
        pdu.data_sn = data_sn;
        pdu.buffer_offset = offset;
        return pdu;
    }
    wire::R2t r2t(std::uint32_t offset, std::uint32_t bytes) const {
        wire::R2t pdu;
        pdu.lun = test_lun.value();
        pdu.itt = itt;
        pdu.ttt = 77;
        pdu.buffer_offset = offset;
        pdu.desired_data_transfer_length = bytes;
        return pdu;
    }
    template <class Pdu>
    void send(const Pdu& pdu, std::size_t data_bytes = 0) {
        pair.target.send(pdu, pattern(data_bytes, 9));
        pair.run();
    }
    /// The session took none of it, and says why.
    void refused(base::Errc code, const std::string& why) {
        REQUIRE_FALSE(pair.result);
        CHECK(pair.result.error().code == code);
        CHECK_THAT(pair.result.error().detail, Catch::Matchers::Contains(why));
        CHECK(completions(pair.session).empty());
        base::RxSpans spans = pair.session.rx_spans();
        CHECK((spans.direct.empty() && spans.staging.empty()));
        std::array<iovec, 4> out{};
        CHECK(pair.session.tx_spans(out).empty());
        pair.session.abandon();
        auto ended = completions(pair.session);
        REQUIRE(ended.size() == 1);
        CHECK(ended[0]->outcome == session::Outcome::lost);
    }
    void protocol_error(const std::string& why) { refused(base::Errc::protocol, why); }

    Pair pair;
    Io io;
    std::uint32_t itt = 0;

private:
    static PairConfig with_hold(PairConfig config) {
        config.target.hold = true;
        return config;
    }
    void begin() {
        pair.submit(io.command);
        pair.run();
        itt = newest_itt(pair.target);
    }
};

} // namespace iscsi::testing
