#include "isns/attributes.hpp"

#include "base/check.hpp"
#include "base/endian.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>

namespace iscsi::isns {
namespace {

using base::Errc;
using base::Result;

constexpr std::size_t head_bytes = 8;

std::uint16_t group_at(const Address& address, std::size_t index) {
    return base::load<base::Be16>(address, index * 2).get();
}

/// The run of zero groups that "::" stands for: the longest, the first of equal ones, at least two.
struct ZeroRun {
    std::size_t begin = 8;
    std::size_t length = 1;
};

ZeroRun longest_zero_run(const Address& address) {
    ZeroRun longest;
    std::size_t length = 0;
    for (std::size_t i = 0; i < 8; ++i) {
        length = group_at(address, i) == 0 ? length + 1 : 0;
        if (length > longest.length) {
            longest = {i + 1 - length, length};
        }
    }
    return longest;
}

bool is_ipv4(const Address& address) {
    const bool zeros =
        std::all_of(address.begin(), address.begin() + 10, [](std::byte b) { return b == std::byte{0}; });
    const std::uint16_t mark = group_at(address, 5);
    // Of the obsolete form, :: and ::1 are IPv6's own.
    return zeros && (mark == 0xffff || (mark == 0 && base::load<base::Be32>(address, 12) > 0xffff));
}

} // namespace

std::string text_of(const Address& address) {
    if (is_ipv4(address)) {
        auto part = [&](std::size_t i) { return std::to_integer<unsigned>(address.at(i)); };
        return fmt::format("{}.{}.{}.{}", part(12), part(13), part(14), part(15));
    }
    const ZeroRun zeros = longest_zero_run(address);
    std::string text;
    for (std::size_t i = 0; i < 8; ++i) {
        if (i == zeros.begin) {
            text += "::";
            i += zeros.length - 1;
            continue;
        }
        const bool apart = !text.empty() && text.back() != ':';
        fmt::format_to(std::back_inserter(text), "{}{:x}", apart ? ":" : "", group_at(address, i));
    }
    return text;
}

std::optional<std::uint32_t> Attribute::number() const {
    return value.size() == 4 ? std::optional(base::load<base::Be32>(value).get()) : std::nullopt;
}

std::optional<std::string_view> Attribute::string() const {
    const std::string_view all = base::text_of(value);
    const std::size_t end = all.find('\0');
    return end == std::string_view::npos ? std::nullopt : std::optional(all.substr(0, end));
}

std::optional<Address> Attribute::address() const {
    return value.size() == sizeof(Address) ? std::optional(base::load<Address>(value)) : std::nullopt;
}

Result<std::optional<Attribute>> AttributeReader::next() {
    if (rest_.empty()) {
        return std::nullopt;
    }
    if (rest_.size() < head_bytes) {
        return base::fail(Errc::protocol,
                          fmt::format("an iSNS attribute is cut off after {} bytes", rest_.size()));
    }
    const std::uint32_t tag = base::load<base::Be32>(rest_);
    const std::uint32_t length = base::load<base::Be32>(rest_, 4);
    if (length % 4 != 0 || length > rest_.size() - head_bytes) {
        return base::fail(Errc::protocol,
                          fmt::format("iSNS attribute {} says that it has {} bytes, of {} that are there",
                                      tag, length, rest_.size() - head_bytes));
    }
    const Attribute attribute{tag, rest_.subspan(head_bytes, length)};
    rest_ = rest_.subspan(head_bytes + length);
    return attribute;
}

AttributeWriter& AttributeWriter::empty(Tag tag) {
    add(tag, {}, 0);
    return *this;
}

AttributeWriter& AttributeWriter::number(Tag tag, std::uint32_t value) {
    const base::Be32 word(value);
    add(tag, base::bytes_of_object(word), sizeof word);
    return *this;
}

AttributeWriter& AttributeWriter::string(Tag tag, std::string_view value) {
    base::check(value.find('\0') == std::string_view::npos, "a text without NULs");
    add(tag, base::bytes_of(value), base::pad4(value.size() + 1));
    return *this;
}

AttributeWriter& AttributeWriter::address(Tag tag, const Address& value) {
    add(tag, value, value.size());
    return *this;
}

AttributeWriter& AttributeWriter::bytes(base::Bytes bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
}

/// `length` counts the zeros behind `value`, too.
void AttributeWriter::add(Tag tag, base::Bytes value, std::size_t length) {
    word(static_cast<std::uint32_t>(tag));
    word(static_cast<std::uint32_t>(length));
    bytes(value);
    bytes_.resize(bytes_.size() + length - value.size());
}

void AttributeWriter::word(std::uint32_t value) {
    const base::Be32 word(value);
    bytes(base::bytes_of_object(word));
}

} // namespace iscsi::isns
