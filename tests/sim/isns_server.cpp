#include "sim/isns_server.hpp"

#include "base/endian.hpp"

#include <algorithm>

namespace iscsi::sim {
namespace {

constexpr std::size_t header_bytes = 12;

std::uint32_t word_at(base::Bytes bytes, std::size_t at) {
    return base::load<base::Be32>(bytes, at).get();
}

std::uint16_t half_at(base::Bytes bytes, std::size_t at) {
    return base::load<base::Be16>(bytes, at).get();
}

void add_word(std::vector<std::byte>& out, std::uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) {
        out.push_back(static_cast<std::byte>(value >> shift & 0xff));
    }
}

void add_number(std::vector<std::byte>& out, std::uint32_t tag, std::uint32_t value) {
    add_word(out, tag);
    add_word(out, 4);
    add_word(out, value);
}

void add_text(std::vector<std::byte>& out, std::uint32_t tag, std::string_view value) {
    const std::size_t padded = value.size() / 4 * 4 + 4;
    add_word(out, tag);
    add_word(out, static_cast<std::uint32_t>(padded));
    for (std::size_t i = 0; i < padded; ++i) {
        out.push_back(i < value.size() ? static_cast<std::byte>(value[i]) : std::byte{0});
    }
}

std::vector<std::byte> message(std::uint16_t function, std::uint16_t transaction, base::Bytes payload) {
    std::vector<std::byte> out;
    add_word(out, 0x10000U | function);
    add_word(out, static_cast<std::uint32_t>(payload.size()) << 16 | 0x4c00U);
    add_word(out, static_cast<std::uint32_t>(transaction) << 16);
    out.insert(out.end(), payload.begin(), payload.end());
    return out;
}

/// The values of one tag.
std::vector<base::Bytes> values(base::Bytes attributes, std::uint32_t tag) {
    std::vector<base::Bytes> found;
    while (!attributes.empty()) {
        const std::uint32_t bytes = word_at(attributes, 4);
        if (word_at(attributes, 0) == tag) {
            found.push_back(attributes.subspan(8, bytes));
        }
        attributes = attributes.subspan(8 + bytes);
    }
    return found;
}

std::string text_in(base::Bytes value) {
    return reinterpret_cast<const char*>(value.data());
}

} // namespace

class IsnsServer::Connection final : public Peer {
public:
    Connection(IsnsServer& server, Socket& socket) : server_(server), socket_(socket) {}

    void on_bytes(base::Bytes bytes) override {
        received_.insert(received_.end(), bytes.begin(), bytes.end());
        while (received_.size() >= header_bytes) {
            const std::size_t whole = header_bytes + half_at(received_, 4);
            if (received_.size() < whole) {
                return;
            }
            server_.answer(socket_, base::Bytes(received_).first(whole));
            received_.erase(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(whole));
        }
    }
    void on_closed() override {}

private:
    IsnsServer& server_;
    Socket& socket_;
    std::vector<std::byte> received_;
};

IsnsServer::IsnsServer(Kernel& kernel) : kernel_(kernel) {
    kernel_.listen(*this);
    kernel_.datagrams.on_sent = [this](base::Bytes bytes, const SocketAddress&) {
        // An answer, and its status.
        acknowledged += (half_at(bytes, 2) & 0x8000U) != 0 && word_at(bytes, header_bytes) == 0 ? 1 : 0;
    };
}

IsnsServer::~IsnsServer() = default;

std::size_t IsnsServer::count(std::uint16_t function) const {
    return static_cast<std::size_t>(std::ranges::count(asked, function, &Asked::function));
}

Peer* IsnsServer::accept(Socket& socket) {
    if (!listens) {
        ++refused;
        return nullptr;
    }
    ++connections;
    connected_.push_back(std::make_unique<Connection>(*this, socket));
    return connected_.back().get();
}

void IsnsServer::answer(Socket& socket, base::Bytes request) {
    const std::uint16_t function = half_at(request, 2);
    const base::Bytes attributes = request.subspan(header_bytes);
    asked.push_back({kernel_.stage().now, function});
    if (!speaks) {
        return;
    }
    std::vector<std::byte> reply;
    const std::vector<base::Bytes> entities = values(attributes, 1);
    if (function == registers) {
        do_registration(attributes, reply);
    } else if (function == deregisters) {
        registered_.erase(text_in(entities.at(0)));
        add_word(reply, 0);
    } else if (function == query) {
        add_word(reply, 0);
        add_word(reply, 0); // the delimiter
        add_word(reply, 0);
        if (registered_.contains(text_in(entities.at(0)))) {
            add_text(reply, 1, text_in(entities.at(0)));
        }
    } else {
        add_word(reply, 0);
    }
    socket.send(message(static_cast<std::uint16_t>(function | 0x8000U), half_at(request, 8), reply));
}

void IsnsServer::do_registration(base::Bytes attributes, std::vector<std::byte>& reply) {
    add_word(reply, registration_status);
    if (registration_status != 0) {
        return;
    }
    last_port_ = static_cast<std::uint16_t>(word_at(values(attributes, 23).at(0), 0));
    registered_[text_in(values(attributes, 1).at(0))] = last_port_;
    add_word(reply, 0); // the delimiter
    add_word(reply, 0);
    add_number(reply, 6, period_s);
    const std::vector<base::Bytes> interval = values(attributes, 19);
    if (inquires && !interval.empty()) {
        add_number(reply, 19, word_at(interval[0], 0));
    }
}

bool IsnsServer::send(std::uint16_t function) {
    std::vector<std::byte> payload;
    if (function == 8) {
        add_text(payload, 32, "iqn.2026-01.example:me");
        add_number(payload, 35, 0x08);
        add_text(payload, 32, "iqn.2026-01.example:disk");
    } else {
        add_text(payload, 1, "iqn.2026-01.example:me");
    }
    return kernel_.datagrams.deliver(last_port_, SocketAddress::of(address.c_str(), 3205),
                                     message(function, transaction_++, payload));
}

} // namespace iscsi::sim
