#include "actions.hpp"
#include "client.hpp"
#include "messages.hpp"
#include "print.hpp"

namespace iscsi::adm {
namespace {

int no_session_found() {
    complain("No session found.");
    return exit_of(base::Errc::not_found);
}

/// A request about each session, all sent together.
struct Batch {
    base::Result<Client> client;
    std::vector<std::uint64_t> ids;
};

template <class Request>
Batch post_for_each(const Context& context, const std::vector<ipc::SessionSnapshot>& sessions) {
    Batch batch{connect_or_start(context.store), {}};
    for (const ipc::SessionSnapshot& session : sessions) {
        batch.ids.push_back(batch.client ? batch.client->post(Request{session.sid}) : 0);
    }
    flush_output();
    return batch;
}

base::Result<ipc::Done> answer_of(Batch& batch, std::size_t i) {
    if (!batch.client) {
        return base::fail(batch.client.error());
    }
    return expect<ipc::Done>(batch.client->wait(batch.ids[i]));
}

} // namespace

int log_out(const Context& context, const std::vector<ipc::SessionSnapshot>& sessions) {
    if (sessions.empty()) {
        complain("No matching sessions found");
        return exit_of(base::Errc::not_found);
    }
    for (const ipc::SessionSnapshot& session : sessions) {
        say("Logging out of session {}\n", session_title(session));
    }
    Batch batch = post_for_each<ipc::Logout>(context, sessions);
    int exit_code = exit_ok;
    for (std::size_t i = 0; i < sessions.size(); ++i) {
        auto done = answer_of(batch, i);
        if (done) {
            say("Logout of {} successful.\n", session_title(sessions[i]));
            flush_output();
            continue;
        }
        complain_lines(done.error().detail);
        complain("Could not logout of {}.", session_title(sessions[i]));
        complain(reported(done.error()));
        exit_code = exit_code == exit_ok ? exit_of(done.error().code) : exit_code;
    }
    if (exit_code != exit_ok) {
        complain("Could not logout of all requested sessions");
    }
    return exit_code;
}

int rescan(const Context& context, const std::vector<ipc::SessionSnapshot>& sessions) {
    if (sessions.empty()) {
        return no_session_found();
    }
    for (const ipc::SessionSnapshot& session : sessions) {
        say("Rescanning session {}\n", session_title(session));
    }
    Batch batch = post_for_each<ipc::Rescan>(context, sessions);
    int exit_code = exit_ok;
    for (std::size_t i = 0; i < sessions.size(); ++i) {
        if (auto done = answer_of(batch, i); !done) {
            complain_lines(done.error().detail);
            complain("Could not rescan session {}.", session_title(sessions[i]));
            complain(reported(done.error()));
            exit_code = exit_code == exit_ok ? exit_of(done.error().code) : exit_code;
        }
    }
    return exit_code;
}

int print_statistics(const std::vector<ipc::SessionSnapshot>& sessions) {
    if (sessions.empty()) {
        return no_session_found();
    }
    for (const ipc::SessionSnapshot& session : sessions) {
        say(statistics_text(session));
    }
    return exit_ok;
}

} // namespace iscsi::adm
