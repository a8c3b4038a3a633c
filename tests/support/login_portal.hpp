// A portal of a target on a real socket, as far as login and discovery go: it answers each login as told, by
// default with full feature phase, agrees to whatever is offered, and lists targets. Nothing in it knows our
// login engine. Driven by pump(), which never waits. One thread.
#pragma once

#include "base/bytes.hpp"
#include "wire/bhs.hpp"
#include "wire/opcode.hpp"

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

namespace iscsi::test {

class LoginPortal {
public:
    /// What becomes of one login: a status, with text ('\n' for NUL) when it is not 0.
    struct Answer {
        std::uint16_t status = 0;
        std::string text;
    };
    /// The first request of a login.
    struct Seen {
        wire::LoginRequest header;
        std::string text; ///< with '\n' for NUL
    };

    /// Listens on a free port of 127.0.0.1 or, with `v6`, of ::1; see usable().
    explicit LoginPortal(bool v6 = false);
    LoginPortal(const LoginPortal&) = delete;
    LoginPortal& operator=(const LoginPortal&) = delete;
    ~LoginPortal();

    bool usable() const { return listener_ >= 0; }
    std::uint16_t port() const { return port_; }
    void pump();
    /// Ends the connection, as a target that dies.
    void drop();
    /// Nobody listens here any more.
    void close();

    std::deque<Answer> next; ///< for the logins to come; afterwards `always`
    Answer always;
    std::string targets; ///< the answer to SendTargets
    int portal_group = 1;
    /// Speaks CHAP, takes one algorithm and no list, and believes any response.
    bool takes_one_algorithm = false;
    std::vector<Seen> logins;

private:
    void take_connection();
    bool receive();
    bool take_pdu();
    void on_login(wire::LoginRequest request, std::string text);
    void on_security(wire::LoginResponse response, const std::string& text);
    void on_text(const wire::TextRequest& request);
    void on_logout(const wire::LogoutRequest& request);
    template <class Pdu>
    void send(Pdu pdu, std::string text);

    int listener_ = -1;
    int fd_ = -1;
    std::uint16_t port_ = 0;
    bool fresh_ = false; ///< no login request yet on this connection
    std::uint32_t stat_sn_ = 0;
    std::uint16_t tsih_ = 0;
    std::string input_;
};

} // namespace iscsi::test
