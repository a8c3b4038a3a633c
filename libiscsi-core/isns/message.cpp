#include "isns/message.hpp"

#include "base/check.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>
#include <span>
#include <utility>

namespace iscsi::isns {
namespace {

using base::Errc;
using base::Result;

/// The longest multiple of four that the length field holds.
constexpr std::size_t pdu_payload_max = 0xfffc;

tl::unexpected<base::Error> broken(const PduHeader& header, std::string_view why) {
    return base::fail(Errc::protocol,
                      fmt::format("not an iSNS message: {} (version {}, function {:#06x}, length {}, flags "
                                  "{:#06x}, sequence {})",
                                  why, header.version.get(), header.function.get(),
                                  header.payload_bytes.get(), header.flags.get(), header.sequence.get()));
}

/// What holds for every PDU.
Result<void> check(const PduHeader& header) {
    if (header.version != protocol_version) {
        return broken(header, "another version");
    }
    if ((header.flags & flag::authenticated) != 0) {
        return broken(header, "it is signed, which is not supported");
    }
    if (header.payload_bytes % 4 != 0) {
        return broken(header, "a length that is no multiple of four");
    }
    return {};
}

/// Of the PDU that comes behind `pdus` others of `message`.
Result<void> check_order(const PduHeader& header, const Message& message, std::size_t pdus) {
    const bool is_first = (header.flags & flag::first_pdu) != 0;
    if (is_first != (pdus == 0)) {
        return broken(header,
                      is_first ? "a first part within another message" : "a part without a first one");
    }
    if (header.sequence != pdus) {
        return broken(header, "a part out of order");
    }
    if (!is_first && (header.function != message.function || header.transaction != message.transaction)) {
        return broken(header, "a part of another message");
    }
    return {};
}

} // namespace

std::string text(Status status) {
    constexpr std::array<std::string_view, 24> words{
        "successful",
        "unknown error",
        "message format error",
        "invalid registration",
        "",
        "invalid query",
        "source unknown",
        "source absent",
        "source unauthorized",
        "no such entry",
        "version not supported",
        "internal error",
        "busy",
        "option not understood",
        "invalid update",
        "message not supported",
        "event rejected",
        "registration for changes rejected",
        "attribute not implemented",
        "FC domain ID not available",
        "FC domain ID not allocated",
        "status inquiries not available",
        "invalid deregistration",
        "registration feature not supported",
    };
    const auto number = static_cast<std::uint32_t>(status);
    return number < words.size() && !words.at(number).empty() ? std::string(words.at(number))
                                                              : fmt::format("status {}", number);
}

Message make_message(Function function, std::vector<std::byte> payload) {
    return {static_cast<std::uint16_t>(function), 0, flag::from_client, std::move(payload)};
}

Message make_answer(const Message& request, std::vector<std::byte> payload) {
    const auto function = static_cast<std::uint16_t>(request.function | response_bit);
    return {function, request.transaction, flag::from_client, std::move(payload)};
}

std::vector<std::byte> encode(const Message& message) {
    base::check(message.payload.size() % 4 == 0, "attributes are padded");
    std::vector<std::byte> bytes;
    const base::Bytes payload(message.payload);
    std::size_t sent = 0;
    std::uint16_t sequence = 0;
    do {
        const std::size_t n = std::min(payload.size() - sent, pdu_payload_max);
        unsigned flags = message.flags;
        flags |= sent == 0 ? flag::first_pdu : 0U;
        flags |= sent + n == payload.size() ? flag::last_pdu : 0U;
        const PduHeader header{protocol_version,
                               message.function,
                               static_cast<std::uint16_t>(n),
                               static_cast<std::uint16_t>(flags),
                               message.transaction,
                               sequence++};
        const base::Bytes head = base::bytes_of_object(header);
        const base::Bytes part = payload.subspan(sent, n);
        bytes.insert(bytes.end(), head.begin(), head.end());
        bytes.insert(bytes.end(), part.begin(), part.end());
        sent += n;
    } while (sent < payload.size());
    return bytes;
}

Result<Message> decode_datagram(base::Bytes datagram) {
    MessageReader reader(datagram.size());
    base::Bytes rest = datagram;
    while (!rest.empty()) {
        const base::MutableBytes room = reader.spans().direct;
        const std::size_t n = std::min(room.size(), rest.size());
        std::copy_n(rest.begin(), n, room.begin());
        rest = rest.subspan(n);
        Result<bool> complete = reader.done(n);
        if (!complete) {
            return base::fail(std::move(complete.error()));
        }
        if (*complete) {
            return rest.empty() ? Result<Message>(reader.message())
                                : base::fail(Errc::protocol, "bytes behind an iSNS message");
        }
    }
    return base::fail(Errc::protocol, "not a whole iSNS message");
}

base::RxSpans MessageReader::spans() {
    if (header_filled_ < sizeof header_) {
        return {std::as_writable_bytes(std::span(&header_, 1)).subspan(header_filled_), {}};
    }
    return {base::MutableBytes(message_.payload).subspan(filled_), {}};
}

Result<bool> MessageReader::done(std::size_t n) {
    base::check(n <= spans().direct.size(), "more bytes than there was room for");
    if (header_filled_ < sizeof header_) {
        header_filled_ += n;
        if (header_filled_ < sizeof header_) {
            return false;
        }
        if (Result<void> taken = on_header(); !taken) {
            return base::fail(std::move(taken.error()));
        }
    } else {
        filled_ += n;
    }
    if (filled_ < message_.payload.size()) {
        return false;
    }
    if ((header_.flags & flag::last_pdu) != 0) {
        return true;
    }
    header_filled_ = 0;
    return false;
}

Result<void> MessageReader::on_header() {
    if (Result<void> checked = check(header_); !checked) {
        return checked;
    }
    if (Result<void> checked = check_order(header_, message_, pdus_); !checked) {
        return checked;
    }
    const bool is_last = (header_.flags & flag::last_pdu) != 0;
    if (header_.payload_bytes == 0 && !is_last) {
        return broken(header_, "an empty part");
    }
    if (message_.payload.size() + header_.payload_bytes > payload_bytes_max_) {
        return broken(header_, fmt::format("more than {} bytes", payload_bytes_max_));
    }
    if (pdus_++ == 0) {
        message_.function = header_.function;
        message_.transaction = header_.transaction;
        message_.flags = header_.flags;
    }
    message_.payload.resize(message_.payload.size() + header_.payload_bytes);
    return {};
}

void MessageReader::next() {
    header_filled_ = 0;
    pdus_ = 0;
    filled_ = 0;
    message_ = {};
}

} // namespace iscsi::isns
