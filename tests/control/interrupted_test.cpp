// A daemon that stops does not wait for those who do not answer: neither for servers nor for resolvers.
#include "control/daemon_fixture.hpp"
#include "control/isns_client.hpp"
#include "control/isns_registration.hpp"
#include "control/resolve.hpp"

#include <netinet/in.h>
#include <optional>

using namespace iscsi;
using namespace iscsi::test;

namespace {

/// Connections are made, by the kernel, and nobody ever reads or writes.
class SilentServer {
public:
    SilentServer() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t bytes = sizeof address;
        REQUIRE(::bind(fd_, reinterpret_cast<sockaddr*>(&address), bytes) == 0);
        REQUIRE(::listen(fd_, 16) == 0);
        REQUIRE(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &bytes) == 0);
        port_ = ntohs(address.sin_port);
    }
    ~SilentServer() { ::close(fd_); }
    SilentServer(const SilentServer&) = delete;
    SilentServer& operator=(const SilentServer&) = delete;
    std::uint16_t port() const { return port_; }

private:
    int fd_;
    std::uint16_t port_ = 0;
};

struct Outcome {
    std::optional<base::Result<void>> done;
};

ring::Task<void> keep(ring::Task<base::Result<void>> task, Outcome& out) {
    auto result = co_await task;
    out.done = std::move(result);
}

/// Like those who have a client for one conversation: with its end it is gone.
ring::Task<base::Result<void>> converse(ring::Loop& loop, records::Portal portal,
                                        control::Interrupt& interrupt) {
    control::IsnsClient client(loop, "iqn.2026-01.example:me");
    const control::Interrupt::Action interrupting(interrupt, [&] { client.interrupt(); });
    auto connected = co_await client.connect(portal);
    co_await client.end();
    co_return connected;
}

ring::Task<base::Result<void>> ask(control::IsnsClient& client) {
    auto answer = co_await client.ask(isns::query_targets("iqn.2026-01.example:me"));
    co_return control::IsnsClient::done(answer, base::Errc::isns_query);
}

std::string error_of(const Outcome& outcome) {
    REQUIRE(outcome.done.has_value());
    REQUIRE_FALSE(outcome.done->has_value());
    return outcome.done->error().detail;
}

} // namespace

TEST_CASE("a discovery in progress ends when the daemon stops, and says that this is why") {
    SilentServer server;
    const auto kind = GENERATE(records::RecordKind::isns, records::RecordKind::send_targets);
    DaemonFixture fixture;
    DaemonClient client(fixture);
    ipc::Discover request;
    auto discovery = records::make_discovery(records::Record(kind), {"127.0.0.1", server.port(), -1});
    REQUIRE(discovery);
    request.discovery = *discovery;
    const std::string line = ipc::encode(1, ipc::Request(std::move(request)));
    REQUIRE(client.send(line));
    for (int i = 0; i < 20; ++i) {
        fixture.turn();
    }
    fixture.stop();
    CHECK(client.error() == base::Errc::cancelled);
}

TEST_CASE("a client of an iSNS server that is interrupted between its requests begins none") {
    SilentServer server;
    auto loop = ring::Loop::create(16);
    REQUIRE(loop);
    control::IsnsClient client(**loop, "iqn.2026-01.example:me");
    ring::TaskGroup group;
    const records::Portal portal{"127.0.0.1", server.port(), -1};
    Outcome connected;
    group.spawn(keep(client.connect(portal), connected));
    while (!group.empty()) {
        (*loop)->turn();
    }
    REQUIRE(connected.done->has_value());
    client.interrupt();
    Outcome asked;
    group.spawn(keep(ask(client), asked));
    CHECK(error_of(asked) == "interrupted");
    Outcome again;
    group.spawn(keep(client.connect(portal), again));
    CHECK(error_of(again) == "interrupted");
    group.spawn(client.end());
    while (!group.empty()) {
        (*loop)->turn();
    }
}

TEST_CASE("nobody waits for a resolver after an interrupt") {
    auto loop = ring::Loop::create(16);
    REQUIRE(loop);
    ring::TaskGroup group;
    control::IsnsClient client(**loop, "iqn.2026-01.example:me");
    const records::Portal portal{"nowhere.invalid", 3205, -1};
    Outcome outcome;
    group.spawn(keep(client.connect(portal), outcome));
    REQUIRE_FALSE(outcome.done.has_value());
    client.interrupt();
    // Without a turn of the loop.
    CHECK(error_of(outcome) == "interrupted");
    CHECK(group.empty());
}

// A sanitizer sees what is wrong with these when it is.

TEST_CASE("a client may die within its interrupt") {
    auto loop = ring::Loop::create(16);
    REQUIRE(loop);
    ring::TaskGroup group;
    control::Interrupt interrupt;
    bool others_followed = false;
    Outcome outcome;
    group.spawn(keep(converse(**loop, {"nowhere.invalid", 3205, -1}, interrupt), outcome));
    const control::Interrupt::Action other(interrupt, [&] { others_followed = true; });
    REQUIRE_FALSE(outcome.done.has_value());
    interrupt.set();
    CHECK(error_of(outcome) == "interrupted");
    CHECK(group.empty());
    CHECK(others_followed);
}

TEST_CASE("a registration that waits for a resolver is interrupted") {
    auto loop = ring::Loop::create(16);
    REQUIRE(loop);
    ring::TaskGroup group;
    control::IsnsRegistration registration(**loop, {"nowhere.invalid", 3205, -1}, [] {});
    Outcome outcome;
    group.spawn(keep(registration.keep({"iqn.2026-01.example:me"}, ""), outcome));
    REQUIRE_FALSE(outcome.done.has_value());
    registration.interrupt();
    CHECK(error_of(outcome) == "interrupted");
    group.spawn(registration.end());
    CHECK(group.empty());
}

TEST_CASE("an interrupt may die within itself, and what else it has to do is done") {
    auto interrupt = std::make_unique<control::Interrupt>();
    int done = 0;
    const control::Interrupt::Action first(*interrupt, [&] { interrupt.reset(); });
    const control::Interrupt::Action second(*interrupt, [&] { ++done; });
    interrupt->set();
    CHECK(interrupt == nullptr);
    CHECK(done == 1);
}
