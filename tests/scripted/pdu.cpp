#include "scripted/pdu.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>

namespace iscsi::scripted {
namespace {

/// The bits of one byte that belong to a field that is smaller than a byte.
constexpr unsigned mask_of(const Field& field) {
    return ((1U << field.bits) - 1) << (8U - field.bit - field.bits);
}

/// Calls `visit(byte, mask)` for each byte of the field.
template <class Visit>
void for_each_byte(const Field& field, Visit visit) {
    if (field.bits < 8) {
        visit(field.byte, mask_of(field));
        return;
    }
    for (unsigned i = 0; i < field.bits / 8U; ++i) {
        visit(field.byte + i, 0xffU);
    }
}

/// The bits of a header that no field of its figure covers.
std::array<std::byte, header_bytes> reserved_mask(const Figure& figure) {
    std::array<std::byte, header_bytes> rest;
    rest.fill(std::byte{0xff});
    auto take_out = [&rest](const Field& field) {
        for_each_byte(field,
                      [&](unsigned byte, unsigned mask) { rest[byte] &= static_cast<std::byte>(~mask); });
    };
    for (const Field& field : {field::opcode, field::ahs_words, field::data_length}) {
        take_out(field);
    }
    if (figure.from_initiator && figure.opcode != Opcode::data_out && figure.opcode != Opcode::snack) {
        take_out(field::immediate);
    }
    std::ranges::for_each(figure.fields, take_out);
    return rest;
}

} // namespace

ByteVector bytes_of(std::string_view text) {
    ByteVector bytes(text.size());
    std::ranges::transform(text, bytes.begin(), [](char c) { return static_cast<std::byte>(c); });
    return bytes;
}

std::vector<std::pair<std::string, std::string>> pairs_of(std::string_view text) {
    std::vector<std::pair<std::string, std::string>> pairs;
    while (!text.empty()) {
        std::string_view pair = text.substr(0, text.find('\0'));
        text.remove_prefix(std::min(pair.size() + 1, text.size()));
        std::size_t equals = std::min(pair.find('='), pair.size());
        pairs.emplace_back(pair.substr(0, equals), pair.substr(std::min(equals + 1, pair.size())));
    }
    return pairs;
}

Pdu::Pdu(Opcode opcode) {
    fill(field::opcode, static_cast<std::uint8_t>(opcode));
    if (const Figure* figure = figure_of(static_cast<std::uint8_t>(opcode));
        figure != nullptr && figure->first_flag_is_one) {
        fill(field::final);
    }
    // Tags that only some of these PDUs have.
    if (opcode == Opcode::nop_in || opcode == Opcode::async_message || opcode == Opcode::reject) {
        fill(field::itt, no_tag);
    }
    if (opcode == Opcode::nop_in || opcode == Opcode::data_in || opcode == Opcode::text_response) {
        fill(field::ttt, no_tag);
    }
}

Pdu Pdu::received(std::span<const std::byte, header_bytes> header) {
    Pdu pdu;
    std::ranges::copy(header, pdu.header_.begin());
    pdu.by_hand_.fill(std::byte{0xff});
    return pdu;
}

std::uint64_t Pdu::get(const Field& field) const {
    std::uint64_t value = 0;
    for_each_byte(field, [&](unsigned byte, unsigned mask) {
        value = value << 8 | (std::to_integer<unsigned>(header_[byte]) & mask);
    });
    return field.bits < 8 ? value >> (8U - field.bit - field.bits) : value;
}

void Pdu::put(const Field& field, std::uint64_t value) {
    if (field.bits < 8) {
        unsigned mask = mask_of(field);
        auto bits = static_cast<unsigned>(value << (8U - field.bit - field.bits)) & mask;
        header_[field.byte] &= static_cast<std::byte>(~mask);
        header_[field.byte] |= static_cast<std::byte>(bits);
        return;
    }
    for (unsigned i = field.bits / 8U; i-- > 0; value >>= 8) {
        header_[field.byte + i] = static_cast<std::byte>(value & 0xffU);
    }
}

Pdu& Pdu::set(const Field& field, std::uint64_t value) {
    put(field, value);
    for_each_byte(field,
                  [this](unsigned byte, unsigned mask) { by_hand_[byte] |= static_cast<std::byte>(mask); });
    return *this;
}

Pdu& Pdu::fill(const Field& field, std::uint64_t value) {
    bool kept = false;
    for_each_byte(field, [&](unsigned byte, unsigned mask) {
        kept = kept || (by_hand_[byte] & static_cast<std::byte>(mask)) != std::byte{0};
    });
    if (!kept) {
        put(field, value);
    }
    return *this;
}

Pdu& Pdu::with_data(ByteVector bytes) {
    data = std::move(bytes);
    return *this;
}

std::string Pdu::text() const {
    return {reinterpret_cast<const char*>(data.data()), data.size()};
}

std::array<std::byte, 16> Pdu::cdb() const {
    std::array<std::byte, 16> cdb{};
    std::copy_n(header_.begin() + field::cdb_first.byte, cdb.size(), cdb.begin());
    return cdb;
}

std::optional<std::string> Pdu::key(std::string_view name) const {
    for (auto& [key, value] : pairs_of(text())) {
        if (key == name) {
            return value;
        }
    }
    return std::nullopt;
}

Pdu& Pdu::erase_key(std::string_view name) {
    std::string kept;
    for (const auto& [key, value] : pairs_of(text())) {
        if (key != name) {
            kept.append(key).append("=").append(value).push_back('\0');
        }
    }
    return with_text(kept);
}

Pdu& Pdu::set_key(std::string_view name, std::string_view value) {
    erase_key(name);
    std::string text = this->text();
    text.append(name).append("=").append(value).push_back('\0');
    return with_text(text);
}

std::string Pdu::set_reserved_bits() const {
    const Figure* figure = figure_of(static_cast<std::uint8_t>(opcode()));
    if (figure == nullptr) {
        return "an opcode without a figure";
    }
    std::array<std::byte, header_bytes> mask = reserved_mask(*figure);
    std::string found;
    for (std::size_t i = 0; i < mask.size(); ++i) {
        if (std::byte bits = mask[i] & header_[i]; bits != std::byte{0}) {
            found += fmt::format("{}byte {}: 0x{:02x}", found.empty() ? "" : ", ", i,
                                 std::to_integer<unsigned>(bits));
        }
    }
    return found;
}

Pdu& Pdu::set_reserved() {
    const Figure* figure = figure_of(static_cast<std::uint8_t>(opcode()));
    std::array<std::byte, header_bytes> mask = reserved_mask(*figure);
    for (std::size_t i = 1; i < mask.size(); ++i) {
        header_[i] |= mask[i];
    }
    return *this;
}

std::string Pdu::describe() const {
    const Figure* figure = figure_of(static_cast<std::uint8_t>(opcode()));
    if (figure == nullptr) {
        return fmt::format("opcode 0x{:02x}", static_cast<unsigned>(opcode()));
    }
    std::string words(figure->name);
    words += has(field::immediate) ? " I" : "";
    for (const Field& field : figure->fields) {
        if (field.bits == 1) {
            words += has(field) ? " " + std::string(field.name) : "";
        } else {
            words += fmt::format(" {}={:#x}", field.name, get(field));
        }
    }
    return words + fmt::format(" data={}", data.size());
}

} // namespace iscsi::scripted
