// The parts of Scanner::inspect(): what a unit says of itself beyond INQUIRY, page by page.
#include "control/log.hpp"
#include "control/scan.hpp"

#include <array>
#include <bitset>
#include <utility>

namespace iscsi::control {
namespace {

constexpr std::uint16_t page_bytes = 4096;
constexpr std::uint32_t capacity16_bytes = 32;
constexpr std::uint8_t mode_bytes = 252;
constexpr std::uint8_t spc3 = 5;

/// A page of VPD data and what it adds to the facts.
struct Page {
    std::uint8_t code;
    base::Result<void> (*apply)(scsi::LunFacts&, base::Bytes);
};

constexpr std::array pages{
    Page{scsi::vpd::unit_serial_number, &scsi::apply_unit_serial_number},
    Page{scsi::vpd::device_identification, &scsi::apply_device_identification},
    Page{scsi::vpd::extended_inquiry, &scsi::apply_extended_inquiry},
    Page{scsi::vpd::block_limits, &scsi::apply_block_limits},
    Page{scsi::vpd::block_characteristics, &scsi::apply_block_characteristics},
    Page{scsi::vpd::logical_block_provisioning, &scsi::apply_logical_block_provisioning},
};

/// Not refused, only not answered: what is not known is not taken for absent. A cache that is thought away
/// would make flushes of nothing.
bool is_open(const base::Error& error) {
    return error.code != base::Errc::login;
}

} // namespace

ring::Task<base::Result<void>> Scanner::read_access(scsi::LunFacts& facts) {
    if (facts.target_port_groups == 0 || !facts.identification.target_port_group) {
        co_return base::Result<void>();
    }
    // The longer header tells how long a change may take; targets before SPC-4 refuse to be asked for it.
    for (const bool extended : {true, false}) {
        Ask groups;
        groups.lun = facts.lun;
        groups.cdb = scsi::report_target_port_groups(page_bytes, extended);
        groups.data_bytes = page_bytes;
        auto answer = co_await ask(groups);
        if (!answer && is_cut_off(answer.error())) {
            co_return base::fail(std::move(answer.error()));
        }
        if (answer && scsi::apply_target_port_groups(facts, *answer)) {
            co_return base::Result<void>();
        }
    }
    log::debug("REPORT TARGET PORT GROUPS: no answer that can be used");
    co_return base::Result<void>();
}

ring::Task<base::Result<void>> Scanner::read_pages(scsi::LunFacts& facts, bool serves_data) {
    Ask list;
    list.lun = facts.lun;
    list.cdb = scsi::inquiry_vpd(scsi::vpd::supported_pages, page_bytes);
    list.data_bytes = page_bytes;
    auto supported = co_await ask(list);
    if (!supported && is_open(supported.error())) {
        co_return base::fail(std::move(supported.error()));
    }
    if (supported && !scsi::apply_supported_pages(facts, *supported)) {
        log::debug("VPD page 00h: no list of pages");
    }
    std::vector<Ask> asks = page_asks(facts);
    const std::size_t page_count = asks.size();
    if (serves_data) {
        add_rest(facts, asks);
    }
    // One trip for all: none depends on what another one says.
    auto answers = co_await ask_all(std::move(asks));
    const std::span all(answers);
    auto applied = apply_pages(facts, all.first(page_count));
    if (applied && serves_data) {
        applied = co_await take_rest(facts, all.subspan(page_count));
    }
    co_return applied;
}

std::vector<Scanner::Ask> Scanner::page_asks(const scsi::LunFacts& facts) {
    std::vector<Ask> asks;
    for (const Page& page : pages) {
        if (facts.vpd_pages.test(page.code)) {
            Ask& vpd = asks.emplace_back();
            vpd.lun = facts.lun;
            vpd.cdb = scsi::inquiry_vpd(page.code, page_bytes);
            vpd.data_bytes = page_bytes;
        }
    }
    return asks;
}

base::Result<void> Scanner::apply_pages(scsi::LunFacts& facts, std::span<Answer> answers) {
    const std::bitset<256> asked = facts.vpd_pages;
    std::size_t at = 0;
    for (const Page& page : pages) {
        if (!asked.test(page.code)) {
            continue;
        }
        Answer& answer = answers[at++];
        if (!answer && is_open(answer.error())) {
            return base::fail(std::move(answer.error()));
        }
        if (!answer) {
            log::debug("VPD page {:02x}h: {}", page.code, answer.error().message());
        } else if (auto applied = page.apply(facts, *answer); !applied) {
            log::debug("VPD page {:02x}h: {}", page.code, applied.error().message());
        }
    }
    return {};
}

/// What only a port that serves data can say. The long form of the capacity says more than the short one
/// (physical block, provisioning); old targets have only that.
void Scanner::add_rest(const scsi::LunFacts& facts, std::vector<Ask>& asks) {
    if (facts.scsi_version >= spc3) {
        asks.push_back(capacity16_ask(facts));
    }
    for (scsi::ModePage page : {scsi::ModePage::caching, scsi::ModePage::control}) {
        Ask& sense = asks.emplace_back();
        sense.lun = facts.lun;
        sense.cdb = scsi::mode_sense6(page, mode_bytes);
        sense.data_bytes = mode_bytes;
    }
}

/// The answers to what add_rest() asks.
ring::Task<base::Result<void>> Scanner::take_rest(scsi::LunFacts& facts, std::span<Answer> answers) {
    if (facts.scsi_version >= spc3) {
        Answer& sixteen = answers.front();
        answers = answers.subspan(1);
        if (!sixteen && is_open(sixteen.error())) {
            co_return base::fail(std::move(sixteen.error()));
        }
        if (sixteen) {
            auto sized = scsi::apply_read_capacity16(facts, *sixteen);
            co_return sized ? apply_modes(facts, answers) : sized;
        }
    }
    auto sized = co_await read_capacity10(facts);
    co_return sized ? apply_modes(facts, answers) : sized;
}

Scanner::Ask Scanner::capacity16_ask(const scsi::LunFacts& facts) {
    Ask sixteen;
    sixteen.lun = facts.lun;
    sixteen.cdb = scsi::read_capacity16(capacity16_bytes);
    sixteen.data_bytes = capacity16_bytes;
    return sixteen;
}

ring::Task<base::Result<void>> Scanner::read_capacity10(scsi::LunFacts& facts) {
    constexpr std::uint32_t capacity10_bytes = 8;
    Ask ten;
    ten.lun = facts.lun;
    ten.cdb = scsi::read_capacity10();
    ten.data_bytes = capacity10_bytes;
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
    const Ask sixteen = capacity16_ask(facts);
    auto large = co_await ask(sixteen);
    if (!large) {
        co_return base::fail(std::move(large.error()));
    }
    co_return scsi::apply_read_capacity16(facts, *large);
}

base::Result<void> Scanner::apply_modes(scsi::LunFacts& facts, std::span<Answer> answers) {
    for (Answer& answer : answers) {
        if (!answer && is_open(answer.error())) {
            return base::fail(std::move(answer.error()));
        }
        if (!answer) {
            log::debug("MODE SENSE: {}", answer.error().message());
        } else if (auto applied = scsi::apply_mode_sense6(facts, *answer); !applied) {
            log::debug("MODE SENSE: {}", applied.error().message());
        }
    }
    return {};
}

} // namespace iscsi::control
