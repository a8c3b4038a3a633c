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

tl::unexpected<base::Error> cancelled() {
    return base::fail(base::Errc::cancelled, "the session is being ended");
}

scsi::Disposition disposition_of(const shard::PassThroughReply& reply) {
    return reply.outcome == session::Outcome::target_failure ? scsi::classify_service_response(reply.response)
                                                             : scsi::classify(reply.status, reply.sense);
}

} // namespace

ring::Task<std::vector<Scanner::Reply>> Scanner::execute_all(const std::vector<Ask>& asks) {
    std::vector<shard::PassThrough> requests;
    requests.reserve(asks.size());
    for (const Ask& ask : asks) {
        shard::PassThrough& request = requests.emplace_back();
        request.lun = ask.lun;
        request.cdb = ask.cdb.bytes;
        request.cdb_bytes = ask.cdb.length;
        request.data_in_bytes = ask.data_bytes;
        request.timeout = ask.timeout;
        request.attribute = ask.attribute;
    }
    auto work = [this, &requests] { return nexus_.execute_all(std::move(requests)); };
    ring::Call call(here_, there_, work);
    auto replies = co_await call;
    co_return replies;
}

ring::Task<Scanner::Reply> Scanner::execute(const Ask& ask) {
    const std::vector<Ask> one(1, ask);
    auto replies = co_await execute_all(one);
    co_return std::move(replies.front());
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
    if (stopped()) {
        co_return cancelled();
    }
    auto first = co_await execute(ask);
    auto answer = co_await settle(ask, std::move(first));
    co_return answer;
}

ring::Task<std::vector<Scanner::Answer>> Scanner::ask_all(std::vector<Ask> asks) {
    std::vector<Answer> answers;
    if (stopped()) {
        answers.assign(asks.size(), cancelled());
        co_return answers;
    }
    auto replies = co_await execute_all(asks);
    for (std::size_t i = 0; i < asks.size(); ++i) {
        auto settling = settle(asks[i], std::move(replies[i]));
        auto answer = co_await std::move(settling);
        answers.push_back(std::move(answer));
    }
    co_return answers;
}

ring::Task<Scanner::Answer> Scanner::settle(Ask ask, Reply reply) {
    scsi::RetryTimes times;
    times.busy = times.transition = limits::scsi_scan_timeout;
    scsi::Retry tries;
    tries.begin();
    bool started = false;
    for (;;) {
        scsi::Disposition disposition = disposition_of(reply);
        const bool lost = reply.outcome == session::Outcome::lost;
        if (!lost) {
            pass_on(ask.lun, disposition);
        }
        if (!lost && disposition.action == scsi::Action::success) {
            co_return Answer(std::move(reply.data));
        }
        base::Deadline again_at;
        if (!lost && ask.any_answer && was_carried_out(reply, disposition)) {
            co_return Answer(std::move(reply.data));
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
        if (stopped()) {
            co_return cancelled();
        }
        reply = co_await execute(ask);
    }
}

/// Whether it could be started shows in what comes behind.
ring::Task<void> Scanner::start(base::Lun lun) {
    Ask start;
    start.lun = lun;
    start.cdb = scsi::start_stop_unit(true);
    int tries_left = limits::scsi_attentions_max;
    while (!stopped() && tries_left-- > 0) {
        auto reply = co_await execute(start);
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
    auto paged = co_await read_pages(facts, ready.has_value());
    if (!paged) {
        co_return base::fail(std::move(paged.error()));
    }
    auto read = co_await read_access(facts);
    if (!read) {
        co_return base::fail(std::move(read.error()));
    }
    if (!ready && !scsi::only_answers_inquiries(facts.access.state)) {
        co_return base::fail(std::move(ready.error()));
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
