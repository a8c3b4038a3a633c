// What targets say about their units beside what they were asked: logged, and looked after. A look waits for
// no other one and for no block device: its users may be waiting for the look.
#include "control/about.hpp"
#include "control/absent.hpp"
#include "control/daemon.hpp"
#include "control/scan.hpp"
#include "records/fields.hpp"
#include "scsi/capacity.hpp"
#include "scsi/sense.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <utility>

namespace iscsi::control {
namespace {

using records::Key;
using scsi::Effect;
using State = ManagedSession::State;

/// While a session is on its way back nothing can be looked at.
constexpr base::Duration recovery_step = std::chrono::seconds(1);

struct Words {
    Effect effect;
    ipc::Event event;
    const char* text;
};

/// The first that fits is what a person reads.
constexpr std::array words{
    Words{Effect::thin_exhausted, ipc::Event::space_exhausted, "the target has no space left: writes fail"},
    Words{Effect::deferred_error, ipc::Event::write_failed, "a write failed after it was acknowledged"},
    Words{Effect::our_fault, ipc::Event::data_refused, "the target found fault with the data sent to it"},
    Words{Effect::unit_gone, ipc::Event::lun_removed, "the target has no such unit any more"},
    Words{Effect::thin_threshold, ipc::Event::space_low, "the target will run out of space soon"},
    Words{Effect::reservations_changed, ipc::Event::reservation_lost, "a reservation may be gone"},
    Words{Effect::asymmetric_access_changed, ipc::Event::lun_changed, "its access states are looked at"},
    Words{Effect::luns_changed, ipc::Event::units_changed, "the target's units are looked at"},
};

void tell(const ManagedSession& session, base::Lun lun, scsi::Effects news, scsi::SenseCode sense) {
    if (news.none()) {
        return;
    }
    const auto* found = std::ranges::find_if(words, [&](const Words& one) { return news.has(one.effect); });
    const bool silent = found == words.end();
    log::event(about(session, lun, silent ? ipc::Event::lun_changed : found->event), "{}{}{}",
               scsi::describe(sense), silent ? "" : ": ", silent ? "" : found->text);
}

/// The list of units has changed.
void note_luns(ManagedSession& session, base::TimePoint now) {
    if (session.node.text(Key::session_scan) != "manual") {
        return session.agenda.note_luns(now);
    }
    // None is added, but another may be in the place of one.
    for (const auto& served : session.luns) {
        session.agenda.note(served->facts.lun, Effect::inquiry_changed, now);
    }
}

bool can_look(const ManagedSession& session) {
    return session.state == State::running || session.state == State::logging_in;
}

} // namespace

void Daemon::on_lun_news(ManagedSession& session, base::Lun lun, const scsi::Disposition& news) {
    if (session.state == State::ending) {
        return;
    }
    const base::TimePoint now = loop_->now();
    const auto served = find_served(session, lun);
    const bool is_open = session.resumed_in == session.openings;
    if (is_open && news.effects.has(Effect::identity_doubt)) {
        doubt_others(session, lun);
    }
    if (served != nullptr && news.effects.has(Effect::not_compared)) {
        on_given_up(session, *served);
    }
    if (served != nullptr && !is_open) {
        served->cache.on_attention(news.effects);
    }
    if (served != nullptr && news.effects.has(Effect::writes_lost)) {
        recoveries_.spawn(tell_of_losses(session, served));
    }
    if (served != nullptr) {
        const scsi::Effects of_target = news.effects.without(Effect::not_compared | Effect::writes_lost);
        tell(session, lun, served->told.news(of_target, now), news.sense);
        session.agenda.note(lun, news.effects, now);
    } else {
        // An asynchronous event can name any number: only what it says of the target counts.
        tell(session, lun, session.told.news(news.effects, now), news.sense);
    }
    ManagedSession& leader = leader_of(session); // scans
    if (news.effects.has(Effect::luns_changed)) {
        note_luns(leader, now);
    }
    if (news.effects.has(Effect::asymmetric_access_changed)) {
        note_absent(leader, now); // mostly it is not one unit that changes, and nothing is sent to these
    }
    begin_reacting(session);
    if (&leader != &session) {
        begin_reacting(leader);
    }
}

void Daemon::on_news_missed(ManagedSession& session) {
    if (session.state == State::ending) {
        return;
    }
    note_luns(leader_of(session), loop_->now());
    begin_reacting(leader_of(session));
    for (const auto* units : {&session.luns, &session.attaching}) {
        for (const auto& served : *units) {
            session.agenda.note(served->facts.lun, Effect::identity_doubt, loop_->now());
        }
    }
    begin_reacting(session);
}

/// Its Lun sends nothing any more, as if it had been told to.
void Daemon::on_given_up(ManagedSession& session, ServedLun& served) {
    if (!std::exchange(served.barred, true)) {
        log::event(about(session, served, ipc::Event::lun_doubtful),
                   "not known for {} s whether it is still {}: I/O fails until it is",
                   std::chrono::duration_cast<std::chrono::seconds>(config_.doubt_max).count(),
                   scsi::identity(served.facts));
    }
    watch(session);
}

void Daemon::begin_reacting(ManagedSession& session) {
    session.news.set();
    if (session.agenda.due() && !std::exchange(session.reacting, true)) {
        recoveries_.spawn(react(session));
    }
}

/// For now the unit did not tell what it was looked at for. Its users wait when it may be another one.
void Daemon::look_later(ManagedSession& session, base::Lun lun, bool in_doubt) {
    session.agenda.note(lun, in_doubt ? Effect::identity_doubt : Effect::inquiry_changed, loop_->now());
    begin_reacting(session);
}

ring::Task<void> Daemon::react(ManagedSession& session) {
    ManagedSession::Use use(session);
    while (session.state != State::ending) {
        base::Deadline due = session.agenda.due();
        if (!due) {
            break;
        }
        if (!can_look(session)) {
            due = loop_->now() + recovery_step;
        }
        session.news.reset();
        ring::EventOrDeadline waiting(*loop_, session.news, due);
        co_await waiting;
        if (!can_look(session)) {
            continue;
        }
        ScanAgenda::Work work = session.agenda.take(loop_->now());
        if (work.luns && (session.state != State::running || session.rescanning || session.leaving)) {
            session.agenda.note_luns(loop_->now()); // that scan may have asked before
        } else if (work.luns) {
            session.rescanning = true;
            recoveries_.spawn(scan_again(session));
        }
        for (const ScanAgenda::Unit& unit : work.units) {
            recoveries_.spawn(look_at(session, unit));
        }
    }
    session.reacting = false;
}

ring::Task<void> Daemon::scan_again(ManagedSession& session) {
    ManagedSession::Use use(session);
    std::string note;
    auto scanned = co_await scan_and_attach(session, note);
    if (!scanned && session.state != State::ending) {
        log::warning(about(session), "{}", scanned.error().message());
    }
    session.rescanning = false;
}

/// One look, which holds up no other: a unit that does not answer takes its time.
ring::Task<void> Daemon::look_at(ManagedSession& session, ScanAgenda::Unit unit) {
    ManagedSession::Use use(session);
    co_await look_at_unit(session, unit);
    session.agenda.done(unit.lun, loop_->now());
    if (session.state != State::ending) {
        start_resizing(session);
        begin_reacting(session);
    }
}

ring::Task<void> Daemon::look_at_unit(ManagedSession& session, ScanAgenda::Unit unit) {
    const std::shared_ptr<ServedLun> served = find_served(session, unit.lun);
    if (!can_look(session)) {
        co_return; // the next login compares
    }
    if (served == nullptr) {
        co_return co_await look_at_absent(session, unit.lun);
    }
    const unsigned opening = session.openings;
    Scanner scanner = scanner_of(session);
    bool in_doubt = unit.in_doubt;
    auto now = co_await scanner.inspect(unit.lun);
    while (can_look(session) && session.openings == opening && is_the_same(*served, now) &&
           has_leftovers(session, *served, *now)) {
        in_doubt = true; // its users wait for this
        auto drained = co_await drain(session, *served, *now);
        if (!drained) {
            now = base::fail(std::move(drained.error()));
            break;
        }
        now = co_await scanner.inspect(unit.lun);
    }
    const bool is_over = !now && is_cut_off(now.error());
    if (is_over || session.openings != opening || !can_look(session)) {
        co_return; // the next login compares
    }
    in_doubt = in_doubt || scanner.met_doubt();
    if (!now && in_doubt && now.error().code == base::Errc::again) {
        if (!served->barred) {
            look_later(session, unit.lun, true); // else watch_units() does
        }
        co_return;
    }
    if (!now && !in_doubt) {
        report_trouble(session, *served, now.error());
        if (now.error().code == base::Errc::again) {
            look_later(session, unit.lun, false); // what there was to see is not known yet
        }
        co_return;
    }
    if (use_look(*served, scanner.began_at())) {
        co_await look_again(session, *served, std::move(now));
    }
}

/// Is it there now, a scan shows it.
ring::Task<void> Daemon::look_at_absent(ManagedSession& session, base::Lun lun) {
    Scanner scanner = scanner_of(session);
    auto now = co_await scanner.inspect(lun);
    if (now && scsi::is_disk(*now) && session.absent.contains(lun)) {
        session.agenda.note_luns(loop_->now());
    }
}

Scanner Daemon::scanner_of(ManagedSession& session) {
    auto news = [this, &session](base::Lun lun, const scsi::Disposition& told) {
        on_lun_news(session, lun, told);
    };
    Scanner scanner(*loop_, session.shard.loop(), *session.nexus, news);
    scanner.stop_at(session.interrupted);
    return scanner;
}

} // namespace iscsi::control
