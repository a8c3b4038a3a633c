#include "actions.hpp"
#include "advice.hpp"
#include "client.hpp"
#include "json_output.hpp"
#include "matching.hpp"
#include "messages.hpp"
#include "print.hpp"
#include "progress.hpp"

#include <cstddef>

namespace iscsi::adm {
namespace {

using records::Key;

/// One session to be logged in.
struct Wanted {
    const records::Record* node;
    bool multiple; ///< one of several of its record
    std::uint64_t id = 0;
};

class LoginRun {
public:
    LoginRun(const Context& context, const LoginOrder& order) : context_(context), order_(order) {}

    int run() {
        auto sessions = fetch_sessions(context_.store.paths());
        if (!sessions) {
            return complain_of(sessions.error());
        }
        const SessionsOfRecords present(*sessions);
        for (const records::Record& node : order_.nodes) {
            plan(node, present.count(node_id(node)));
        }
        if (!wanted_.empty()) {
            start();
        }
        if (exit_code_ != exit_ok && !order_.boots) {
            complain("Could not log into all portals");
        }
        advice_.say();
        return exit_code_;
    }

private:
    /// `present`: the sessions that it has.
    void plan(const records::Record& node, std::ptrdiff_t present) {
        records::NodeId id = node_id(node);
        auto requested = order_.one_more ? present + 1 : node.number(Key::session_nr_sessions);
        if (present >= requested && order_.boots) {
            note(fmt::format("there is a session with {}", node_title(id)));
            return;
        }
        if (present >= requested) {
            base::Error present_already{base::Errc::session_exists, {}};
            add_action("login", json_of(id), &present_already);
            complain("{}: {} session{} requested, but {} already present.", id.iface, requested,
                     requested == 1 ? "" : "s", present);
            keep(base::Errc::session_exists);
            return;
        }
        for (auto i = present; i < requested; ++i) {
            wanted_.push_back(Wanted{&node, requested > 1 || order_.one_more});
        }
    }

    void start() {
        for (const Wanted& wanted : wanted_) {
            say("Logging in to {}{}\n", node_title(node_id(*wanted.node)),
                wanted.multiple ? " (multiple)" : "");
        }
        auto client = connect_or_start(context_.store);
        for (Wanted& wanted : wanted_) {
            if (client) {
                wanted.id = client->post(ipc::Login{*wanted.node, wanted.multiple});
            }
        }
        // Each login is waited for in order, and said as soon as it is known.
        flush_output();
        if (client && context_.options.no_wait) {
            do_not_wait(client->flush());
            return;
        }
        Progress progress(wanted_.size() > 1 ? "logged in" : "logging in", wanted_.size());
        for (const Wanted& wanted : wanted_) {
            report(wanted, client ? expect<ipc::LoginReply>(progress.wait(*client, wanted.id))
                                  : base::Result<ipc::LoginReply>(base::fail(client.error())));
        }
    }

    /// -W: whether the logins were asked for is all that is known.
    void do_not_wait(const base::Result<void>& sent) {
        for (const Wanted& wanted : wanted_) {
            ipc::Json entry = json_of(node_id(*wanted.node));
            entry["note"] = "not waited for";
            add_action("login", std::move(entry), sent ? nullptr : &sent.error());
        }
        if (!sent) {
            keep(sent.error().code);
            complain(reported(sent.error()));
        }
    }

    void report(const Wanted& wanted, const base::Result<ipc::LoginReply>& reply) {
        std::string title = node_title(node_id(*wanted.node));
        add_login(*wanted.node, reply);
        if (!reply && order_.boots && reply.error().code == base::Errc::session_exists) {
            note(fmt::format("there is a session with {}", title));
            return;
        }
        if (!reply) {
            keep(reply.error().code);
            complain_lines(reply.error().detail);
            complain("Could not login to {}.", title);
            complain(reported(reply.error()));
            advice_.add(advice_for(reply.error(), *wanted.node));
            return;
        }
        say("Login to {} successful.\n", title);
        std::string note = reply->note;
        if (note.empty() && reply->luns.empty() && wanted.node->text(Key::session_scan) == "manual") {
            note = "node.session.scan is manual: rescan the session to attach its logical units.";
        }
        say(attached_lines(reply->luns, note));
        flush_output();
    }

    static void add_login(const records::Record& node, const base::Result<ipc::LoginReply>& reply) {
        ipc::Json entry = json_of(node_id(node));
        if (!reply) {
            entry["cause"] = std::string(base::text(reply.error().cause));
            entry["try"] = advice_for(reply.error(), node);
        } else {
            entry["sid"] = reply->sid;
            entry["note"] = reply->note;
            entry["luns"] = ipc::Json::array();
            for (const ipc::AttachedLun& lun : reply->luns) {
                entry["luns"].push_back(json_of(lun));
            }
        }
        add_action("login", std::move(entry), reply ? nullptr : &reply.error());
    }

    /// The first failure is the exit code.
    void keep(base::Errc code) {
        if (exit_code_ == exit_ok) {
            exit_code_ = exit_of(code);
        }
    }

    const Context& context_;
    const LoginOrder& order_;
    std::vector<Wanted> wanted_;
    AdviceList advice_;
    int exit_code_ = exit_ok;
};

} // namespace

int log_in(const Context& context, const LoginOrder& order) {
    return LoginRun(context, order).run();
}

} // namespace iscsi::adm
