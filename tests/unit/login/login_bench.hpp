// What the tests of the login engine share: configurations to begin with, and a login that must fail.
#pragma once

#include "login/login.hpp"
#include "support/fake_login_target.hpp"

#include <catch2/catch.hpp>
#include <memory>
#include <utility>

namespace iscsi::test {

inline login::LoginConfig normal() {
    login::LoginConfig config;
    config.initiator_name = "iqn.2026-01.example:initiator";
    config.initiator_alias = "host";
    config.target_name = "iqn.2026-01.example:disk";
    config.isid = base::Isid(0x80123456789aULL);
    config.cmd_sn = base::CmdSn(77);
    config.deadline = base::TimePoint(std::chrono::seconds(10));
    return config;
}

inline login::LoginConfig with_chap(bool mutual) {
    login::LoginConfig config = normal();
    config.chap.username = "user";
    config.chap.secret = login::Secret("initiator secret");
    if (mutual) {
        config.chap.username_in = "target";
        config.chap.secret_in = login::Secret("the target's own");
    }
    return config;
}

inline std::unique_ptr<login::Login> make(login::LoginConfig config) {
    auto made = login::Login::make(std::move(config));
    REQUIRE(made.has_value());
    return std::move(*made);
}

/// The error of a login against `target`; fails the test when there is none.
inline base::Error failure(FakeLoginTarget& target, login::LoginConfig config = normal()) {
    auto engine = make(std::move(config));
    auto result = target.run(*engine);
    REQUIRE_FALSE(result.has_value());
    REQUIRE_FALSE(engine->finished());
    REQUIRE(engine->rx_spans().direct.empty());
    return result.error();
}

} // namespace iscsi::test
