// The bytes of an NBD client for tests, and a reader for what the server answers. Strings hold the bytes. Any
// thread.
#pragma once

#include "base/bytes.hpp"
#include "block/nbd_abi.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace iscsi::test {

template <class T>
std::string raw(const T& object) {
    return std::string(base::text_of(base::bytes_of_object(object)));
}

inline std::string be16(std::uint16_t value) {
    return raw(base::Be16(value));
}
inline std::string be32(std::uint32_t value) {
    return raw(base::Be32(value));
}

inline std::string client_flags(std::uint32_t flags = 3) {
    return be32(flags);
}

inline std::string option_header(std::uint32_t option, std::uint32_t length) {
    return raw(block::nbd::OptionHeader{block::nbd::option_magic, option, length});
}

inline std::string option(std::uint32_t number, const std::string& data = {}) {
    return option_header(number, static_cast<std::uint32_t>(data.size())) + data;
}

/// The data of INFO and GO with the given wishes.
inline std::string info_data(const std::string& name, std::initializer_list<std::uint16_t> wishes = {}) {
    std::string data = be32(static_cast<std::uint32_t>(name.size())) + name;
    data += be16(static_cast<std::uint16_t>(wishes.size()));
    for (std::uint16_t wish : wishes) {
        data += be16(wish);
    }
    return data;
}

inline std::string go(const std::string& name = {}) {
    return option(7, info_data(name));
}

struct Ask {
    std::uint16_t type = 0;
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
    std::uint64_t cookie = 1;
    std::uint16_t flags = 0;
    std::uint32_t magic = block::nbd::request_magic;
};

inline std::string request(const Ask& ask) {
    return raw(block::nbd::RequestHeader{ask.magic, ask.flags, ask.type, ask.cookie, ask.offset, ask.length});
}

inline std::string simple_reply(std::uint64_t cookie, std::uint32_t error = 0) {
    return raw(block::nbd::SimpleReply{block::nbd::simple_reply_magic, error, cookie});
}

inline std::string error_chunk(std::uint64_t cookie, std::uint32_t error) {
    return raw(block::nbd::ErrorChunk{
        {block::nbd::structured_reply_magic, std::uint16_t{1}, std::uint16_t{0x8001}, cookie, 6U},
        error,
        std::uint16_t{0}});
}

inline std::string data_chunk(std::uint64_t cookie, std::uint64_t offset, const std::string& data) {
    return raw(block::nbd::OffsetDataChunk{{block::nbd::structured_reply_magic, std::uint16_t{1},
                                            std::uint16_t{1}, cookie,
                                            static_cast<std::uint32_t>(8 + data.size())},
                                           offset}) +
           data;
}

inline std::string option_reply(std::uint32_t number, std::uint32_t type, const std::string& data = {}) {
    return raw(block::nbd::OptionReplyHeader{block::nbd::option_reply_magic, number, type,
                                             static_cast<std::uint32_t>(data.size())}) +
           data;
}

inline std::string greeting() {
    return raw(block::nbd::Greeting{block::nbd::init_magic, block::nbd::option_magic, std::uint16_t{3}});
}

/// `n` bytes that differ from place to place and from seed to seed.
inline std::string pattern(std::size_t n, unsigned seed = 1) {
    std::string text(n, '\0');
    std::uint32_t state = seed * 2654435761U + 1;
    for (char& c : text) {
        state = state * 1664525U + 1013904223U;
        c = static_cast<char>(state >> 24);
    }
    return text;
}

} // namespace iscsi::test
