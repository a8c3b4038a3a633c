// A target as far as login goes, whose answers are the words of an input: one answer each between the bytes
// 1Eh. Its first byte says what is done to the header; the rest is key text, with a newline where the wire
// has NUL.
//   T  as asked for      t  the stage is not left     C  more text follows     S  two bytes of status come
//   first L  two bytes that lie about the length come first  R  48 bytes that are the header come first
// The login engine is driven by what comes of it, in pieces of every size. One thread.
#pragma once

#include "fuzz.hpp"

#include "base/limits.hpp"
#include "login/login.hpp"
#include "wire/bhs.hpp"
#include "wire/keys.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::test {

class LoginAnswers {
public:
    /// May put other text in the place of an answer's; told whether the header will be as asked for.
    using Edit = std::function<void(std::string&, bool honest)>;

    LoginAnswers(std::string_view script, unsigned seed) : script_(script), random_(seed) {}

    Edit edit;
    std::vector<std::string> requests; ///< the key text of each

    /// Until the login has ended one way or another, or the script has. The engine's last word.
    base::Result<void> play(login::Login& login) {
        while (!login.finished()) {
            hear(login);
            if (script_.empty()) {
                return {};
            }
            if (base::Result<void> taken = feed(login, answer()); !taken) {
                require(login.rx_spans().direct.empty() && is_one_line(taken.error().message()));
                return taken;
            }
        }
        require(login.rx_spans().direct.empty() && login.rx_spans().staging.empty());
        return {};
    }

private:
    /// What the engine says is whole, bounded and readable.
    void hear(login::Login& login) {
        std::vector<std::byte> bytes;
        for (;;) {
            std::array<iovec, 2> slots{};
            std::span<iovec> out = login.tx_spans(slots);
            if (out.empty()) {
                break;
            }
            std::size_t n = 1 + random_() % out[0].iov_len;
            const auto* first = static_cast<const std::byte*>(out[0].iov_base);
            bytes.insert(bytes.end(), first, first + n);
            login.tx_done(n);
        }
        if (bytes.empty()) {
            return;
        }
        require(bytes.size() >= wire::bhs_bytes);
        request_ = base::load<wire::LoginRequest>(bytes);
        std::size_t length = request_.data_segment_length.get();
        require(wire::generic(request_).opcode() == wire::Opcode::login_request);
        require(length <= base::limits::login_data_segment_max);
        require(bytes.size() == wire::bhs_bytes + base::pad4(length));
        requests.emplace_back(base::text_of(base::Bytes(bytes).subspan(wire::bhs_bytes, length)));
        check_text();
        require(requests.size() <= base::limits::login_exchanges_max + 1);
    }

    void check_text() {
        whole_ += requests.back();
        if ((request_.flags & wire::login_flag::continues) != 0) {
            return;
        }
        wire::KeyReader pairs(whole_);
        auto pair = pairs.next();
        while (pair && *pair) {
            pair = pairs.next();
        }
        require(pair.has_value());
        whole_.clear();
    }

    std::vector<std::byte> answer() {
        std::string_view rest = script_;
        std::string_view one = rest.substr(0, rest.find('\x1e'));
        script_.remove_prefix(std::min(one.size() + 1, script_.size()));
        Script words(reinterpret_cast<const std::uint8_t*>(one.data()), one.size());
        wire::LoginResponse header = honest_header();
        std::uint8_t kind = words.u8();
        long length = -1;
        if (kind == 't' || kind == 'C') {
            header.flags &= wire::login_flag::csg_mask;
            header.flags |= kind == 'C' ? wire::login_flag::continues : std::uint8_t{0};
        } else if (kind == 'S') {
            header.status = words.u16();
        } else if (kind == 'L') {
            length = words.u16();
        } else if (kind == 'H') {
            std::size_t place = words.u8() % sizeof header;
            reinterpret_cast<std::byte*>(&header)[place] = static_cast<std::byte>(words.u8());
        }
        std::string text(words.rest());
        std::replace(text.begin(), text.end(), '\n', '\0');
        if (edit) {
            edit(text, kind == 'T' || kind == 't');
        }
        header.data_segment_length = static_cast<std::uint32_t>(length < 0 ? text.size() : length);
        base::Bytes head = base::bytes_of_object(header);
        std::vector<std::byte> bytes(head.begin(), head.end());
        base::Bytes body = base::bytes_of(text);
        bytes.insert(bytes.end(), body.begin(), body.end());
        bytes.resize(base::pad4(bytes.size()));
        return bytes;
    }

    wire::LoginResponse honest_header() {
        wire::LoginResponse header;
        header.flags = request_.flags &
                       (wire::login_flag::transit | wire::login_flag::csg_mask | wire::login_flag::nsg_mask);
        if ((request_.flags & wire::login_flag::transit) == 0) {
            header.flags &= wire::login_flag::csg_mask;
        }
        bool last = wire::next_stage(header.flags) == wire::LoginStage::full_feature;
        header.isid = request_.isid;
        header.tsih = last && request_.tsih == 0 ? std::uint16_t{7} : request_.tsih.get();
        header.itt = request_.itt;
        header.stat_sn = stat_sn_++;
        header.exp_cmd_sn = request_.cmd_sn;
        header.max_cmd_sn = request_.cmd_sn + 31;
        return header;
    }

    base::Result<void> feed(login::Login& login, base::Bytes bytes) {
        while (!bytes.empty()) {
            base::MutableBytes room = login.rx_spans().direct;
            if (room.empty()) {
                return {};
            }
            require(room.size() <= base::pad4(base::limits::login_data_segment_max));
            std::size_t most = std::min(room.size(), bytes.size());
            std::size_t n = random_() % 2 == 0 ? most : 1 + random_() % most;
            std::copy_n(bytes.begin(), n, room.begin());
            bytes = bytes.subspan(n);
            if (base::Result<void> taken = login.rx_done(n, {}); !taken) {
                return taken;
            }
        }
        return {};
    }

    std::string_view script_;
    std::minstd_rand random_;
    wire::LoginRequest request_;
    std::string whole_;
    std::uint32_t stat_sn_ = 0xfffffffe;
};

} // namespace iscsi::test
