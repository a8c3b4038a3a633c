#include "shard/lun_news.hpp"

namespace iscsi::shard {
namespace {

constexpr std::uint64_t effects_mask = 0xffffffff;
constexpr unsigned sense_shift = 32;
constexpr std::uint64_t sense_mask = std::uint64_t{0xffffff} << sense_shift;
constexpr std::uint64_t posted = std::uint64_t{1} << 62;
constexpr std::uint64_t abandoned = std::uint64_t{1} << 63;

std::uint64_t packed(scsi::SenseCode sense) {
    const std::uint64_t code = std::uint64_t{static_cast<std::uint8_t>(sense.key)} << 16 |
                               std::uint64_t{sense.asc} << 8 | sense.ascq;
    return code << sense_shift;
}

scsi::Disposition unpacked(std::uint64_t content) {
    const std::uint64_t code = (content & sense_mask) >> sense_shift;
    scsi::Disposition out;
    out.effects = scsi::Effects::of_bits(static_cast<std::uint32_t>(content & effects_mask));
    out.sense = {static_cast<scsi::SenseKey>(code >> 16), static_cast<std::uint8_t>(code >> 8),
                 static_cast<std::uint8_t>(code)};
    return out;
}

} // namespace

bool LunNews::Notice::add(const scsi::Disposition& disposition) {
    std::uint64_t before = content_.load(std::memory_order_relaxed);
    std::uint64_t after = 0;
    do {
        after = (before & ~sense_mask) | disposition.effects.bits() | packed(disposition.sense) | posted;
    } while (!content_.compare_exchange_weak(before, after, std::memory_order_acq_rel));
    return (before & posted) == 0;
}

bool LunNews::Notice::abandon() {
    return (content_.fetch_or(abandoned, std::memory_order_acq_rel) & posted) == 0;
}

void LunNews::Notice::deliver() {
    // Once the content is taken the unit may go, and this object with it.
    NexusObserver& observer = observer_;
    const base::Lun lun = lun_;
    const std::uint64_t content = content_.exchange(0, std::memory_order_acq_rel);
    if ((content & abandoned) != 0) {
        delete this;
        return;
    }
    observer.on_lun_effects(lun, unpacked(content));
}

void LunNews::Abandon::operator()(Notice* notice) const {
    if (notice->abandon()) {
        delete notice;
    }
}

LunNews::LunNews(Nexus& nexus, base::Lun lun)
    : control_(nexus.control()), notice_(new Notice(nexus.observer(), lun)) {}

void LunNews::tell(const scsi::Disposition& disposition) {
    if (notice_->add(disposition)) {
        control_.post(*notice_);
    }
}

} // namespace iscsi::shard
