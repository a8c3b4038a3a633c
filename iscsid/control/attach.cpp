// Units of a session: found by the scan, shown as block devices, taken away again.
#include "block/nbd_export.hpp"
#include "control/daemon.hpp"
#include "control/log.hpp"
#include "control/scan.hpp"
#include "records/fields.hpp"
#include "scsi/capacity.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace iscsi::control {
namespace {

using records::Key;

constexpr std::int64_t depth_max = 1024;

/// Gives the queue a handler that is made first, and the handler the queue.
base::Result<void> make_on_shard(ManagedSession& session, ServedLun& served) {
    shard::Shard& shard = session.shard;
    auto depth = std::clamp<std::int64_t>(session.node.number(Key::session_queue_depth), 1, depth_max);
    served.lun = std::make_unique<shard::Lun>(shard.loop(), *session.nexus, served.facts,
                                              static_cast<std::uint32_t>(depth));
    block::QueueContext context{shard.loop(), shard.pool(), *served.lun};
    auto queue = served.device->make_queue(context);
    if (!queue) {
        served.lun.reset();
        return base::fail(std::move(queue.error()));
    }
    served.queue = std::move(*queue);
    served.lun->attach(*served.queue);
    return {};
}

ring::Task<void> close_on_shard(std::unique_ptr<block::BlockQueue> queue, std::unique_ptr<shard::Lun> lun) {
    ring::Event closed;
    queue->close([&closed] { closed.set(); });
    co_await closed;
    queue.reset();
    lun.reset();
}

std::string why_nothing(std::size_t units, std::size_t others) {
    if (units == 0) {
        return "the target shows no logical unit to this initiator";
    }
    return fmt::format("none of the {} logical unit(s) that the target shows is a disk ({} of other types)",
                       units, others);
}

} // namespace

ring::Task<base::Result<void>> Daemon::scan_and_attach(ManagedSession& session, std::string& note) {
    if (session.node.text(Key::session_scan) == "manual" &&
        session.state == ManagedSession::State::logging_in) {
        co_return base::Result<void>();
    }
    Scanner scanner(*loop_, session.shard.loop(), *session.nexus);
    auto luns = co_await scanner.report_luns();
    if (!luns) {
        co_return base::fail(std::move(luns.error()));
    }
    std::size_t others = 0;
    for (base::Lun lun : *luns) {
        if (session.state == ManagedSession::State::ending) {
            co_return base::fail(base::Errc::cancelled, "the session is being ended");
        }
        auto facts = co_await scanner.inspect(lun);
        if (!facts && facts.error().code == base::Errc::transport) {
            co_return base::fail(std::move(facts.error()));
        }
        if (!facts) {
            log::warning("session {} LUN {}: {}", session.sid, scsi::describe_lun(lun),
                         facts.error().message());
            continue;
        }
        auto served =
            std::ranges::find_if(session.luns, [&](const auto& known) { return known->facts.lun == lun; });
        if (served != session.luns.end()) {
            co_await look_again(session, **served, *facts);
            continue;
        }
        if (!scsi::is_disk(*facts)) {
            ++others;
            log::debug("session {} LUN {}: not a disk (type {:02x}h), skipped", session.sid,
                       scsi::describe_lun(lun), facts->peripheral_type);
            continue;
        }
        auto attached = co_await attach(session, *facts);
        if (!attached) {
            log::error("session {} LUN {}: {}", session.sid, scsi::describe_lun(lun),
                       attached.error().message());
            note = attached.error().message();
        }
    }
    if (session.luns.empty() && note.empty()) {
        note = why_nothing(luns->size(), others);
        log::warning("session {}: {}", session.sid, note);
    }
    co_return base::Result<void>();
}

ring::Task<base::Result<void>> Daemon::attach(ManagedSession& session, const scsi::LunFacts& facts) {
    auto served = std::make_unique<ServedLun>();
    served->facts = facts;
    block::NbdExport::Place place{config_.paths.luns_dir(), config_.paths.by_path_dir()};
    block::DeviceIdentity identity;
    identity.address = session.id.portal.address;
    identity.port = session.id.portal.port;
    identity.target = session.id.target;
    identity.lun = facts.lun;
    auto device = block::NbdExport::create(place, identity, shard::block_attributes(facts));
    if (!device) {
        co_return base::fail(std::move(device.error()));
    }
    served->device = std::move(*device);
    auto work = [&] { return make_on_shard(session, *served); };
    ring::Call call(*loop_, session.shard.loop(), work);
    auto made = co_await call;
    if (!made) {
        co_return made;
    }
    auto started = co_await served->device->start();
    if (!started) {
        co_await detach(session, *served);
        co_return started;
    }
    log::info("session {} LUN {}: {} {} {}, {} blocks of {} bytes, {} at {}", session.sid,
              scsi::lun_number(facts.lun), facts.vendor, facts.product, scsi::identity(facts),
              facts.blocks.value(), facts.block_bytes, facts.read_only ? "read only" : "writable",
              served->device->path());
    session.luns.push_back(std::move(served));
    co_return base::Result<void>();
}

/// A rescan found a unit where one is served.
ring::Task<void> Daemon::look_again(ManagedSession& session, ServedLun& served, const scsi::LunFacts& facts) {
    if (scsi::is_disk(facts) && scsi::same_unit(served.facts, facts)) {
        co_await update(session, served, facts);
        co_return;
    }
    log::error("session {} LUN {}: was {}, is now {}: no I/O is sent to it", session.sid,
               scsi::describe_lun(facts.lun), scsi::identity(served.facts), scsi::identity(facts));
    co_await bar(session, served);
}

ring::Task<void> Daemon::bar(ManagedSession& session, ServedLun& served) {
    auto work = [&served] { served.lun->bar(); };
    ring::Call call(*loop_, session.shard.loop(), work);
    co_await call;
}

/// The same unit; its size or what it can do may have changed.
ring::Task<void> Daemon::update(ManagedSession& session, ServedLun& served, const scsi::LunFacts& facts) {
    bool resizes = served.facts.blocks != facts.blocks;
    block::Attributes attributes = shard::block_attributes(facts);
    auto work = [&] {
        served.lun->update(facts);
        if (resizes) {
            served.queue->resize(attributes);
        }
    };
    ring::Call call(*loop_, session.shard.loop(), work);
    co_await call;
    base::BlockCount before = std::exchange(served.facts, facts).blocks;
    if (!resizes) {
        co_return;
    }
    log::info("session {} LUN {}: {} blocks, were {}", session.sid, scsi::describe_lun(facts.lun),
              facts.blocks.value(), before.value());
    auto resized = co_await served.device->resize(attributes);
    if (!resized) {
        log::error("session {} LUN {}: {}", session.sid, scsi::describe_lun(facts.lun),
                   resized.error().message());
    }
}

ring::Task<void> Daemon::detach(ManagedSession& session, ServedLun& served) {
    auto removed = co_await served.device->remove();
    if (!removed) {
        log::error("session {} LUN {}: {}", session.sid, scsi::describe_lun(served.facts.lun),
                   removed.error().message());
    }
    if (served.queue == nullptr) {
        co_return;
    }
    auto work = [&] { return close_on_shard(std::move(served.queue), std::move(served.lun)); };
    ring::Call call(*loop_, session.shard.loop(), work);
    co_await call;
}

ring::Task<void> Daemon::resume(ManagedSession& session) {
    auto work = [nexus = session.nexus.get()] { nexus->resume(); };
    ring::Call call(*loop_, session.shard.loop(), work);
    co_await call;
}

ring::Task<void> Daemon::fail_path(ManagedSession& session) {
    auto work = [nexus = session.nexus.get()] { nexus->fail(); };
    ring::Call call(*loop_, session.shard.loop(), work);
    co_await call;
}

ring::Task<ipc::Reply> Daemon::rescan(ipc::Rescan request) {
    ManagedSession* session = registry_.find(request.sid);
    bool can = session != nullptr && session->state == ManagedSession::State::running && !session->rescanning;
    if (!can) {
        ipc::ErrorReply refused{{session == nullptr ? base::Errc::session_not_found : base::Errc::again, {}}};
        co_return ipc::Reply(std::move(refused));
    }
    ManagedSession::Use use(*session);
    std::string note;
    session->rescanning = true;
    auto scanned = co_await scan_and_attach(*session, note);
    session->rescanning = false;
    if (!scanned) {
        ipc::ErrorReply failed{std::move(scanned.error())};
        co_return ipc::Reply(std::move(failed));
    }
    co_return ipc::Reply(ipc::Done());
}

} // namespace iscsi::control
