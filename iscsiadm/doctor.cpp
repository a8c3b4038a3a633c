#include "doctor.hpp"

#include "advice.hpp"
#include "base/text.hpp"
#include "client.hpp"
#include "matching.hpp"
#include "messages.hpp"
#include "print.hpp"
#include "records/text.hpp"
#include "words.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace iscsi::adm {
namespace {

using base::Cause;
using base::Errc;
using records::Key;

/// For what iscsid asks others: a name server, a target whose login and discovery are given ten seconds each.
constexpr std::chrono::seconds discovery_time{60};
/// Beside the record's login_timeout: looking at units, making devices, udev.
constexpr std::chrono::seconds attach_time{120};
constexpr std::chrono::seconds logout_time{120};

bool is_root() {
    return ::geteuid() == 0;
}

/// The command that logs in with the record, to be copied.
std::string login_command(const records::NodeId& node) {
    return fmt::format("'iscsiadm -m node -T {} -p {} -I {} -l'", base::printable(node.target, 255),
                       records::address_port(node.portal), base::printable(node.iface, 64));
}

/// What iscsid said, and whether it could be asked.
struct Daemon {
    bool runs = false;
    std::vector<ipc::SessionSnapshot> sessions;
};

Step absent_daemon(const base::Error& error) {
    switch (error.code) {
    case Errc::daemon_not_running:
        return step_wrong("iscsid", error.code, "it does not run",
                          fmt::format("{}. What it would know is not looked at", advice_without_daemon));
    case Errc::request_timed_out:
        return step_wrong(
            "iscsid", error.code, error.message(),
            "it hangs, or was stopped: 'journalctl -u iscsid'; 'systemctl restart iscsid' takes "
            "over its sessions and devices. What it would know is not looked at");
    default:
        return step_wrong("iscsid", error.code, error.message(), "'journalctl -u iscsid' may say more");
    }
}

/// The step that a login failed at. A target that refuses for a reason of its own says nothing about CHAP.
std::string_view step_of(const base::Error& error) {
    switch (error.cause) {
    case Cause::chap_refused:
    case Cause::chap_demanded:
    case Cause::chap_declined:
    case Cause::chap_algorithms:
    case Cause::target_not_proved:
        return "CHAP";
    case Cause::none:
        return error.code == Errc::authentication ? "CHAP" : "login";
    default:
        return "login";
    }
}

class Examination {
public:
    explicit Examination(const Context& context) : context_(context) {}

    int run() {
        look_at_initiator();
        look_at_daemon();
        auto patients = find_patients();
        for (Patient& patient : patients) {
            report_.begin(records::node_id(patient.node));
            examine(patient);
        }
        return report_.exit_code();
    }

private:
    void look_at_initiator();
    void look_at_daemon();
    std::vector<Patient> find_patients();
    void add_session_patients(std::vector<Patient>& patients, const records::NodeFilter& filter);
    void add_named_patient(std::vector<Patient>& patients);
    void examine(Patient& patient);
    bool look_at_record(const Patient& patient);
    bool try_discovery(const Patient& patient);
    bool judge_discovery(const Patient& patient, const base::Result<ipc::DiscoverReply>& reply);
    void try_login(Patient& patient);
    base::Result<ipc::Reply> ask(const ipc::Request& request, std::chrono::seconds within) const;

    const Context& context_;
    DoctorReport report_;
    Daemon daemon_;
};

base::Result<ipc::Reply> Examination::ask(const ipc::Request& request, std::chrono::seconds within) const {
    return ask_in_time(context_.store.paths(), request, within);
}

void Examination::look_at_initiator() {
    auto name = context_.store.initiator_name();
    if (name) {
        report_.add(step_ok("initiator name", base::printable(name->name, 255)));
    } else if (!is_root() && name.error().code == Errc::database) {
        report_.add(step_unseen("initiator name", name.error().message(), "only root may read it"));
    } else {
        report_.add(step_wrong("initiator name", name.error().code, name.error().message(),
                               "'iscsi-gen-initiatorname' writes one; targets know this machine by it"));
    }
}

void Examination::look_at_daemon() {
    auto sessions = expect<ipc::SessionsReply>(ask(ipc::Sessions{}, answer_time));
    if (!sessions) {
        report_.add(absent_daemon(sessions.error()));
        return;
    }
    daemon_.runs = true;
    daemon_.sessions = std::move(sessions->sessions);
    const std::string count =
        fmt::format("{} session{}", daemon_.sessions.size(), daemon_.sessions.size() == 1 ? "" : "s");
    auto info = expect<ipc::InfoReply>(ask(ipc::Info{}, answer_time));
    if (!info) {
        report_.add(step_ok("iscsid", "it runs, " + count));
        return;
    }
    auto own = context_.store.initiator_name();
    if (own && own->name != info->initiator_name) {
        report_.add(step_wrong(
            "iscsid", Errc::invalid,
            fmt::format("it was started under another name: {}", base::printable(info->initiator_name, 255)),
            "restart it ('systemctl restart iscsid'): the name in the file is used then"));
        return;
    }
    report_.add(step_ok("iscsid", fmt::format("version {} runs as process {}, {}",
                                              base::printable(info->version, 64), info->pid, count)));
}

/// Sessions whose record is gone or cannot be read.
void Examination::add_session_patients(std::vector<Patient>& patients, const records::NodeFilter& filter) {
    for (const ipc::SessionSnapshot& session : matching_sessions(daemon_.sessions, filter)) {
        const records::NodeId id = node_id_of(session);
        auto known = std::ranges::find_if(patients, [&](const Patient& patient) {
            return runs_on(session, records::node_id(patient.node));
        });
        if (known != patients.end() && !known->session) {
            known->session = session;
            continue;
        }
        auto iface = records::make_iface(id.iface);
        if (!iface) {
            continue;
        }
        auto node =
            records::make_node(records::Record(records::RecordKind::node), id.target, id.portal, *iface, {});
        if (node) {
            patients.push_back(Patient{std::move(*node), known != patients.end(), session});
        }
    }
}

/// -T and -p name a place of which there is neither a record nor a session.
void Examination::add_named_patient(std::vector<Patient>& patients) {
    auto iface = records::make_iface("default");
    if (!context_.options.target || !context_.portal || !iface) {
        return;
    }
    auto node = records::make_node(records::Record(records::RecordKind::node), *context_.options.target,
                                   *context_.portal, *iface, {});
    if (node) {
        patients.push_back(Patient{std::move(*node), false, std::nullopt});
    }
}

std::vector<Patient> Examination::find_patients() {
    const records::NodeFilter filter = filter_of(context_);
    records::Warnings warnings;
    auto nodes = context_.store.nodes(filter, warnings);
    std::vector<Patient> patients;
    for (const std::string& warning : warnings) {
        report_.add(step_unseen("record", warning));
    }
    if (!nodes && is_root()) {
        report_.add(step_wrong("record", nodes.error().code, nodes.error().message(), {}));
    }
    const std::size_t recorded = nodes ? nodes->size() : 0;
    for (std::size_t i = 0; i < recorded; ++i) {
        patients.push_back(Patient{std::move((*nodes)[i]), true, std::nullopt});
    }
    add_session_patients(patients, filter);
    if (patients.empty()) {
        add_named_patient(patients);
    }
    if (patients.empty()) {
        const std::string try_this =
            "'iscsiadm -m discovery -t st -p ADDRESS' finds targets and makes records";
        report_.add(is_root() ? step_wrong("record", Errc::not_found, "there is no record of it", try_this)
                              : step_unseen("record", "only root may read the records",
                                            "-T and -p name what is to be looked at"));
        return patients;
    }
    if (context_.options.target || context_.portal) {
        return patients;
    }
    // Asked of nothing in particular: what is not to be there is no trouble.
    const std::size_t all = patients.size();
    std::erase_if(patients, [](const Patient& patient) {
        return !patient.session && patient.node.text(Key::node_startup) == "manual";
    });
    if (patients.size() != all) {
        report_.add(step_ok("record", fmt::format("{} not looked at: manual and not logged in (-T TARGET "
                                                  "looks at one)",
                                                  all - patients.size())));
    }
    return patients;
}

bool Examination::look_at_record(const Patient& patient) {
    if (patient.recorded) {
        const bool has_chap = !patient.node.text(Key::session_password).empty();
        const std::vector<std::string> notes = patient.node.notes();
        std::string what = fmt::format("node.startup {}, {} CHAP", patient.node.text(Key::node_startup),
                                       has_chap ? "with" : "without");
        if (!notes.empty()) {
            what += "; " + base::printable(notes.front());
        }
        return report_.add(step_ok("record", std::move(what)));
    }
    if (!is_root()) {
        return report_.add(step_unseen("record", "only root may read the records"));
    }
    const records::NodeId id = records::node_id(patient.node);
    return report_.add(step_wrong(
        "record", Errc::not_found, "there is none",
        fmt::format("'iscsiadm -m discovery -t st -p {0}' makes one of each target that is there, 'iscsiadm "
                    "-m node -T {1} -p {0} -o new' one by hand",
                    records::address_port(id.portal), base::printable(id.target, 255))));
}

void Examination::examine(Patient& patient) {
    const bool is_up = patient.session && patient.session->session_state == ipc::SessionState::logged_in;
    if (!look_at_record(patient) && !patient.session) {
        return;
    }
    if (is_up) {
        look_at_session(report_, *patient.session);
        return;
    }
    if (!look_at_way(report_, patient)) {
        return;
    }
    if (!daemon_.runs) {
        report_.add(step_unseen("login", "iscsid does not run"));
        return;
    }
    if (patient.session) {
        look_at_session(report_, *patient.session);
        return;
    }
    if (!is_root()) {
        report_.add(step_unseen("login", "only root may have iscsid log in"));
        report_.add(step_wrong("session", Errc::session_not_found, "there is none", {}));
        return;
    }
    if (!try_discovery(patient)) {
        return;
    }
    if (context_.options.login) {
        try_login(patient);
        return;
    }
    report_.add(step_unseen("CHAP", "only a login of its own proves it",
                            "'iscsiadm doctor -l' logs in, looks, and logs out again"));
    report_.add(step_wrong("session", Errc::session_not_found, "there is none",
                           login_command(records::node_id(patient.node)) + " logs in"));
}

/// A session of type Discovery has no target and so takes the place of no session with one (RFC 7143 section
/// 6.3.5). It shows that iSCSI is spoken there, to us, and of this target.
bool Examination::try_discovery(const Patient& patient) {
    const records::NodeId id = records::node_id(patient.node);
    records::Warnings warnings;
    auto known = context_.store.discovery(records::RecordKind::send_targets, id.portal, warnings);
    auto discovery =
        known ? std::move(known)
              : records::make_discovery(records::Record(records::RecordKind::send_targets), id.portal);
    if (!discovery) {
        return report_.add(step_unseen("login", discovery.error().message()));
    }
    constexpr std::string_view seconds = "10";
    (void)discovery->set(Key::discovery_login_timeout, seconds);
    (void)discovery->set(Key::discovery_reopen_max, "0");
    records::Record iface(records::RecordKind::iface);
    records::copy_iface(patient.node, iface);
    const ipc::Discover question{std::move(*discovery), {std::move(iface)}};
    auto reply = expect<ipc::DiscoverReply>(ask(question, discovery_time));
    return judge_discovery(patient, reply);
}

bool Examination::judge_discovery(const Patient& patient, const base::Result<ipc::DiscoverReply>& reply) {
    const records::NodeId id = records::node_id(patient.node);
    if (!reply && reply.error().code == Errc::authentication) {
        return report_.add(step_unseen("login", "iSCSI is spoken there; discoveries need CHAP of their own",
                                       "the keys discovery.sendtargets.auth.* of the discovery record"));
    }
    if (!reply) {
        const std::string detail = reply.error().message();
        const std::size_t end = detail.find('\n');
        base::Error error = reply.error();
        return report_.add(step_wrong("login", error.code, base::printable(detail.substr(0, end)),
                                      advice_for(error, patient.node)));
    }
    const auto is_listed = [&](const ipc::FoundPortal& found) { return found.target == id.target; };
    const auto is_here = [&](const ipc::FoundPortal& found) {
        return is_listed(found) && found.port == id.portal.port && found.address == id.portal.address;
    };
    if (std::ranges::none_of(reply->found, is_listed)) {
        const base::Error unknown{Errc::not_found, {}, base::Cause::target_unknown};
        return report_.add(step_wrong("login", Errc::not_found,
                                      fmt::format("a discovery there lists {} target{}, and not this one",
                                                  reply->found.size(), reply->found.size() == 1 ? "" : "s"),
                                      advice_for(unknown, patient.node)));
    }
    const bool is_elsewhere = std::ranges::none_of(reply->found, is_here);
    return report_.add(step_ok("login", is_elsewhere ? "a discovery there lists the target, at other portals"
                                                     : "a discovery there lists the target at this portal"));
}

/// -l: the user wants to know.
void Examination::try_login(Patient& patient) {
    records::Record node = patient.node;
    (void)node.set(Key::session_initial_login_retry_max, "1");
    const auto login_time = std::chrono::seconds(node.number(Key::conn_login_timeout)) + attach_time;
    auto reply = expect<ipc::LoginReply>(ask(ipc::Login{std::move(node), false}, login_time));
    if (!reply && reply.error().code == Errc::request_timed_out) {
        report_.add(step_wrong("login", reply.error().code, reply.error().message(),
                               "'iscsiadm -m session' shows whether the login ends well after all: it is not "
                               "logged out of then"));
        return;
    }
    if (!reply) {
        report_.add(step_wrong(step_of(reply.error()), reply.error().code,
                               base::printable(reply.error().message()),
                               advice_for(reply.error(), patient.node)));
        return;
    }
    auto sessions = expect<ipc::SessionsReply>(ask(ipc::Sessions{}, answer_time));
    if (sessions) {
        auto own = std::ranges::find(sessions->sessions, reply->sid, &ipc::SessionSnapshot::sid);
        if (own != sessions->sessions.end()) {
            look_at_session(report_, *own);
        }
    }
    // Whatever iscsid.safe_logout says: somebody may have mounted what has appeared.
    const ipc::Logout logout{reply->sid, true};
    auto done = expect<ipc::Done>(ask(logout, logout_time));
    report_.add(done ? step_ok("logout", "done: the session was for the look alone")
                     : step_wrong("logout", done.error().code, base::printable(done.error().message()),
                                  fmt::format("'iscsiadm -m session -r {} -u' ends it", reply->sid)));
}

} // namespace

int run_doctor(const Context& context) {
    return Examination(context).run();
}

} // namespace iscsi::adm
