#include "control/cache_doubt.hpp"

#include <utility>

namespace iscsi::control {

void CacheDoubt::on_attention(scsi::Effects effects) {
    const bool said = effects.has(scsi::Effect::cache_maybe_lost);
    said_now_ |= said;
    said_ |= said;
    named_ |= effects.has(scsi::Effect::power_was_lost);
}

CacheDoubt::Verdict CacheDoubt::judge(bool target_was_away) {
    const bool was_asking = std::exchange(asking_, false);
    if (!said_now_) {
        greets_ = false;
    } else if (was_asking) {
        greets_ = true;
    }
    if (!said_) {
        return Verdict::kept;
    }
    if (named_ || target_was_away || greets_ == false) {
        return Verdict::lost;
    }
    if (greets_ == true) {
        return Verdict::kept;
    }
    asking_ = true;
    return Verdict::ask_again;
}

void CacheDoubt::settle() {
    said_ = false;
    named_ = false;
}

} // namespace iscsi::control
