#include "support/login_portal.hpp"

#include <algorithm>
#include <cstring>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace iscsi::test {
namespace {

std::string with_nuls(std::string text) {
    std::replace(text.begin(), text.end(), '\n', '\0');
    return text;
}

/// Agrees to every offer: the first of a list, and what was said.
std::string agreement(const std::string& offers) {
    std::string text;
    for (std::size_t at = 0; at < offers.size();) {
        std::size_t end = offers.find('\n', at);
        std::string pair = offers.substr(at, end - at);
        text += pair.substr(0, pair.find(',')) + "\n";
        at = end + 1;
    }
    return text;
}

} // namespace

LoginPortal::LoginPortal(bool v6) {
    int fd = ::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_in6 six{};
    six.sin6_family = AF_INET6;
    six.sin6_addr = in6addr_loopback;
    sockaddr_in four{};
    four.sin_family = AF_INET;
    four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* address = v6 ? reinterpret_cast<sockaddr*>(&six) : reinterpret_cast<sockaddr*>(&four);
    socklen_t length = v6 ? sizeof six : sizeof four;
    if (fd < 0 || ::bind(fd, address, length) != 0 || ::listen(fd, 8) != 0 ||
        ::getsockname(fd, address, &length) != 0) {
        ::close(fd);
        return;
    }
    listener_ = fd;
    port_ = ntohs(v6 ? six.sin6_port : four.sin_port);
}

LoginPortal::~LoginPortal() {
    drop();
    close();
}

void LoginPortal::drop() {
    if (fd_ >= 0) {
        ::close(std::exchange(fd_, -1));
    }
    input_.clear();
}

void LoginPortal::close() {
    if (listener_ >= 0) {
        ::close(std::exchange(listener_, -1));
    }
}

void LoginPortal::pump() {
    take_connection();
    while (receive()) {
    }
    while (fd_ >= 0 && take_pdu()) {
    }
}

void LoginPortal::take_connection() {
    int fd = listener_ >= 0 ? ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC) : -1;
    if (fd < 0) {
        return;
    }
    drop();
    fd_ = fd;
    fresh_ = true;
    stat_sn_ = 0;
}

/// True when there may be more.
bool LoginPortal::receive() {
    char buffer[16384];
    ssize_t n = fd_ >= 0 ? ::recv(fd_, buffer, sizeof buffer, 0) : -1;
    if (n == 0) {
        drop();
    }
    if (n > 0) {
        input_.append(buffer, static_cast<std::size_t>(n));
    }
    return n > 0;
}

bool LoginPortal::take_pdu() {
    if (input_.size() < wire::bhs_bytes) {
        return false;
    }
    auto header = base::load<wire::Bhs>(base::bytes_of(input_));
    std::size_t data = header.data_segment_length.get();
    if (input_.size() < wire::bhs_bytes + base::pad4(data)) {
        return false;
    }
    base::Bytes bytes = base::bytes_of(input_);
    std::string text = input_.substr(wire::bhs_bytes, data);
    std::replace(text.begin(), text.end(), '\0', '\n');
    if (header.opcode() == wire::Opcode::login_request) {
        on_login(base::load<wire::LoginRequest>(bytes), std::move(text));
    } else if (header.opcode() == wire::Opcode::text_request) {
        on_text(base::load<wire::TextRequest>(bytes));
    } else if (header.opcode() == wire::Opcode::logout_request) {
        on_logout(base::load<wire::LogoutRequest>(bytes));
    }
    input_.erase(0, wire::bhs_bytes + base::pad4(data));
    return true;
}

void LoginPortal::on_login(wire::LoginRequest request, std::string text) {
    wire::LoginResponse response;
    response.isid = request.isid.get();
    response.itt = request.itt.get();
    response.stat_sn = stat_sn_++;
    response.exp_cmd_sn = request.cmd_sn.get();
    response.max_cmd_sn = request.cmd_sn.get() + 32;
    response.flags = request.flags;
    Answer answer = always;
    if (std::exchange(fresh_, false)) {
        if (!next.empty()) {
            answer = std::move(next.front());
            next.pop_front();
        }
        logins.push_back({request, text});
    } else {
        answer = Answer(); // it was decided with the first request
    }
    if (answer.status != 0) {
        response.status = answer.status;
        response.flags = 0;
        send(response, answer.text);
        return;
    }
    if (wire::current_stage(request.flags) == wire::LoginStage::security) {
        on_security(response, text);
        return;
    }
    response.tsih = ++tsih_;
    send(response, agreement(text));
}

void LoginPortal::on_security(wire::LoginResponse response, const std::string& text) {
    const std::string group = "TargetPortalGroupTag=" + std::to_string(portal_group) + "\n";
    std::size_t offer = text.find("CHAP_A=");
    if (!takes_one_algorithm) {
        send(response, group + "AuthMethod=None\n");
    } else if (offer == std::string::npos) {
        bool begins = text.find("AuthMethod=") != std::string::npos;
        send(response, begins ? group + "AuthMethod=CHAP\n" : "");
    } else if (text.find(',', offer) != std::string::npos) {
        response.status = 0x0201;
        response.flags = 0;
        send(response, "");
    } else {
        send(response, text.substr(offer) + "CHAP_I=7\nCHAP_C=0x0123456789abcdef0123456789abcdef\n");
    }
}

void LoginPortal::on_text(const wire::TextRequest& request) {
    wire::TextResponse response;
    response.flags = wire::final_bit;
    response.itt = request.itt.get();
    response.ttt = base::reserved_tag;
    response.stat_sn = stat_sn_++;
    response.exp_cmd_sn = request.cmd_sn.get();
    response.max_cmd_sn = request.cmd_sn.get() + 32;
    send(response, targets);
}

void LoginPortal::on_logout(const wire::LogoutRequest& request) {
    wire::LogoutResponse response;
    response.itt = request.itt.get();
    response.stat_sn = stat_sn_++;
    send(response, "");
}

template <class Pdu>
void LoginPortal::send(Pdu pdu, std::string text) {
    pdu.data_segment_length = static_cast<std::uint32_t>(text.size());
    std::string bytes(reinterpret_cast<const char*>(&pdu), sizeof pdu);
    bytes += with_nuls(std::move(text));
    bytes.resize(base::pad4(bytes.size()));
    // Small against any socket's buffer.
    (void)::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

} // namespace iscsi::test
