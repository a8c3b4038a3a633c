// A target as far as login goes, without sockets: it reads what an engine sends, answers as scripted, and
// feeds the answer in one piece, byte by byte, or at random splits. Well-behaved by default; a test changes
// one thing. Key text is written with '\n' where the wire has NUL. One thread.
#pragma once

#include "base/engine.hpp"
#include "base/text.hpp"
#include "login/chap.hpp"
#include "login/login.hpp"
#include "wire/bhs.hpp"
#include "wire/keys.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::test {

/// "A=b\nC=d\n" as it is on the wire.
inline std::string key_text(std::string text) {
    std::replace(text.begin(), text.end(), '\n', '\0');
    return text;
}

enum class Feeding { whole, byte_by_byte, random_splits };

/// Gives `bytes` to the engine, never more than it makes room for. Returns how many it took.
inline base::Result<std::size_t> feed(base::Engine& engine, base::Bytes bytes, Feeding how = Feeding::whole,
                                      base::TimePoint now = {}) {
    std::mt19937 random(static_cast<unsigned>(bytes.size()));
    std::size_t taken = 0;
    while (taken < bytes.size()) {
        base::RxSpans room = engine.rx_spans();
        if (room.direct.empty()) {
            break;
        }
        std::size_t n = std::min(room.direct.size(), bytes.size() - taken);
        if (how == Feeding::byte_by_byte) {
            n = 1;
        } else if (how == Feeding::random_splits) {
            n = 1 + random() % n;
        }
        std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(taken), n, room.direct.begin());
        taken += n;
        if (base::Result<void> done = engine.rx_done(n, now); !done) {
            return base::fail(done.error());
        }
    }
    return taken;
}

/// All the engine wants to send, taken in uneven pieces.
inline std::vector<std::byte> drain(base::Engine& engine) {
    std::vector<std::byte> bytes;
    for (std::size_t step = 1;; step = step * 3 % 101 + 1) {
        std::array<iovec, 4> slots{};
        std::span<iovec> out = engine.tx_spans(slots);
        if (out.empty()) {
            return bytes;
        }
        std::size_t n = std::min(step, out[0].iov_len);
        const auto* first = static_cast<const std::byte*>(out[0].iov_base);
        bytes.insert(bytes.end(), first, first + n);
        engine.tx_done(n);
    }
}

/// A header, its data and padding, as a peer writes them.
template <class Pdu>
std::vector<std::byte> pdu_bytes(Pdu header, std::string_view data) {
    header.data_segment_length = static_cast<std::uint32_t>(data.size());
    base::Bytes head = base::bytes_of_object(header);
    base::Bytes body = base::bytes_of(data);
    std::vector<std::byte> bytes(head.begin(), head.end());
    bytes.insert(bytes.end(), body.begin(), body.end());
    bytes.resize(base::pad4(bytes.size()));
    return bytes;
}

/// One request as the target sees it.
template <class Pdu>
struct Seen {
    Pdu header;
    std::string text;

    std::optional<std::string> value(std::string_view key) const {
        wire::KeyReader pairs(text);
        for (auto pair = pairs.next(); pair && *pair; pair = pairs.next()) {
            if ((*pair)->key == key) {
                return std::string((*pair)->value);
            }
        }
        return std::nullopt;
    }
    bool has(std::uint8_t flag) const { return (header.flags & flag) != 0; }
};

/// The one PDU that `bytes` are.
template <class Pdu>
std::optional<Seen<Pdu>> parse_one(base::Bytes bytes) {
    if (bytes.size() < wire::bhs_bytes) {
        return std::nullopt;
    }
    auto header = base::load<Pdu>(bytes);
    std::size_t length = header.data_segment_length.get();
    if (bytes.size() != wire::bhs_bytes + base::pad4(length)) {
        return std::nullopt;
    }
    return Seen<Pdu>{header, std::string(base::text_of(bytes.subspan(wire::bhs_bytes, length)))};
}

using LoginSeen = Seen<wire::LoginRequest>;

/// A Login Response about to be sent.
struct LoginAnswer {
    wire::LoginResponse header;
    std::string text; ///< with '\n' for NUL
};

class FakeLoginTarget {
public:
    // What it says.
    std::string security_text = "TargetPortalGroupTag=1\nAuthMethod=None\n";
    std::map<std::string, std::string> operational; ///< answers that differ; "" = none
    std::string extra;                              ///< further text of the first operational answer
    std::uint16_t tsih = 0x1234;
    std::uint32_t first_stat_sn = 0xffffffff;
    Feeding feeding = Feeding::whole;
    /// Changes an answer before it is sent; the number counts answers from 0.
    std::function<void(LoginAnswer&, std::size_t)> edit;

    // Its CHAP, used when asked for.
    login::ChapAlgorithm algorithm = login::ChapAlgorithm::md5;
    std::string initiator_secret = "initiator secret";
    std::string own_name = "target";
    std::string own_secret = "the target's own";
    std::string challenge = "0x000102030405060708090a0b0c0d0e0f";
    std::function<std::string(std::string)> edit_proof; ///< changes the text with CHAP_N and CHAP_R

    /// Plays until the login finished or failed. Errc::unknown when the engine falls silent.
    base::Result<void> run(login::Login& login) {
        while (!login.finished()) {
            if (base::Result<void> exchanged = exchange(login); !exchanged) {
                return exchanged;
            }
        }
        return {};
    }

    /// One request and its answer.
    base::Result<void> exchange(login::Login& login) {
        auto request = parse_one<wire::LoginRequest>(drain(login));
        if (!request) {
            return base::fail(base::Errc::unknown, "the engine did not send one whole request");
        }
        LoginAnswer answer = answer_to(*request);
        if (edit) {
            edit(answer, requests.size());
        }
        requests.push_back(std::move(*request));
        auto taken = feed(login, pdu_bytes(answer.header, key_text(answer.text)), feeding);
        if (!taken) {
            return base::fail(taken.error());
        }
        return {};
    }

    // What it saw.
    std::vector<LoginSeen> requests;
    bool initiator_proved = false;

private:
    LoginAnswer answer_to(const LoginSeen& request) {
        LoginAnswer answer;
        answer.header.flags = request.header.flags & wire::login_flag::csg_mask;
        answer.header.isid = request.header.isid;
        answer.header.tsih = request.header.tsih;
        answer.header.itt = request.header.itt;
        answer.header.stat_sn = first_stat_sn + static_cast<std::uint32_t>(requests.size());
        answer.header.exp_cmd_sn = request.header.cmd_sn;
        answer.header.max_cmd_sn = request.header.cmd_sn + 32;
        if (request.has(wire::login_flag::continues)) {
            return answer;
        }
        bool security = wire::current_stage(request.header.flags) == wire::LoginStage::security;
        answer.text = security ? security_answer(request) : operational_answer(request);
        if (request.has(wire::login_flag::transit)) {
            answer.header.flags = request.header.flags;
            if (!security) {
                answer.header.tsih = tsih;
            }
        }
        return answer;
    }

    std::string security_answer(const LoginSeen& request) {
        if (auto list = request.value("CHAP_A")) {
            return "CHAP_A=" + std::to_string(static_cast<int>(algorithm)) +
                   "\nCHAP_I=7\nCHAP_C=" + challenge + "\n";
        }
        if (auto response = request.value("CHAP_R")) {
            return proof(request, *response);
        }
        if (request.value("AuthMethod") == "CHAP" && security_text.ends_with("AuthMethod=None\n")) {
            return "TargetPortalGroupTag=1\nAuthMethod=CHAP\n";
        }
        return request.value("InitiatorName") ? security_text : "";
    }

    std::string proof(const LoginSeen& request, const std::string& response) {
        auto asked = base::parse_rfc_binary(challenge, 1024);
        auto expected = login::chap_response(algorithm, 7, base::bytes_of(initiator_secret), *asked);
        auto given = base::parse_rfc_binary(response, 1024);
        initiator_proved = given && login::same_secret(*given, expected->bytes());
        std::string text;
        if (auto question = request.value("CHAP_C")) {
            auto identifier = static_cast<std::uint8_t>(std::stoi(*request.value("CHAP_I")));
            auto own = login::chap_response(algorithm, identifier, base::bytes_of(own_secret),
                                            *base::parse_rfc_binary(*question, 1024));
            text = "CHAP_N=" + own_name + "\nCHAP_R=" + base::hex_binary(own->bytes()) + "\n";
        }
        return edit_proof ? edit_proof(text) : text;
    }

    // Agrees to whatever is offered, and declares 64 KiB segments.
    std::string operational_answer(const LoginSeen& request) {
        std::string text;
        wire::KeyReader pairs(request.text);
        for (auto pair = pairs.next(); pair && *pair; pair = pairs.next()) {
            std::string key((*pair)->key);
            std::string value((*pair)->value.substr(0, (*pair)->value.find(',')));
            if (key == "MaxRecvDataSegmentLength") {
                value = "65536";
            }
            if (auto changed = operational.find(key); changed != operational.end()) {
                value = changed->second;
            }
            if (!value.empty() && value != "NotUnderstood") {
                text.append(key).append("=").append(value).append("\n");
            }
        }
        bool first = request.value("HeaderDigest").has_value();
        return first ? text + extra : text;
    }
};

} // namespace iscsi::test
