// The client against the other end of its socket: several replies to one request, and how it hears of an end.
#include "client.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

using namespace iscsi;
using adm::Client;
using adm::expect;

namespace {

struct Bench {
    Bench() {
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        client.emplace(ends[0]);
        other = ends[1];
    }
    ~Bench() { hang_up(); }
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;

    void say(std::string_view bytes) const {
        REQUIRE(::send(other, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
                static_cast<ssize_t>(bytes.size()));
    }
    void say(std::uint64_t id, const ipc::Reply& reply) const { say(ipc::encode(id, reply)); }
    void hang_up() {
        if (other >= 0) {
            ::close(std::exchange(other, -1));
        }
    }

    std::optional<Client> client;
    int other = -1;
};

ipc::Reply event(const std::string& message) {
    ipc::EventReply event;
    event.message = message;
    return event;
}

std::string message_of(base::Result<ipc::Reply> reply) {
    auto got = expect<ipc::EventReply>(std::move(reply));
    REQUIRE(got);
    return got->message;
}

} // namespace

TEST_CASE("replies to one request are kept in their order, beside those to others", "[adm]") {
    Bench bench;
    const auto monitor = bench.client->post(ipc::Monitor{});
    const auto info = bench.client->post(ipc::Info{});
    bench.say(monitor, event("first"));
    bench.say(monitor, event("second"));
    bench.say(info, ipc::InfoReply{"1", "", "", 4});
    bench.say(monitor, event("third"));
    CHECK(expect<ipc::InfoReply>(bench.client->wait(info))->pid == 4);
    CHECK(message_of(bench.client->wait(monitor)) == "first");
    CHECK(message_of(bench.client->wait(monitor)) == "second");
    CHECK(message_of(bench.client->wait(monitor)) == "third");
    bench.say(monitor, event("fourth"));
    CHECK(message_of(bench.client->wait(monitor)) == "fourth");
}

TEST_CASE("what came before the end is read, then the end is an error that is known as one", "[adm]") {
    Bench bench;
    const auto monitor = bench.client->post(ipc::Monitor{});
    bench.say(monitor, event("last"));
    bench.hang_up();
    CHECK(message_of(bench.client->wait(monitor)) == "last");
    const auto end = bench.client->wait(monitor);
    REQUIRE_FALSE(end);
    CHECK(end.error().code == base::Errc::daemon_communication);
    CHECK(bench.client->is_closed());
}

TEST_CASE("an answer that is none ends the connection, which was not closed", "[adm]") {
    Bench bench;
    const auto monitor = bench.client->post(ipc::Monitor{});
    bench.say("{\"v\":1,\"id\":1,\"reply\":\"event\"}\n");
    const auto end = bench.client->wait(monitor);
    REQUIRE_FALSE(end);
    CHECK(end.error().code == base::Errc::daemon_communication);
    CHECK_FALSE(bench.client->is_closed());
}

TEST_CASE("who waits for an event hears that nobody reads any more", "[adm]") {
    Bench bench;
    int pipe[2];
    REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
    const auto monitor = bench.client->post(ipc::Monitor{});
    bench.client->end_with_reader_of(pipe[1]);
    bench.say(monitor, event("read"));
    CHECK(message_of(bench.client->wait(monitor)) == "read");
    ::close(pipe[0]);
    const auto end = bench.client->wait(monitor);
    REQUIRE_FALSE(end);
    CHECK(end.error().code == base::Errc::cancelled);
    ::close(pipe[1]);
}

namespace {

/// A daemon's socket that nobody takes connections from.
struct Stopped {
    explicit Stopped(int backlog) {
        REQUIRE(::mkdtemp(folder.data()) != nullptr);
        paths.emplace(folder);
        const std::string path = paths->ipc_socket();
        std::filesystem::create_directories(std::filesystem::path(path).parent_path());
        address.sun_family = AF_UNIX;
        REQUIRE(path.size() < sizeof address.sun_path);
        std::ranges::copy(path, address.sun_path);
        open.push_back(socket());
        REQUIRE(::bind(open.front(), name(), sizeof address) == 0);
        REQUIRE(::listen(open.front(), backlog) == 0);
    }
    ~Stopped() {
        std::ranges::for_each(open, ::close);
        std::filesystem::remove_all(folder);
    }
    Stopped(const Stopped&) = delete;
    Stopped& operator=(const Stopped&) = delete;

    static int socket() { return ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }
    const sockaddr* name() const { return reinterpret_cast<const sockaddr*>(&address); }
    void fill_backlog() {
        do {
            open.push_back(socket());
        } while (::connect(open.back(), name(), sizeof address) == 0);
        CHECK(errno == EAGAIN);
    }

    std::string folder = "/tmp/iscsi-client-XXXXXX";
    std::optional<records::Paths> paths;
    sockaddr_un address{};
    std::vector<int> open;
};

} // namespace

TEST_CASE("a daemon that stopped before it took a connection is waited for as long as was said", "[adm]") {
    Stopped daemon(0);
    daemon.fill_backlog();
    const auto client = Client::connect(*daemon.paths, std::chrono::seconds(1));
    REQUIRE_FALSE(client);
    CHECK(client.error().code == base::Errc::request_timed_out);
    CHECK(client.error().detail == "iscsid has not answered for 1 s");
}

TEST_CASE("a list of sessions is not waited for when the daemon does not answer", "[adm]") {
    Stopped daemon(5);
    const bool takes = GENERATE(true, false);
    if (!takes) {
        daemon.fill_backlog();
    }
    const auto sessions = adm::fetch_sessions(*daemon.paths, std::chrono::seconds(1));
    REQUIRE_FALSE(sessions);
    CHECK(sessions.error().code == base::Errc::request_timed_out);
    CHECK(sessions.error().detail == "iscsid has not answered for 1 s");
}
