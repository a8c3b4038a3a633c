// What an iSNS server says. The first byte says whether it comes over a connection, as the answer to a query
// or to a registration, or as a datagram to our port; the second how it is cut. No length in it is believed:
// what is held stays within what was sent, what is understood is fit for a record and for a line, and what we
// answer is a whole message.
#include "fuzz.hpp"

#include "base/limits.hpp"
#include "base/names.hpp"
#include "isns/exchange.hpp"

#include <algorithm>
#include <array>
#include <random>

using namespace iscsi;
using iscsi::test::is_one_line;
using iscsi::test::require;
using iscsi::test::Script;

namespace {

constexpr const char* node = "iqn.2026-01.org.example:fuzz";

void check_answers(const isns::Message& answer) {
    auto status = isns::status_of(answer);
    require(status.has_value() == (answer.payload.size() >= 4));
    require(!status || is_one_line(isns::text(*status)));
    auto targets = isns::read_targets(answer);
    require(targets || is_one_line(targets.error().message()));
    if (targets) {
        for (const base::DiscoveredPortal& portal : targets->portals) {
            require(base::check_target_name(portal.target_name).has_value());
            require(base::check_host(portal.address).has_value());
            require(portal.port != 0 && portal.tpgt >= 0 && portal.tpgt <= 65535);
        }
        for (const std::string& line : targets->rejected) {
            require(is_one_line(line));
        }
    }
    auto registered = isns::read_registered(answer);
    require(registered || is_one_line(registered.error().message()));
    auto known = isns::knows_entity(answer);
    require(known || is_one_line(known.error().message()));
}

void drain(isns::Exchange& exchange, std::minstd_rand& random) {
    std::array<iovec, 2> slots{};
    for (auto out = exchange.tx_spans(slots); !out.empty(); out = exchange.tx_spans(slots)) {
        exchange.tx_done(1 + random() % out[0].iov_len);
    }
}

void over_a_connection(std::string_view stream, bool registers, unsigned seed) {
    std::minstd_rand random(seed);
    isns::Exchange exchange(node, std::chrono::seconds(1));
    exchange.ask(
        registers ? isns::register_initiator({node, {node}, "", {}, 1, 1}) : isns::query_targets(node), {});
    base::Bytes rest = base::bytes_of(stream);
    while (!rest.empty() && !exchange.finished()) {
        if (random() % 2 == 0) {
            drain(exchange, random);
        }
        base::MutableBytes room = exchange.rx_spans().direct;
        if (room.empty()) {
            break; // answered; the rest is not for this request
        }
        require(room.size() <= 65536);
        const std::size_t n = 1 + random() % std::min(room.size(), rest.size());
        std::copy_n(rest.begin(), n, room.begin());
        rest = rest.subspan(n);
        if (base::Result<void> taken = exchange.rx_done(n, {}); !taken) {
            require(is_one_line(taken.error().message()));
            return;
        }
    }
    drain(exchange, random);
    require(exchange.answer().payload.size() <= stream.size());
    check_answers(exchange.answer());
}

void as_a_datagram(std::string_view datagram) {
    auto message = isns::decode_datagram(base::bytes_of(datagram));
    if (!message) {
        require(is_one_line(message.error().message()));
        return;
    }
    check_answers(*message);
    auto reaction = isns::react(*message, node);
    if (!reaction) {
        require(is_one_line(reaction.error().message()));
        return;
    }
    require(is_one_line(reaction->unasked.what) && reaction->unasked.what.size() < 4096);
    auto answer = isns::decode_datagram(isns::encode(reaction->answer));
    require(answer && answer->transaction == message->transaction);
    // Two of us do not talk to each other for ever.
    require(!isns::react(*answer, node).has_value());
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Script script(data, size);
    const unsigned way = script.u8() % 3;
    const unsigned seed = script.u8();
    if (way == 2) {
        as_a_datagram(script.rest());
    } else {
        over_a_connection(script.rest(), way == 1, seed);
    }
    return 0;
}
