// iSNSP messages and the PDUs that carry them (RFC 4171 sections 5.1, 5.2, 5.4 and 5.5). What a message says
// is attributes' and requests' business. A reader owns its buffers, which grow to the bound given and no
// further; one thread. The rest are pure functions.
#pragma once

#include "base/bytes.hpp"
#include "base/endian.hpp"
#include "base/engine.hpp"
#include "base/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::isns {

/// What a message asks for or tells (section 4.1.3). An answer has response_bit beside it.
enum class Function : std::uint16_t {
    register_device = 0x0001,
    query_device = 0x0002,
    deregister_device = 0x0004,
    register_for_changes = 0x0005,
    state_change = 0x0008,
    status_inquiry = 0x000d,
};

inline constexpr std::uint16_t response_bit = 0x8000;

/// Header flags (section 5.1.4), which the RFC counts from the left of the word that they share with the
/// length.
namespace flag {
inline constexpr std::uint16_t from_client = 0x8000;
inline constexpr std::uint16_t from_server = 0x4000;
inline constexpr std::uint16_t authenticated = 0x2000;
inline constexpr std::uint16_t replace = 0x1000;
inline constexpr std::uint16_t last_pdu = 0x0800;
inline constexpr std::uint16_t first_pdu = 0x0400;
} // namespace flag

/// The first word of every answer (section 5.4). Others may come.
enum class Status : std::uint32_t {
    successful = 0,
    message_format_error = 2,
    source_unknown = 6,
    source_absent = 7,
    no_such_entry = 9,
    not_supported = 15,
    esi_not_available = 21,
};

/// In words; "status 99" for one that nobody knows.
std::string text(Status status);

struct PduHeader {
    base::Be16 version;
    base::Be16 function;
    base::Be16 payload_bytes; ///< without this header; a multiple of four
    base::Be16 flags;
    base::Be16 transaction;
    base::Be16 sequence; ///< from 0 in each message
};
static_assert(sizeof(PduHeader) == 12);

inline constexpr std::uint16_t protocol_version = 1;

struct Message {
    std::uint16_t function = 0;
    std::uint16_t transaction = 0; ///< an answer has its request's
    std::uint16_t flags = 0;       ///< of the first PDU
    std::vector<std::byte> payload;

    bool is_answer_to(Function request) const {
        return function == (static_cast<std::uint16_t>(request) | response_bit);
    }
};

/// A request of ours, or an answer of ours to the server's.
Message make_message(Function function, std::vector<std::byte> payload);
Message make_answer(const Message& request, std::vector<std::byte> payload);

/// The PDUs of a message one behind the other. The payload is a multiple of four bytes; first and last flags
/// are set here.
std::vector<std::byte> encode(const Message& message);

/// The one message of a datagram. Errors: Errc::protocol, also for one that is only a part of its message.
base::Result<Message> decode_datagram(base::Bytes datagram);

/// Puts messages together from what comes over a connection. Nothing is read beyond the PDU in progress.
class MessageReader {
public:
    /// Messages of more than `payload_bytes_max` are refused, before there is room made for them.
    explicit MessageReader(std::size_t payload_bytes_max) : payload_bytes_max_(payload_bytes_max) {}

    base::RxSpans spans();
    /// True when a message is complete; it stays until next(). Errc::protocol: no iSNSP, a length or an order
    /// of PDUs that cannot be, too long a message, one that is signed.
    base::Result<bool> done(std::size_t n);
    const Message& message() const { return message_; }
    void next();

private:
    base::Result<void> on_header();

    std::size_t payload_bytes_max_;
    PduHeader header_{};
    std::size_t header_filled_ = 0;
    std::size_t pdus_ = 0;   ///< of this message
    std::size_t filled_ = 0; ///< of the payload; what is behind is room for the PDU in progress
    Message message_;
};

} // namespace iscsi::isns
