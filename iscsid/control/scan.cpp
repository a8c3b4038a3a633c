#include "control/scan.hpp"

#include "control/log.hpp"
#include "scsi/disposition.hpp"
#include "scsi/sense.hpp"
#include "scsi/status.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <utility>

namespace iscsi::control {
namespace {

namespace limits = base::limits;

/// A pause ends that soon after the end was called.
constexpr base::Duration pause_step = std::chrono::milliseconds(100);

constexpr std::uint16_t inquiry_bytes_first = 36;
/// istgt never answers when this is more than our MaxRecvDataSegmentLength, which is seldom below its
/// default.
constexpr std::uint32_t report_luns_bytes_first = 4096;
/// The well known logical unit that answers REPORT LUNS where LUN 0 does not (SPC-4 8.2).
constexpr base::Lun report_luns_unit(0xc101000000000000);

/// Of the command alone.
constexpr scsi::Effects no_news =
    scsi::Effect::attention | scsi::Effect::feature_unsupported | scsi::Effect::queue_full;

/// News at its beginning of which an inspection shows everything.
constexpr scsi::Effects shown_by_inspection =
    scsi::Effect::capacity_changed | scsi::Effect::mode_changed | scsi::Effect::inquiry_changed |
    scsi::Effect::power_on_reset | scsi::Effect::asymmetric_access_changed | scsi::Effect::needs_start |
    scsi::Effect::unit_gone | scsi::Effect::identity_doubt;

base::Error failure(const scsi::Cdb& cdb, const shard::PassThroughReply& reply,
                    const scsi::Disposition& disposition) {
    base::Error error;
    if (reply.outcome == session::Outcome::lost) {
        error.code = base::Errc::transport;
        error.detail = "the session was lost";
        return error;
    }
    error.code = disposition.action == scsi::Action::fail ? base::Errc::login : base::Errc::again;
    error.detail =
        fmt::format("{} ended with {} ({})", scsi::command_name(cdb.bytes),
                    scsi::text(static_cast<scsi::Status>(reply.status)), scsi::describe(disposition.sense));
    return error;
}

/// It ended badly, but only after it had begun.
bool was_carried_out(const shard::PassThroughReply& reply, const scsi::Disposition& disposition) {
    using enum scsi::SenseKey;
    const scsi::SenseKey key = disposition.sense.key;
    return reply.outcome == session::Outcome::responded &&
           static_cast<scsi::Status>(reply.status) == scsi::Status::check_condition &&
           key != unit_attention && key != not_ready && key != aborted_command;
}

scsi::Disposition disposition_of(const shard::PassThroughReply& reply) {
    return reply.outcome == session::Outcome::target_failure ? scsi::classify_service_response(reply.response)
                                                             : scsi::classify(reply.status, reply.sense);
}

} // namespace

ring::Task<shard::PassThroughReply> Scanner::execute(const Ask& ask, std::vector<std::byte>& data) {
    shard::PassThrough request;
    request.lun = ask.lun;
    request.cdb = ask.cdb.bytes;
    request.cdb_bytes = ask.cdb.length;
    request.data_in = data;
    request.timeout = ask.timeout;
    request.attribute = ask.attribute;
    auto work = [this, &request] { return nexus_.execute(request); };
    ring::Call call(here_, there_, work);
    auto reply = co_await call;
    co_return reply;
}

void Scanner::pass_on(base::Lun lun, scsi::Disposition disposition) {
    if (disposition.effects.has(scsi::Effect::identity_doubt)) {
        met_doubt_ = true;
        doubtful_ = doubtful_ || disposition.effects.has(scsi::Effect::attention);
    }
    if (disposition.effects.has(scsi::Effect::unit_gone)) {
        return; // an answer to what the scan has asked; news of it would be scanned for again, without end
    }
    disposition.effects = disposition.effects.without(found_out_).without(no_news);
    if (news_ && !disposition.effects.none()) {
        news_(lun, disposition);
    }
}

ring::Task<Scanner::Answer> Scanner::ask(Ask ask) {
    scsi::RetryTimes times;
    times.busy = times.transition = limits::scsi_scan_timeout;
    scsi::Retry tries;
    tries.begin();
    bool started = false;
    std::vector<std::byte> data(ask.data_bytes);
    while (!stopped()) {
        auto reply = co_await execute(ask, data);
        scsi::Disposition disposition = disposition_of(reply);
        const bool lost = reply.outcome == session::Outcome::lost;
        if (!lost) {
            pass_on(ask.lun, disposition);
        }
        if (!lost && disposition.action == scsi::Action::success) {
            data.resize(reply.received_bytes);
            co_return Answer(std::move(data));
        }
        base::Deadline again_at;
        if (!lost && ask.any_answer && was_carried_out(reply, disposition)) {
            co_return Answer(std::move(data));
        }
        if (!lost && disposition.action != scsi::Action::fail) {
            again_at = tries.next(disposition, here_.now(), times);
        }
        if (!again_at) {
            co_return base::fail(failure(ask.cdb, reply, disposition));
        }
        if (disposition.effects.has(scsi::Effect::needs_start) && !std::exchange(started, true)) {
            co_await start(ask.lun);
        }
        co_await pause(*again_at);
    }
    co_return base::fail(base::Errc::cancelled, "the session is being ended");
}

/// Whether it could be started shows in what comes behind.
ring::Task<void> Scanner::start(base::Lun lun) {
    Ask start;
    start.lun = lun;
    start.cdb = scsi::start_stop_unit(true);
    std::vector<std::byte> nothing;
    int tries_left = limits::scsi_attentions_max;
    while (!stopped() && tries_left-- > 0) {
        auto reply = co_await execute(start, nothing);
        if (reply.outcome == session::Outcome::lost) {
            break;
        }
        const scsi::Disposition disposition = disposition_of(reply);
        pass_on(lun, disposition);
        if (!disposition.effects.has(scsi::Effect::attention)) {
            break; // that one was not carried out
        }
    }
}

/// Many may wait for the same end, and an event has one waiter.
ring::Task<void> Scanner::pause(base::TimePoint until) {
    while (!stopped() && here_.now() < until) {
        ring::Sleep step(here_, std::min(until, here_.now() + pause_step));
        co_await step;
    }
}

ring::Task<Scanner::Answer> Scanner::list_units(base::Lun lun, std::uint32_t bytes) {
    Ask list;
    list.lun = lun;
    list.cdb = scsi::report_luns(scsi::LunReport::addressable, bytes);
    list.data_bytes = bytes;
    auto answer = co_await ask(list);
    co_return answer;
}

ring::Task<base::Result<UnitList>> Scanner::report_luns() {
    using Units = base::Result<UnitList>;
    constexpr int tries_max = 8; // a list that always grows
    base::Lun asked;
    std::uint32_t bytes = report_luns_bytes_first;
    found_out_ = scsi::Effect::luns_changed;
    for (int tries = 0; tries < tries_max; ++tries) {
        auto answer = co_await list_units(asked, bytes);
        if (!answer && answer.error().code != base::Errc::login) {
            co_return base::fail(std::move(answer.error()));
        }
        if (!answer && asked == base::Lun()) {
            log::debug("REPORT LUNS: {}; asking the well known unit", answer.error().message());
            asked = report_luns_unit;
            continue;
        }
        if (!answer) {
            auto tried = co_await try_luns();
            co_return tried;
        }
        auto read = scsi::read_report_luns(*answer);
        if (!read) {
            co_return base::fail(std::move(read.error()));
        }
        if (read->complete || read->needed_bytes <= bytes) {
            UnitList units;
            units.luns = std::move(read->luns);
            units.told = read->complete;
            co_return Units(std::move(units));
        }
        bytes = static_cast<std::uint32_t>(read->needed_bytes);
    }
    co_return base::fail(base::Errc::login, "REPORT LUNS: the list grows while it is read");
}

/// SCSI-2 and what answers like it: units follow each other from 0.
ring::Task<base::Result<UnitList>> Scanner::try_luns() {
    using Units = base::Result<UnitList>;
    constexpr std::uint64_t luns_max = 8;
    UnitList units;
    units.told = false;
    for (std::uint64_t number = 0; number < luns_max; ++number) {
        scsi::LunFacts facts;
        facts.lun = scsi::lun_from_number(number);
        auto asked = co_await inquire(facts);
        if (!asked && is_cut_off(asked.error())) {
            co_return base::fail(std::move(asked.error()));
        }
        if (number != 0 && (!asked || facts.peripheral_qualifier != 0)) {
            break;
        }
        units.luns.push_back(facts.lun);
    }
    log::debug("no REPORT LUNS: {} unit(s) found one by one", units.luns.size());
    co_return Units(std::move(units));
}

ring::Task<base::Result<void>> Scanner::inquire(scsi::LunFacts& facts) {
    Ask inquiry;
    inquiry.lun = facts.lun;
    inquiry.cdb = scsi::inquiry(inquiry_bytes_first);
    inquiry.data_bytes = inquiry_bytes_first;
    auto answer = co_await ask(inquiry);
    if (!answer) {
        co_return base::fail(std::move(answer.error()));
    }
    co_return scsi::apply_inquiry(facts, *answer);
}

ring::Task<base::Result<scsi::LunFacts>> Scanner::inspect(base::Lun lun) {
    constexpr int turns_max = 5; // of a unit that changes all the time
    met_doubt_ = false;
    for (int turn = 1;; ++turn) {
        doubtful_ = false;
        began_at_ = ring::monotonic_now();
        auto facts = co_await inspect_once(lun);
        if (!doubtful_ || (!facts && is_cut_off(facts.error()))) {
            co_return facts;
        }
        if (turn == turns_max) {
            co_return base::fail(base::Errc::again, "another unit may answer each time it is looked at");
        }
    }
}

ring::Task<base::Result<scsi::LunFacts>> Scanner::inspect_once(base::Lun lun) {
    using Facts = base::Result<scsi::LunFacts>;
    scsi::LunFacts facts;
    facts.lun = lun;
    found_out_ = shown_by_inspection;
    auto inquired = co_await inquire(facts);
    if (!inquired) {
        co_return base::fail(std::move(inquired.error()));
    }
    const bool disk =
        facts.peripheral_qualifier == 0 && (facts.peripheral_type == scsi::peripheral::disk ||
                                            facts.peripheral_type == scsi::peripheral::simplified_disk ||
                                            facts.peripheral_type == scsi::peripheral::zoned_disk);
    if (!disk) {
        co_return Facts(std::move(facts));
    }
    auto ready = co_await wait_until_ready(lun);
    if (!ready && is_cut_off(ready.error())) {
        co_return base::fail(std::move(ready.error()));
    }
    // What comes from here on may have changed behind the command that has read it.
    found_out_ = {};
    auto paged = co_await read_pages(facts);
    if (!paged) {
        co_return base::fail(std::move(paged.error()));
    }
    co_await read_access(facts);
    if (!ready && nexus_alive_ && scsi::only_answers_inquiries(facts.access.state)) {
        co_return Facts(std::move(facts));
    }
    if (!ready) {
        co_return base::fail(std::move(ready.error()));
    }
    auto rest = co_await read_rest(facts);
    if (!rest) {
        co_return base::fail(std::move(rest.error()));
    }
    co_return Facts(std::move(facts));
}

ring::Task<base::Result<void>> Scanner::wait_until_ready(base::Lun lun) {
    Ask test;
    test.lun = lun;
    test.cdb = scsi::test_unit_ready();
    auto answer = co_await ask(test);
    if (!answer) {
        co_return base::fail(std::move(answer.error()));
    }
    co_return base::Result<void>();
}

ring::Task<base::Result<void>> Scanner::synchronize_cache(base::Lun lun) {
    Ask flush;
    flush.lun = lun;
    flush.cdb = scsi::synchronize_cache10();
    flush.timeout = limits::scsi_flush_timeout;
    auto answer = co_await ask(flush);
    if (!answer) {
        co_return base::fail(std::move(answer.error()));
    }
    co_return base::Result<void>();
}

ring::Task<base::Result<void>> Scanner::drain(const scsi::LunFacts& unit) {
    Ask read;
    read.lun = unit.lun;
    read.cdb = scsi::read_blocks(base::Lba(0), base::BlockCount(1), false);
    read.data_bytes = unit.block_bytes;
    read.attribute = session::TaskAttribute::ordered;
    read.timeout = limits::scsi_drain_timeout;
    read.any_answer = true;
    auto answer = co_await ask(read);
    const bool answered = answer || answer.error().code == base::Errc::login;
    if (!answered) {
        co_return base::fail(std::move(answer.error()));
    }
    co_return base::Result<void>();
}

} // namespace iscsi::control
