// Messages as bytes, written by hand: what the tests of the iSNS room share.
#pragma once

#include "base/bytes.hpp"
#include "isns/message.hpp"

#include <cctype>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::test {

/// Hexadecimal digits in pairs; blanks and lines between them are for the eye. 'text' in quotes stands for
/// its bytes.
inline std::vector<std::byte> bytes_from(std::string_view text) {
    std::vector<std::byte> bytes;
    for (std::size_t i = 0; i < text.size();) {
        if (std::isspace(static_cast<unsigned char>(text[i])) != 0) {
            ++i;
        } else if (text[i] == '\'') {
            const std::size_t end = text.find('\'', i + 1);
            for (char c : text.substr(i + 1, end - i - 1)) {
                bytes.push_back(static_cast<std::byte>(c));
            }
            i = end + 1;
        } else {
            bytes.push_back(static_cast<std::byte>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
            i += 2;
        }
    }
    return bytes;
}

/// The message that `text` is the one PDU of, with its header.
inline isns::Message message_from(std::string_view text) {
    return *isns::decode_datagram(bytes_from(text));
}

} // namespace iscsi::test
