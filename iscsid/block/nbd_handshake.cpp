#include "block/nbd_handshake.hpp"

#include "base/check.hpp"
#include "block/nbd_rules.hpp"

#include <algorithm>
#include <cstring>

namespace iscsi::block {

using nbd::Option;
using nbd::OptionReply;

void NbdHandshake::begin() {
    step_ = Step::client_flags;
    outcome_ = Outcome::haggling;
    no_zeroes_ = false;
    structured_replies_ = false;
    option_bytes_ = 0;
    filled_ = 0;
    sent_ = 0;
    put(base::bytes_of_object(nbd::Greeting{
        .init = nbd::init_magic,
        .option = nbd::option_magic,
        .flags = nbd::flag_fixed_newstyle | nbd::flag_no_zeroes,
    }));
}

base::Result<std::size_t> NbdHandshake::take(base::Bytes input) {
    base::check(output().empty() && outcome_ == Outcome::haggling, "one option at a time");
    std::size_t taken = 0;
    base::Result<void> done;
    switch (step_) {
    case Step::client_flags:
        if (input.size() < sizeof(base::Be32)) {
            return 0;
        }
        taken = sizeof(base::Be32);
        done = on_client_flags(base::load<base::Be32>(input));
        break;
    case Step::option_header:
        if (input.size() < sizeof(nbd::OptionHeader)) {
            return 0;
        }
        taken = sizeof(nbd::OptionHeader);
        done = on_option_header(base::load<nbd::OptionHeader>(input));
        break;
    case Step::option_data:
        if (input.size() < option_bytes_) {
            return 0;
        }
        taken = option_bytes_;
        step_ = Step::option_header;
        done = on_option(input.first(taken));
        break;
    case Step::skip:
        taken = std::min<std::size_t>(input.size(), option_bytes_);
        option_bytes_ -= static_cast<std::uint32_t>(taken);
        if (option_bytes_ == 0) {
            step_ = Step::option_header;
            reply(OptionReply::err_too_big);
        }
        break;
    }
    if (!done) {
        return base::fail(std::move(done.error()));
    }
    return taken;
}

void NbdHandshake::sent(std::size_t n) {
    sent_ += n;
    base::check(sent_ <= filled_, "sent what was there");
    if (sent_ == filled_) {
        sent_ = filled_ = 0;
    }
}

base::Result<void> NbdHandshake::on_client_flags(std::uint32_t flags) {
    constexpr std::uint32_t known = nbd::flag_fixed_newstyle | nbd::flag_no_zeroes;
    if ((flags & ~known) != 0) {
        return base::fail(base::Errc::protocol, "nbd client: unknown handshake flags");
    }
    no_zeroes_ = (flags & nbd::flag_no_zeroes) != 0;
    step_ = Step::option_header;
    return {};
}

base::Result<void> NbdHandshake::on_option_header(const nbd::OptionHeader& header) {
    if (header.magic != nbd::option_magic) {
        return base::fail(base::Errc::protocol, "nbd client: bad magic of an option");
    }
    if (header.length > option_bytes_skipped) {
        return base::fail(base::Errc::protocol, "nbd client: option too long");
    }
    option_ = static_cast<Option>(header.option.get());
    option_bytes_ = header.length;
    if (option_bytes_ > option_bytes_max) {
        if (option_ == Option::export_name) {
            return base::fail(base::Errc::protocol, "nbd client: export name too long");
        }
        step_ = Step::skip;
        return {};
    }
    if (option_bytes_ > 0) {
        step_ = Step::option_data;
        return {};
    }
    return on_option({});
}

base::Result<void> NbdHandshake::on_option(base::Bytes data) {
    switch (option_) {
    case Option::export_name:
        return on_export_name(data);
    case Option::abort:
        reply(OptionReply::ack);
        outcome_ = Outcome::aborted;
        break;
    case Option::list:
        on_list(data);
        break;
    case Option::starttls:
        reply(data.empty() ? OptionReply::err_policy : OptionReply::err_invalid);
        break;
    case Option::info:
    case Option::go:
        on_info(data);
        break;
    case Option::structured_reply:
        on_structured_reply(data);
        break;
    default:
        reply(OptionReply::err_unsup);
    }
    return {};
}

base::Result<void> NbdHandshake::on_export_name(base::Bytes data) {
    if (!is_ours(base::text_of(data))) {
        return base::fail(base::Errc::not_found, "nbd client: asked for an unknown export");
    }
    put(base::bytes_of_object(nbd::ExportReply{.size_bytes = info_.attributes.size_bytes, .flags = flags()}));
    if (!no_zeroes_) {
        put_zeroes(nbd::export_reply_zeroes);
    }
    outcome_ = Outcome::transmission;
    return {};
}

void NbdHandshake::on_list(base::Bytes data) {
    if (!data.empty()) {
        return reply(OptionReply::err_invalid);
    }
    const std::string_view name = name_on_wire();
    reply(OptionReply::server, sizeof(base::Be32) + name.size());
    put(base::bytes_of_object(base::Be32(static_cast<std::uint32_t>(name.size()))));
    put(base::bytes_of(name));
    reply(OptionReply::ack);
}

void NbdHandshake::on_info(base::Bytes data) {
    // Length of the name, the name, number of wishes, the wishes: nothing less and nothing more.
    constexpr std::size_t fixed_bytes = sizeof(base::Be32) + sizeof(base::Be16);
    if (data.size() < fixed_bytes) {
        return reply(OptionReply::err_invalid);
    }
    const std::size_t name_bytes = base::load<base::Be32>(data);
    if (name_bytes > data.size() - fixed_bytes) {
        return reply(OptionReply::err_invalid);
    }
    const std::string_view name = base::text_of(data.subspan(sizeof(base::Be32), name_bytes));
    const base::Bytes rest = data.subspan(sizeof(base::Be32) + name_bytes);
    const std::size_t wishes = base::load<base::Be16>(rest);
    if (rest.size() != sizeof(base::Be16) * (1 + wishes)) {
        return reply(OptionReply::err_invalid);
    }
    if (!is_ours(name)) {
        return reply(OptionReply::err_unknown);
    }
    bool wants_name = false;
    bool wants_description = false;
    for (std::size_t i = 1; i <= wishes; ++i) {
        const auto wish = static_cast<nbd::Info>(base::load<base::Be16>(rest, i * sizeof(base::Be16)).get());
        wants_name |= wish == nbd::Info::name;
        wants_description |= wish == nbd::Info::description;
    }
    put_info();
    if (wants_name) {
        put_info_text(nbd::Info::name, name_on_wire());
    }
    if (wants_description) {
        put_info_text(nbd::Info::description, std::string_view(info_.description).substr(0, text_bytes_max));
    }
    reply(OptionReply::ack);
    if (option_ == Option::go) {
        outcome_ = Outcome::transmission;
    }
}

void NbdHandshake::on_structured_reply(base::Bytes data) {
    if (!data.empty()) {
        return reply(OptionReply::err_invalid);
    }
    structured_replies_ = true;
    reply(OptionReply::ack);
}

std::uint16_t NbdHandshake::flags() const {
    return nbd::transmission_flags(info_.attributes, structured_replies_);
}

void NbdHandshake::put(base::Bytes bytes) {
    base::check(bytes.size() <= output_.size() - filled_, "the answer to one option fits the buffer");
    std::copy(bytes.begin(), bytes.end(), output_.begin() + static_cast<std::ptrdiff_t>(filled_));
    filled_ += bytes.size();
}

void NbdHandshake::put_zeroes(std::size_t n) {
    base::check(n <= output_.size() - filled_, "the answer to one option fits the buffer");
    std::fill_n(output_.begin() + static_cast<std::ptrdiff_t>(filled_), n, std::byte{0});
    filled_ += n;
}

void NbdHandshake::reply(OptionReply type, std::size_t length) {
    put(base::bytes_of_object(nbd::OptionReplyHeader{
        .magic = nbd::option_reply_magic,
        .option = static_cast<std::uint32_t>(option_),
        .type = static_cast<std::uint32_t>(type),
        .length = static_cast<std::uint32_t>(length),
    }));
}

// The block sizes go out unasked: a client that did not ask for them still has to keep to them.
void NbdHandshake::put_info() {
    reply(OptionReply::info, sizeof(nbd::InfoExport));
    put(base::bytes_of_object(nbd::InfoExport{
        .type = static_cast<std::uint16_t>(nbd::Info::exported),
        .size_bytes = info_.attributes.size_bytes,
        .flags = flags(),
    }));
    const nbd::BlockSizes sizes = nbd::block_sizes(info_.attributes);
    reply(OptionReply::info, sizeof(nbd::InfoBlockSize));
    put(base::bytes_of_object(nbd::InfoBlockSize{
        .type = static_cast<std::uint16_t>(nbd::Info::block_size),
        .minimum = sizes.minimum,
        .preferred = sizes.preferred,
        .maximum = sizes.maximum,
    }));
}

void NbdHandshake::put_info_text(nbd::Info type, std::string_view text) {
    reply(OptionReply::info, sizeof(base::Be16) + text.size());
    put(base::bytes_of_object(base::Be16(static_cast<std::uint16_t>(type))));
    put(base::bytes_of(text));
}

} // namespace iscsi::block
