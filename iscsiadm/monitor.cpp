// iscsiadm monitor: what happens to sessions and units, a line each as it happens. SIGINT and SIGTERM end it
// as they end any program, and so does a reader that goes away.
#include "advice.hpp"
#include "client.hpp"
#include "context.hpp"
#include "ipc/events.hpp"
#include "json_output.hpp"
#include "matching.hpp"
#include "messages.hpp"
#include "monitor_lines.hpp"
#include "run_lock.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <poll.h>
#include <unistd.h>
#include <utility>

namespace iscsi::adm {
namespace {

using std::chrono::steady_clock;

/// False when the line did not get out.
bool print(const ipc::EventReply& event) {
    const std::string line = is_json() ? json_line(event) : text_line(event);
    return std::fwrite(line.data(), 1, line.size(), stdout) == line.size() && std::fflush(stdout) == 0;
}

/// The reader of stdout is gone: ends as a program does that writes to it. Or its disk is full, which main()
/// says.
int end_of_output() {
    if (std::ferror(stdout) == 0) {
        std::raise(SIGPIPE);
    }
    leave_json();
    return exit_failure;
}

/// For a moment; false when the reader of stdout is gone.
bool pause_briefly() {
    constexpr int pause_ms = 100;
    pollfd output{STDOUT_FILENO, 0, 0};
    return poll(&output, 1, pause_ms) <= 0 || (output.revents & (POLLERR | POLLHUP | POLLNVAL)) == 0;
}

/// A connection whose events begin. Errors: those of Client, and the daemon's.
struct Watched {
    Client client;
    std::uint64_t id;
    std::optional<pid_t> daemon{}; ///< known from its first event on, if at all
};

base::Result<Watched> begin(const Context& context) {
    auto client = Client::connect(context.store.paths());
    if (!client) {
        return base::fail(client.error());
    }
    client->end_with_reader_of(STDOUT_FILENO);
    Watched watched{std::move(*client), 0};
    watched.id = watched.client.post(ipc::Monitor{});
    return watched;
}

/// Prints events until there are no more; why.
base::Error follow(const Context& context, Watched& watched, const EventFilter& filter) {
    for (;;) {
        auto event = expect<ipc::EventReply>(watched.client.wait(watched.id));
        if (!event) {
            return event.error();
        }
        if (!watched.daemon) {
            watched.daemon = lock_holder(context.store.paths().run_dir());
        }
        if (wanted(*event, filter) && !print(*event)) {
            return {base::Errc::cancelled};
        }
    }
}

ipc::EventReply gone() {
    using std::chrono::microseconds;
    const auto& row = ipc::row_of(ipc::Event::daemon_gone);
    ipc::EventReply event;
    event.time_us =
        std::chrono::duration_cast<microseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
    event.event = row.name;
    event.level = text(row.level);
    event.message = "iscsid has ended; waiting for the next one";
    return event;
}

/// The next daemon, or the same one if it lives on. A connection made too early would have systemd start one
/// that somebody has stopped (iscsid.socket): who holds the daemon's lock is looked at before.
/// Errc::cancelled: the reader has gone.
base::Result<Watched> begin_again(const Context& context, std::optional<pid_t> before) {
    constexpr auto end_max = std::chrono::seconds(10);
    const auto lives_on_at = steady_clock::now() + end_max;
    for (;;) {
        const std::optional<pid_t> holder = lock_holder(context.store.paths().run_dir());
        const bool is_another = holder && (holder != before || steady_clock::now() >= lives_on_at);
        if (is_another) {
            auto watched = begin(context);
            if (watched || watched.error().code != base::Errc::daemon_not_running) {
                return watched;
            }
        }
        if (!pause_briefly()) {
            return base::fail(base::Errc::cancelled);
        }
    }
}

} // namespace

int run_monitor(const Context& context) {
    std::signal(SIGPIPE, SIG_DFL); // a service manager may have had it ignored
    const EventFilter filter{filter_of(context), context.options.session};
    auto watched = begin(context);
    while (watched) {
        const base::Error end = follow(context, *watched, filter);
        if (end.code == base::Errc::cancelled) {
            return end_of_output();
        }
        if (!watched->client.is_closed()) {
            return complain_of(end);
        }
        if (!print(gone())) {
            return end_of_output();
        }
        watched = begin_again(context, watched->daemon);
    }
    if (watched.error().code == base::Errc::cancelled) {
        return end_of_output();
    }
    if (watched.error().code == base::Errc::daemon_not_running) {
        complain("can not connect to iSCSI daemon ({})!", ECONNREFUSED);
        complain_of(watched.error());
        AdviceList advice;
        advice.add(std::string(advice_without_daemon));
        advice.say();
        return exit_of(watched.error().code);
    }
    return complain_of(watched.error());
}

} // namespace iscsi::adm
