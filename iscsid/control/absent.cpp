#include "control/absent.hpp"

#include "control/about.hpp"
#include "records/fields.hpp"
#include "scsi/capacity.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace iscsi::control {
namespace {

void set_absent(ManagedSession& session, base::Lun lun, AbsentUnit unit, ipc::Event event) {
    // By hand means that none comes by itself.
    unit.may_come = unit.may_come && session.node.text(records::Key::session_scan) != "manual";
    AbsentUnit& known = session.absent[lun];
    if (known.why != unit.why) {
        log::write(ipc::row_of(event).level, about(session, lun, event),
                   fmt::format("session {} {}", session.sid, unit.why));
    }
    known = std::move(unit);
}

} // namespace

void skip_unit(ManagedSession& session, const scsi::LunFacts& facts, const std::string& why) {
    AbsentUnit unit{why + ": skipped", scsi::only_answers_inquiries(facts.access.state)};
    set_absent(session, facts.lun, std::move(unit), ipc::Event::lun_absent);
}

void skip_silent_unit(ManagedSession& session, base::Lun lun, const base::Error& error) {
    AbsentUnit unit{fmt::format("LUN {}: {}", scsi::describe_lun(lun), error.message()),
                    error.code == base::Errc::again};
    set_absent(session, lun, std::move(unit), ipc::Event::lun_silent);
}

void forget_unlisted(ManagedSession& session, const std::vector<base::Lun>& listed) {
    std::erase_if(session.absent,
                  [&](const auto& unit) { return std::ranges::find(listed, unit.first) == listed.end(); });
}

void note_absent(ManagedSession& session, base::TimePoint now) {
    for (const auto& [lun, unit] : session.absent) {
        if (unit.may_come) {
            session.agenda.note(lun, scsi::Effect::asymmetric_access_changed, now);
        }
    }
}

} // namespace iscsi::control
