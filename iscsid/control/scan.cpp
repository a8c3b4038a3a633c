#include "control/scan.hpp"

#include "base/limits.hpp"
#include "control/log.hpp"
#include "scsi/disposition.hpp"
#include "scsi/sense.hpp"
#include "scsi/status.hpp"

#include <array>
#include <fmt/format.h>
#include <utility>

namespace iscsi::control {
namespace {

namespace limits = base::limits;

constexpr std::uint16_t inquiry_bytes_first = 36;
constexpr std::uint16_t page_bytes = 4096;
/// istgt never answers when this is more than our MaxRecvDataSegmentLength, which is seldom below its
/// default.
constexpr std::uint32_t report_luns_bytes_first = 4096;
constexpr std::uint8_t spc3 = 5;

/// A page of VPD data and what it adds to the facts.
struct Page {
    std::uint8_t code;
    base::Result<void> (*apply)(scsi::LunFacts&, base::Bytes);
};

constexpr std::array pages{
    Page{scsi::vpd::unit_serial_number, &scsi::apply_unit_serial_number},
    Page{scsi::vpd::device_identification, &scsi::apply_device_identification},
    Page{scsi::vpd::block_limits, &scsi::apply_block_limits},
    Page{scsi::vpd::block_characteristics, &scsi::apply_block_characteristics},
    Page{scsi::vpd::logical_block_provisioning, &scsi::apply_logical_block_provisioning},
};

base::Error failure(const scsi::Cdb& cdb, const shard::PassThroughReply& reply,
                    const scsi::Disposition& disposition) {
    base::Error error;
    if (reply.outcome == session::Outcome::lost) {
        error.code = base::Errc::transport;
        error.detail = "the session was lost";
        return error;
    }
    error.code = disposition.action == scsi::Action::retry_later ? base::Errc::again : base::Errc::login;
    error.detail =
        fmt::format("{} ended with {} ({})", scsi::command_name(cdb.bytes),
                    scsi::text(static_cast<scsi::Status>(reply.status)), scsi::describe(disposition.sense));
    return error;
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
    request.timeout = limits::scsi_scan_timeout;
    auto work = [this, &request] { return nexus_.execute(request); };
    ring::Call call(here_, there_, work);
    auto reply = co_await call;
    co_return reply;
}

ring::Task<Scanner::Answer> Scanner::ask(Ask ask) {
    base::TimePoint give_up_at = here_.now() + limits::scsi_scan_timeout;
    unsigned retries = 0;
    unsigned attentions = 0;
    std::vector<std::byte> data(ask.data_bytes);
    for (;;) {
        auto reply = co_await execute(ask, data);
        scsi::Disposition disposition = disposition_of(reply);
        if (reply.outcome != session::Outcome::lost && disposition.action == scsi::Action::success) {
            data.resize(reply.received_bytes);
            co_return Answer(std::move(data));
        }
        bool attention = disposition.effects.has(scsi::Effect::attention);
        unsigned& count = attention ? attentions : retries;
        bool out_of_tries = ++count > (attention ? limits::scsi_attentions_max : limits::scsi_retries_max);
        bool later = disposition.action == scsi::Action::retry_later;
        bool gone = reply.outcome == session::Outcome::lost || disposition.action == scsi::Action::fail;
        if (gone || (later ? here_.now() > give_up_at : out_of_tries)) {
            co_return base::fail(failure(ask.cdb, reply, disposition));
        }
        if (later) {
            ring::Sleep pause(here_, here_.now() + disposition.delay);
            co_await pause;
        }
    }
}

ring::Task<base::Result<std::vector<base::Lun>>> Scanner::report_luns() {
    using Luns = base::Result<std::vector<base::Lun>>;
    std::uint32_t bytes = report_luns_bytes_first;
    for (;;) {
        Ask list;
        list.cdb = scsi::report_luns(scsi::LunReport::addressable, bytes);
        list.data_bytes = bytes;
        auto answer = co_await ask(list);
        if (!answer && answer.error().code != base::Errc::login) {
            co_return base::fail(std::move(answer.error()));
        }
        if (!answer) {
            log::debug("REPORT LUNS: {}; trying LUN 0 alone", answer.error().message());
            std::vector<base::Lun> only_zero(1);
            co_return Luns(std::move(only_zero));
        }
        auto read = scsi::read_report_luns(*answer);
        if (!read) {
            co_return base::fail(std::move(read.error()));
        }
        if (read->complete || read->needed_bytes <= bytes) {
            co_return Luns(std::move(read->luns));
        }
        bytes = static_cast<std::uint32_t>(read->needed_bytes);
    }
}

ring::Task<base::Result<scsi::LunFacts>> Scanner::inspect(base::Lun lun) {
    using Facts = base::Result<scsi::LunFacts>;
    scsi::LunFacts facts;
    facts.lun = lun;
    Ask inquiry;
    inquiry.lun = lun;
    inquiry.cdb = scsi::inquiry(inquiry_bytes_first);
    inquiry.data_bytes = inquiry_bytes_first;
    auto answer = co_await ask(inquiry);
    if (!answer) {
        co_return base::fail(std::move(answer.error()));
    }
    if (auto applied = scsi::apply_inquiry(facts, *answer); !applied) {
        co_return base::fail(std::move(applied.error()));
    }
    bool disk =
        facts.peripheral_qualifier == 0 && (facts.peripheral_type == scsi::peripheral::disk ||
                                            facts.peripheral_type == scsi::peripheral::simplified_disk ||
                                            facts.peripheral_type == scsi::peripheral::zoned_disk);
    if (!disk) {
        co_return Facts(std::move(facts));
    }
    auto ready = co_await wait_until_ready(lun);
    if (!ready) {
        co_return base::fail(std::move(ready.error()));
    }
    co_await read_pages(facts);
    auto sized = co_await read_capacity(facts);
    if (!sized) {
        co_return base::fail(std::move(sized.error()));
    }
    co_await read_modes(facts);
    if (!nexus_alive_) {
        co_return base::fail(base::Errc::transport, "the session was lost");
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

ring::Task<void> Scanner::read_pages(scsi::LunFacts& facts) {
    Ask vpd;
    vpd.lun = facts.lun;
    vpd.cdb = scsi::inquiry_vpd(scsi::vpd::supported_pages, page_bytes);
    vpd.data_bytes = page_bytes;
    auto supported = co_await ask(vpd);
    if (!supported || !scsi::apply_supported_pages(facts, *supported)) {
        note_loss(supported);
        co_return;
    }
    for (const Page& page : pages) {
        if (!facts.vpd_pages.test(page.code)) {
            continue;
        }
        vpd.cdb = scsi::inquiry_vpd(page.code, page_bytes);
        auto answer = co_await ask(vpd);
        note_loss(answer);
        if (!answer) {
            log::debug("VPD page {:02x}h: {}", page.code, answer.error().message());
        } else if (auto applied = page.apply(facts, *answer); !applied) {
            log::debug("VPD page {:02x}h: {}", page.code, applied.error().message());
        }
    }
}

ring::Task<base::Result<void>> Scanner::read_capacity(scsi::LunFacts& facts) {
    constexpr std::uint32_t capacity16_bytes = 32;
    constexpr std::size_t capacity10_bytes = 8;
    Ask ten;
    ten.lun = facts.lun;
    ten.cdb = scsi::read_capacity10();
    ten.data_bytes = capacity10_bytes;
    Ask sixteen = ten;
    sixteen.cdb = scsi::read_capacity16(capacity16_bytes);
    sixteen.data_bytes = capacity16_bytes;
    // The long form says more (physical block, provisioning); old targets have only the short one.
    if (facts.scsi_version >= spc3) {
        auto answer = co_await ask(sixteen);
        if (answer) {
            co_return scsi::apply_read_capacity16(facts, *answer);
        }
        if (answer.error().code != base::Errc::login) {
            co_return base::fail(std::move(answer.error()));
        }
    }
    auto answer = co_await ask(ten);
    if (!answer) {
        co_return base::fail(std::move(answer.error()));
    }
    auto too_large = scsi::apply_read_capacity10(facts, *answer);
    if (!too_large) {
        co_return base::fail(std::move(too_large.error()));
    }
    if (!*too_large) {
        co_return base::Result<void>();
    }
    auto large = co_await ask(sixteen);
    if (!large) {
        co_return base::fail(std::move(large.error()));
    }
    co_return scsi::apply_read_capacity16(facts, *large);
}

ring::Task<void> Scanner::read_modes(scsi::LunFacts& facts) {
    constexpr std::uint8_t mode_bytes = 252;
    for (scsi::ModePage page : {scsi::ModePage::caching, scsi::ModePage::control}) {
        Ask sense;
        sense.lun = facts.lun;
        sense.cdb = scsi::mode_sense6(page, mode_bytes);
        sense.data_bytes = mode_bytes;
        auto answer = co_await ask(sense);
        note_loss(answer);
        if (!answer) {
            log::debug("MODE SENSE: {}", answer.error().message());
        } else if (auto applied = scsi::apply_mode_sense6(facts, *answer); !applied) {
            log::debug("MODE SENSE: {}", applied.error().message());
        }
    }
}

ring::Task<base::Result<void>> Scanner::synchronize_cache(base::Lun lun) {
    Ask flush;
    flush.lun = lun;
    flush.cdb = scsi::synchronize_cache10();
    auto answer = co_await ask(flush);
    if (!answer) {
        co_return base::fail(std::move(answer.error()));
    }
    co_return base::Result<void>();
}

void Scanner::note_loss(const Answer& answer) {
    if (!answer && answer.error().code == base::Errc::transport) {
        nexus_alive_ = false;
    }
}

} // namespace iscsi::control
