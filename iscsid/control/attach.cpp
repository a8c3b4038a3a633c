// Units of a session: found by the scan, shown as block devices, taken away again.
#include "control/about.hpp"
#include "control/absent.hpp"
#include "control/daemon.hpp"
#include "control/resize.hpp"
#include "control/scan.hpp"
#include "control/scan_words.hpp"
#include "records/fields.hpp"
#include "scsi/capacity.hpp"
#include "shard/lun_properties.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <sys/random.h>
#include <utility>

namespace iscsi::control {
namespace {

using records::Key;

/// How long requests wait for a new daemon at least, where the kernel can be told.
constexpr std::int64_t restart_time_min_s = 30;
/// "For ever", as a number that every kernel takes.
constexpr std::int64_t restart_time_max_s = 1'000'000;

block::DeviceIdentity device_identity(const ManagedSession& session, const scsi::LunFacts& facts) {
    block::DeviceIdentity identity;
    identity.address = session.id.portal.address;
    identity.port = session.id.portal.port;
    identity.target = session.id.target;
    identity.lun = facts.lun;
    identity.session = session_suffix(session);
    identity.unit = scsi::identity(facts);
    return identity;
}

/// Its device could not be taken back so far: a second one would be a second page cache.
bool is_orphan(const ManagedSession& session, base::Lun lun) {
    return std::ranges::any_of(session.orphans, [&](const UnitState& unit) { return unit.facts.lun == lun; });
}

std::uint64_t random_cookie() {
    std::uint64_t cookie = 0;
    while (cookie == 0 && ::getrandom(&cookie, sizeof cookie, 0) != sizeof cookie) {
    }
    return cookie;
}

/// A unit that is not served: one to be shown, or one that is named and left alone.
void add_unit(ManagedSession& session, scsi::LunFacts facts, unsigned opening,
              std::vector<std::shared_ptr<ServedLun>>& found, std::vector<std::string>& others) {
    std::string why = why_not_shown(facts);
    if (!why.empty()) {
        skip_unit(session, facts, why);
        others.push_back(std::move(why));
        return;
    }
    session.absent.erase(facts.lun);
    found.push_back(std::make_shared<ServedLun>());
    found.back()->facts = std::move(facts);
    found.back()->compared_in = opening;
}

} // namespace

base::Result<block::KernelDeviceRequest> device_request(const ManagedSession& session,
                                                        const ServedLun& served) {
    block::DeviceIdentity identity = device_identity(session, served.facts);
    auto by_path = block::by_path_name(identity);
    if (!by_path) {
        return base::fail(std::move(by_path.error()));
    }
    block::KernelDeviceRequest request;
    request.cookie = served.cookie;
    request.attributes = shard::block_attributes(served.facts);
    request.depth = queue_depth(session);
    request.queues = queues_ready(session, served.facts.lun);
    request.properties = shard::udev_properties(served.facts, identity);
    auto timeout = session.node.number(Key::session_replacement_timeout);
    request.abandoned_timeout = std::chrono::seconds(
        timeout < 0 ? restart_time_max_s : std::clamp(timeout, restart_time_min_s, restart_time_max_s));
    request.by_path_name = std::move(*by_path);
    return request;
}

ring::Task<base::Result<void>> Daemon::scan_and_attach(ManagedSession& session, std::string& note) {
    if (session.node.text(Key::session_scan) == "manual" &&
        session.state == ManagedSession::State::logging_in) {
        co_return base::Result<void>();
    }
    std::vector<std::shared_ptr<ServedLun>> found;
    auto scanned = co_await find_units(session, found, note);
    if (scanned) {
        co_await attach_all(session, std::move(found), note);
    }
    start_resizing(session);
    if (!scanned) {
        co_return scanned;
    }
    if (session.state == ManagedSession::State::logging_in) {
        std::ranges::sort(session.luns, {}, [](const auto& served) { return served->facts.lun.value(); });
    }
    const std::string absent_note = session.luns.empty() ? note : std::string();
    if (!absent_note.empty() && absent_note != session.absent_note) {
        log::warning(about(session), "{}", note);
    }
    session.absent_note = absent_note;
    co_return base::Result<void>();
}

ring::Task<base::Result<void>> Daemon::find_units(ManagedSession& session,
                                                  std::vector<std::shared_ptr<ServedLun>>& found,
                                                  std::string& note) {
    const unsigned opening = session.openings;
    Scanner scanner = scanner_of(session);
    auto units = co_await scanner.report_luns();
    if (!units) {
        co_return base::fail(std::move(units.error()));
    }
    std::vector<std::string> others;
    for (base::Lun lun : units->luns) {
        if (session.state == ManagedSession::State::ending) {
            co_return base::fail(base::Errc::cancelled, "the session is being ended");
        }
        auto facts = co_await scanner.inspect(lun);
        if (!facts && is_cut_off(facts.error())) {
            co_return base::fail(std::move(facts.error()));
        }
        // Not before: a device that is being taken back may have got there meanwhile.
        const std::shared_ptr<ServedLun> known = find_served(session, lun);
        if (!facts && known) {
            report_trouble(session, *known, facts.error());
        } else if (!facts) {
            skip_silent_unit(session, lun, facts.error());
        }
        if (known && !facts && facts.error().code == base::Errc::again) {
            look_later(session, lun, scanner.met_doubt());
        } else if (known && (facts || scanner.met_doubt())) {
            if (use_look(*known, scanner.began_at())) {
                co_await look_again(session, *known, std::move(facts));
            }
        } else if (facts && !known && !is_orphan(session, lun)) {
            add_unit(session, std::move(*facts), opening, found, others);
        }
    }
    forget_unlisted(session, units->luns);
    watch(session);
    co_await bar_unlisted(session, *units);
    if (session.luns.empty() && found.empty()) {
        note = why_nothing(session.initiator_name, units->luns.size(), others);
    }
    co_return base::Result<void>();
}

ring::Task<void> Daemon::attach_all(ManagedSession& session, std::vector<std::shared_ptr<ServedLun>> units,
                                    std::string& note) {
    while (!backend_is_chosen_) {
        ring::Sleep pause(*loop_, loop_->now() + std::chrono::milliseconds(20));
        co_await pause;
    }
    if (session.leaving) {
        session.agenda.note_luns(loop_->now()); // the logout may yet be refused
        begin_reacting(session);
        co_return;
    }
    for (const std::shared_ptr<ServedLun>& served : units) {
        served->backend = backends_->chosen().value_or(block::Backend::socket);
        served->cookie = served->backend == block::Backend::socket ? 0 : random_cookie();
        served->shown_cache = shard::block_attributes(served->facts).volatile_cache;
        session.attaching.push_back(served);
    }
    // Once, before the first device: should this daemon die now, the next one knows all that outlive it.
    const bool is_lasting = makes_lasting_device(session);
    const bool saved = !is_lasting || save(session);
    // Made one after the other, so that their numbers are in the order of the units; shown all at once.
    ring::TaskGroup attaching;
    for (std::shared_ptr<ServedLun>& served : units) {
        base::Result<void> made = base::fail(base::Errc::database, "nothing can be written to /run");
        if (saved || served->cookie == 0) {
            co_await make_mirrors(session, *served);
            made = co_await make_device(session, *served);
        }
        attaching.spawn(attach(session, std::move(served), std::move(made), note));
    }
    co_await attaching.join();
    // After a first scan log_in() does, without having waited for anything in between.
    if (is_lasting && session.state != ManagedSession::State::logging_in) {
        save(session);
    }
}

ring::Task<void> Daemon::attach(ManagedSession& session, std::shared_ptr<ServedLun> served,
                                base::Result<void> attached, std::string& note) {
    if (attached) {
        attached = co_await compare_again(session, *served);
    }
    if (attached) {
        attached = co_await serve(session, *served);
    }
    if (!attached) {
        log::event(about(session, *served, ipc::Event::lun_failed), "{}", attached.error().message());
        note = attached.error().message();
        co_await detach(session, *served);
        std::erase(session.attaching, served);
        co_return;
    }
    const scsi::LunFacts& unit = served->facts;
    log::event(about(session, *served, ipc::Event::lun_added), "{} {} {}, {} blocks of {} bytes, {} at {}",
               unit.vendor, unit.product, scsi::identity(unit), unit.blocks.value(), unit.block_bytes,
               unit.read_only ? "read only" : "writable", served->device->path());
    std::erase(session.attaching, served);
    compare_size(*served);
    session.luns.push_back(std::move(served));
}

ring::Task<base::Result<void>> Daemon::make_device(ManagedSession& session, ServedLun& served) {
    block::DeviceIdentity identity = device_identity(session, served.facts);
    auto request = device_request(session, served);
    if (!request) {
        co_return base::fail(std::move(request.error()));
    }
    auto device = co_await backends_->create(std::move(identity), std::move(*request));
    if (!device) {
        co_return base::fail(std::move(device.error()));
    }
    served.device = std::move(*device);
    co_return base::Result<void>();
}

ring::Task<void> Daemon::detach(ManagedSession& session, ServedLun& served) {
    if (served.device == nullptr) {
        co_await take_off_shard(session, served);
        co_return;
    }
    auto removed = co_await served.device->remove();
    if (!removed) {
        log::event(about(session, served, ipc::Event::lun_failed), "{}", removed.error().message());
    }
    if (!removed && served.cookie != 0) {
        session.orphans.push_back(unit_state(served));
        save(session);
        if (session.state != ManagedSession::State::ending) {
            recoveries_.spawn(adopt_orphans(session));
        }
    }
    co_await take_off_shard(session, served);
}

ring::Task<void> Daemon::detach_all(ManagedSession& session) {
    ring::TaskGroup detaching;
    for (auto& served : session.luns) {
        detaching.spawn(detach(session, *served));
    }
    co_await detaching.join();
}

ring::Task<ipc::Reply> Daemon::rescan(ipc::Rescan request) {
    ManagedSession* session = registry_.find(request.sid);
    while (session != nullptr && session->rescanning && !session->leaving) {
        // The target may have said itself that its units have changed.
        ring::Sleep pause(*loop_, loop_->now() + std::chrono::milliseconds(20));
        co_await pause;
        session = registry_.find(request.sid);
    }
    bool can = session != nullptr && session->state == ManagedSession::State::running &&
               !session->rescanning && !session->leaving;
    if (!can) {
        ipc::ErrorReply refused{{session == nullptr ? base::Errc::session_not_found : base::Errc::again, {}}};
        co_return ipc::Reply(std::move(refused));
    }
    ManagedSession::Use use(*session);
    std::string note;
    session->rescanning = true;
    auto scanned = co_await scan_and_attach(*session, note);
    session->rescanning = false;
    while (session->resizing) {
        ring::Sleep pause(*loop_, loop_->now() + std::chrono::milliseconds(20));
        co_await pause;
    }
    if (!scanned) {
        ipc::ErrorReply failed{std::move(scanned.error())};
        co_return ipc::Reply(std::move(failed));
    }
    co_return ipc::Reply(ipc::Done());
}

} // namespace iscsi::control
