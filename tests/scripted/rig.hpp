// Our login engine and session joined with the scripted target by a wire of memory, on a virtual clock: what
// an initiator does on one connection, without the daemon. The wire delivers as the script says (pieces), or
// cuts anywhere by seed. One thread.
#pragma once

#include "base/engine.hpp"
#include "login/login.hpp"
#include "scripted/target.hpp"
#include "session/session.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace iscsi::scripted {

struct RigConfig {
    TargetConfig target;
    login::LoginConfig login; ///< names, ISID and deadline are filled in
    std::uint32_t tasks = 64;
    base::Duration nop_out_interval{};
    base::Duration nop_out_timeout{};
    base::Duration logout_timeout = std::chrono::seconds(15);
    session::RecoveryTimeouts recovery; ///< of commands; zeros: for ever

    RigConfig();
};

/// A command of a test, with its memory.
struct Io : session::Command {
    ByteVector memory;
    bool done = false;
    bool good() const { return done && outcome == session::Outcome::responded && status == 0; }
};

class Rig {
public:
    explicit Rig(RigConfig config = {}, std::uint32_t seed = 1);

    /// Logs in on a fresh connection; afterwards there is a session.
    base::Result<void> log_in();
    /// For tests of the login itself: one engine on a fresh connection, until it has nothing more to say.
    base::Result<void> drive_login(login::Login& login);
    /// Any engine on the connection there is (text exchange), until neither side has anything to say.
    base::Result<void> drive(base::Engine& engine);

    // Commands. READ(16) and WRITE(16) in blocks of the target's size; bytes are whole blocks.
    Io& read(std::uint32_t bytes, std::uint64_t block = 0, std::uint8_t unit = 0);
    Io& write(std::uint32_t bytes, std::uint64_t block = 0, std::uint8_t unit = 0);
    /// No data: TEST UNIT READY.
    Io& touch(std::uint8_t unit = 0);
    Io& submit(std::unique_ptr<Io> io);

    /// Until neither side has anything to say, or the session failed.
    void run();
    /// One delivery in each direction. False when there was none.
    bool step();
    /// The clock goes on; deadlines of the session are kept.
    void advance(base::Duration duration);
    /// The connection is gone; commands come back lost.
    void drop();

    RigConfig config;
    Target target;
    std::unique_ptr<session::Session> session;
    base::Result<void> result; ///< of the session
    std::vector<session::Event> events;
    base::TimePoint now;
    bool cut_anywhere = false; ///< deliveries of random length, either way
    login::Negotiated negotiated;

private:
    bool send(base::Engine& engine);
    bool receive(base::Engine& engine, base::Result<void>& outcome);
    std::size_t cut(std::size_t available);
    void collect();

    std::mt19937 random_;
    std::deque<std::unique_ptr<Io>> ios_;
};

} // namespace iscsi::scripted
