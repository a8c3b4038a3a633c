#include "actions.hpp"
#include "client.hpp"
#include "json_output.hpp"
#include "messages.hpp"
#include "print.hpp"
#include "progress.hpp"

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

base::Result<ipc::Done> answer_of(Batch& batch, Progress& progress, std::size_t i) {
    if (!batch.client) {
        return base::fail(batch.client.error());
    }
    return expect<ipc::Done>(progress.wait(*batch.client, batch.ids[i]));
}

} // namespace

tl::expected<Action, int> chosen_action(const Options& options, bool new_is_login) {
    if (options.rescan) {
        return Action::rescan;
    }
    if (options.statistics) {
        return Action::statistics;
    }
    bool one_more = new_is_login && options.ops == op_new;
    bool login = options.login || one_more;
    if (login && options.logout) {
        return tl::unexpected(refuse("Invalid parameters. Both login and logout passed in"));
    }
    if ((login || options.logout) && options.ops != 0 && !one_more) {
        return tl::unexpected(refuse("Invalid parameters. Login/logout and op passed in"));
    }
    if (login) {
        return Action::login;
    }
    return options.logout ? Action::logout : Action::none;
}

int act_on(const Context& context, Action action, const std::vector<ipc::SessionSnapshot>& sessions) {
    switch (action) {
    case Action::rescan:
        return rescan(context, sessions);
    case Action::statistics:
        return print_statistics(sessions);
    case Action::logout:
        return log_out(context, sessions);
    case Action::none:
    case Action::login:
        break;
    }
    return exit_of(base::Errc::internal);
}

int log_out(const Context& context, const std::vector<ipc::SessionSnapshot>& sessions) {
    if (sessions.empty()) {
        complain("No matching sessions found");
        return exit_of(base::Errc::not_found);
    }
    for (const ipc::SessionSnapshot& session : sessions) {
        say("Logging out of session {}\n", session_title(session));
    }
    Batch batch = post_for_each<ipc::Logout>(context, sessions);
    Progress progress(sessions.size() > 1 ? "logged out" : "logging out", sessions.size());
    int exit_code = exit_ok;
    for (std::size_t i = 0; i < sessions.size(); ++i) {
        auto done = answer_of(batch, progress, i);
        add_action("logout", json_of_title(sessions[i]), done ? nullptr : &done.error());
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
    Progress progress(sessions.size() > 1 ? "rescanned" : "rescanning", sessions.size());
    int exit_code = exit_ok;
    for (std::size_t i = 0; i < sessions.size(); ++i) {
        auto done = answer_of(batch, progress, i);
        add_action("rescan", json_of_title(sessions[i]), done ? nullptr : &done.error());
        if (!done) {
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
        add_json("sessions", json_of(session, false));
        say(statistics_text(session));
    }
    return exit_ok;
}

} // namespace iscsi::adm
