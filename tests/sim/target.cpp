#include "sim/target.hpp"

#include "sim/connection.hpp"

#include <algorithm>

namespace iscsi::sim {
namespace {

constexpr std::uint32_t comes_up = 1000;
constexpr std::uint32_t lets_in = 1001;
constexpr std::uint32_t stranger_leaves = 1002;

constexpr std::uint16_t power_on = 0x2900;
constexpr std::uint16_t nexus_loss = 0x2907;

} // namespace

Target::Target(Kernel& kernel, Medium& medium, const Plan& plan)
    : kernel_(kernel), medium_(medium), plan_(plan) {
    for (std::uint32_t i = 0; i < plan.mishaps.size(); ++i) {
        if (plan.mishaps[i].at > base::Duration{}) {
            kernel_.after(plan.mishaps[i].at, *this, i);
        }
    }
    prepare_network();
}

/// Of the next connection.
void Target::prepare_network() {
    kernel_.network = calm_ ? Network() : plan_.network;
    if (calm_ || connects_++ >= plan_.bad_connections) {
        return;
    }
    Dice& dice = stage().dice;
    Network& network = kernel_.network;
    constexpr std::uint32_t reaches[] = {500, 2000, 10000, 40000};
    const std::uint64_t at = dice.below(dice.pick(reaches));
    const bool to_target = dice.one_in(2);
    if (plan_.offers.header_digest == "CRC32C" && dice.one_in(2)) {
        (to_target ? network.damage_to_target : network.damage_to_initiator) = at;
        return;
    }
    (to_target ? network.cut_to_target : network.cut_to_initiator) = at;
    network.cut_is_reset = dice.one_in(2);
    network.cut_is_silent = dice.one_in(4);
}

Target::~Target() = default;

Peer* Target::accept(Socket& socket) {
    if (down_) {
        stage().met.add(Encounter::refused_connect);
        return nullptr;
    }
    prepare_network();
    connections_.push_back(std::make_unique<Connection>(*this, socket));
    return connections_.back().get();
}

void Target::calm_down() {
    calm_ = true;
    attention_count_ = 0;
    kernel_.network = Network();
}

void Target::take_session(Connection& connection) {
    Connection* before = std::exchange(session_, &connection);
    if (before != nullptr && before != &connection) {
        stage().say("target: the session is reinstated");
        stage().met.add(Encounter::reinstatement);
        before->end();
        session_ = &connection;
    }
}

void Target::forget(Connection& connection) {
    session_ = session_ == &connection ? nullptr : session_;
}

Fate Target::next_fate() {
    const std::uint32_t number = commands_++;
    if (calm_) {
        return Fate::plain;
    }
    for (const FateOf& one : plan_.fates) {
        if (one.command == number && one.fate != Fate::plain) {
            return one.fate;
        }
    }
    return Fate::plain;
}

bool Target::take_attention(std::uint16_t& asc_ascq) {
    if (attention_count_ == 0) {
        return false;
    }
    asc_ascq = attentions_[0];
    std::shift_left(attentions_.begin(), attentions_.end(), 1);
    --attention_count_;
    return true;
}

base::Duration Target::seconds_below(std::uint32_t seconds) {
    return std::chrono::microseconds(stage().dice.below(std::uint64_t{seconds} * 1'000'000));
}

void Target::restart(bool power_loss) {
    stage().say("target: starts anew{}", power_loss ? ", its cache is lost" : "");
    for (const auto& connection : connections_) {
        connection->end();
    }
    if (power_loss && plan_.write_cache) {
        stage().met.add(Encounter::cache_lost);
        medium_.lose_cache();
    }
    // A loss of power that nobody has heard of yet goes before that of the nexus (SAM-5 section 5.14).
    const bool untold = attention_count_ != 0 && attentions_[0] == power_on;
    attentions_[0] = power_loss || untold ? power_on : nexus_loss;
    attention_count_ = 1;
    down_ = true;
    mute_ = stage().dice.one_in(4);
    refuses_logins_ = stage().dice.one_in(4);
    kernel_.after(seconds_below(4), *this, comes_up);
}

void Target::happen(std::uint32_t what) {
    if (what == comes_up) {
        down_ = false;
        kernel_.after(seconds_below(4), *this, lets_in);
    } else if (what == lets_in) {
        refuses_logins_ = false;
    } else if (what == stranger_leaves) {
        stranger_ = false;
        restart(false);
    } else if (!calm_) {
        suffer(plan_.mishaps[what].mishap);
    }
}

void Target::suffer(Mishap mishap) {
    stage().met.add(mishap);
    if (mishap == Mishap::restart || mishap == Mishap::power_loss) {
        return restart(mishap == Mishap::power_loss);
    }
    if (mishap == Mishap::stranger && !stranger_) {
        stranger_ = true;
        restart(false);
        kernel_.after(seconds_below(20), *this, stranger_leaves);
    }
    if (session_ == nullptr) {
        return;
    }
    switch (mishap) {
    case Mishap::reset:
        return session_->break_down(true, false);
    case Mishap::silence:
        return session_->break_down(false, true);
    case Mishap::nop_in:
        return session_->send_nop_in(true);
    case Mishap::window_note:
        return session_->send_nop_in(false);
    case Mishap::logout_request:
        return session_->send_async(1, 0);
    case Mishap::session_drop:
        return session_->send_async(3, 0);
    default:
        return session_->send_async(0, 0x2a09);
    }
}

} // namespace iscsi::sim
