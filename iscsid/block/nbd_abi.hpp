// Numbers and structs of the Network Block Device protocol (the nbd project's doc/proto.md): fixed newstyle
// handshake, options, transmission, simple and structured replies. All numbers are big-endian on the wire.
// Values only; any thread.
#pragma once

#include "base/endian.hpp"

#include <cstdint>

namespace iscsi::block::nbd {

using base::Be16;
using base::Be32;
using base::Be64;

inline constexpr std::uint64_t init_magic = 0x4e42444d41474943;         ///< "NBDMAGIC"
inline constexpr std::uint64_t option_magic = 0x49484156454f5054;       ///< "IHAVEOPT"
inline constexpr std::uint64_t option_reply_magic = 0x0003e889045565a9; ///< of every reply to an option
inline constexpr std::uint32_t request_magic = 0x25609513;
inline constexpr std::uint32_t simple_reply_magic = 0x67446698;
inline constexpr std::uint32_t structured_reply_magic = 0x668e33ef;

inline constexpr std::uint32_t string_bytes_max = 4096; ///< any name or message
inline constexpr std::uint32_t payload_bytes_max = 32U << 20;

// Handshake flags; the client's have the same bits.
inline constexpr std::uint16_t flag_fixed_newstyle = 1U << 0;
inline constexpr std::uint16_t flag_no_zeroes = 1U << 1;

enum class Option : std::uint32_t {
    export_name = 1,
    abort = 2,
    list = 3,
    starttls = 5,
    info = 6,
    go = 7,
    structured_reply = 8,
};

enum class OptionReply : std::uint32_t {
    ack = 1,
    server = 2,
    info = 3,
    err_unsup = 0x80000001,
    err_policy = 0x80000002,
    err_invalid = 0x80000003,
    err_unknown = 0x80000006,
    err_too_big = 0x80000009,
};

enum class Info : std::uint16_t { exported = 0, name = 1, description = 2, block_size = 3 };

// Transmission flags.
inline constexpr std::uint16_t has_flags = 1U << 0;
inline constexpr std::uint16_t read_only = 1U << 1;
inline constexpr std::uint16_t send_flush = 1U << 2;
inline constexpr std::uint16_t send_fua = 1U << 3;
inline constexpr std::uint16_t rotational = 1U << 4;
inline constexpr std::uint16_t send_trim = 1U << 5;
inline constexpr std::uint16_t send_write_zeroes = 1U << 6;
inline constexpr std::uint16_t send_df = 1U << 7;
inline constexpr std::uint16_t can_multi_conn = 1U << 8;

enum class Command : std::uint16_t {
    read = 0,
    write = 1,
    disc = 2,
    flush = 3,
    trim = 4,
    cache = 5,
    write_zeroes = 6,
    block_status = 7,
};

// Command flags.
inline constexpr std::uint16_t command_fua = 1U << 0;
inline constexpr std::uint16_t command_no_hole = 1U << 1;
inline constexpr std::uint16_t command_df = 1U << 2;

inline constexpr std::uint16_t reply_done = 1U << 0;
enum class Chunk : std::uint16_t { none = 0, offset_data = 1, error = 0x8001 };

/// The only numbers allowed in an error field.
enum class Error : std::uint32_t {
    none = 0,
    perm = 1,
    io = 5,
    nomem = 12,
    inval = 22,
    nospc = 28,
    overflow = 75,
    notsup = 95,
    shutdown = 108,
};

/// What the server says first.
struct Greeting {
    Be64 init;
    Be64 option;
    Be16 flags;
};
static_assert(sizeof(Greeting) == 18);

struct OptionHeader {
    Be64 magic;
    Be32 option;
    Be32 length;
};
static_assert(sizeof(OptionHeader) == 16);

struct OptionReplyHeader {
    Be64 magic;
    Be32 option;
    Be32 type;
    Be32 length;
};
static_assert(sizeof(OptionReplyHeader) == 20);

struct InfoExport {
    Be16 type;
    Be64 size_bytes;
    Be16 flags;
};
static_assert(sizeof(InfoExport) == 12);

struct InfoBlockSize {
    Be16 type;
    Be32 minimum;
    Be32 preferred;
    Be32 maximum;
};
static_assert(sizeof(InfoBlockSize) == 14);

/// The answer to Option::export_name; 124 zeroes follow unless both sides said no_zeroes.
struct ExportReply {
    Be64 size_bytes;
    Be16 flags;
};
static_assert(sizeof(ExportReply) == 10);
inline constexpr std::uint32_t export_reply_zeroes = 124;

struct RequestHeader {
    Be32 magic;
    Be16 flags;
    Be16 type;
    Be64 cookie;
    Be64 offset;
    Be32 length;
};
static_assert(sizeof(RequestHeader) == 28);

struct SimpleReply {
    Be32 magic;
    Be32 error;
    Be64 cookie;
};
static_assert(sizeof(SimpleReply) == 16);

struct ChunkHeader {
    Be32 magic;
    Be16 flags;
    Be16 type;
    Be64 cookie;
    Be32 length;
};
static_assert(sizeof(ChunkHeader) == 20);

/// Data of `length - 8` bytes follows.
struct OffsetDataChunk {
    ChunkHeader header;
    Be64 offset;
};
static_assert(sizeof(OffsetDataChunk) == 28);

struct ErrorChunk {
    ChunkHeader header;
    Be32 error;
    Be16 message_bytes;
};
static_assert(sizeof(ErrorChunk) == 26);

} // namespace iscsi::block::nbd
