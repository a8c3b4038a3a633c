// The parts of Scanner::inspect(): what a unit says of itself beyond INQUIRY, page by page.
#include "control/log.hpp"
#include "control/scan.hpp"

#include <array>
#include <utility>

namespace iscsi::control {
namespace {

constexpr std::uint16_t page_bytes = 4096;
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

/// What only a port that serves data can say.
ring::Task<base::Result<void>> Scanner::read_rest(scsi::LunFacts& facts) {
    auto sized = co_await read_capacity(facts);
    if (!sized) {
        co_return sized;
    }
    auto modes = co_await read_modes(facts);
    co_return modes;
}

ring::Task<void> Scanner::read_access(scsi::LunFacts& facts) {
    if (facts.target_port_groups == 0 || !facts.identification.target_port_group || !nexus_alive_) {
        co_return;
    }
    // The longer header tells how long a change may take; targets before SPC-4 refuse to be asked for it.
    for (const bool extended : {true, false}) {
        Ask groups;
        groups.lun = facts.lun;
        groups.cdb = scsi::report_target_port_groups(page_bytes, extended);
        groups.data_bytes = page_bytes;
        auto answer = co_await ask(groups);
        note_loss(answer);
        if (answer && scsi::apply_target_port_groups(facts, *answer)) {
            co_return;
        }
    }
    log::debug("REPORT TARGET PORT GROUPS: no answer that can be used");
}

ring::Task<base::Result<void>> Scanner::read_pages(scsi::LunFacts& facts) {
    Ask vpd;
    vpd.lun = facts.lun;
    vpd.cdb = scsi::inquiry_vpd(scsi::vpd::supported_pages, page_bytes);
    vpd.data_bytes = page_bytes;
    auto supported = co_await ask(vpd);
    if (!supported && is_open(supported.error())) {
        co_return base::fail(std::move(supported.error()));
    }
    if (!supported || !scsi::apply_supported_pages(facts, *supported)) {
        co_return base::Result<void>();
    }
    for (const Page& page : pages) {
        if (!facts.vpd_pages.test(page.code)) {
            continue;
        }
        vpd.cdb = scsi::inquiry_vpd(page.code, page_bytes);
        auto answer = co_await ask(vpd);
        if (!answer && is_open(answer.error())) {
            co_return base::fail(std::move(answer.error()));
        }
        if (!answer) {
            log::debug("VPD page {:02x}h: {}", page.code, answer.error().message());
        } else if (auto applied = page.apply(facts, *answer); !applied) {
            log::debug("VPD page {:02x}h: {}", page.code, applied.error().message());
        }
    }
    co_return base::Result<void>();
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

ring::Task<base::Result<void>> Scanner::read_modes(scsi::LunFacts& facts) {
    constexpr std::uint8_t mode_bytes = 252;
    for (scsi::ModePage page : {scsi::ModePage::caching, scsi::ModePage::control}) {
        Ask sense;
        sense.lun = facts.lun;
        sense.cdb = scsi::mode_sense6(page, mode_bytes);
        sense.data_bytes = mode_bytes;
        auto answer = co_await ask(sense);
        if (!answer && is_open(answer.error())) {
            co_return base::fail(std::move(answer.error()));
        }
        if (!answer) {
            log::debug("MODE SENSE: {}", answer.error().message());
        } else if (auto applied = scsi::apply_mode_sense6(facts, *answer); !applied) {
            log::debug("MODE SENSE: {}", applied.error().message());
        }
    }
    co_return base::Result<void>();
}

void Scanner::note_loss(const Answer& answer) {
    if (!answer && answer.error().code == base::Errc::transport) {
        nexus_alive_ = false;
    }
}

} // namespace iscsi::control
