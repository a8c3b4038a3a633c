// The simulated target: a disk behind one portal, several connections one after the other, one session. It is
// written from RFC 7143 and not from our session; it is quick rather than scriptable (the scripted target is
// the other one). It keeps the initiator to the rules that a schedule can break: numbering, tags, the window,
// bursts. Faults come from the plan. One thread; lives as long as its schedule.
#pragma once

#include "sim/kernel.hpp"
#include "sim/medium.hpp"
#include "sim/plan.hpp"

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

namespace iscsi::sim {

class Connection;

class Target final : public Listener, private Happening {
public:
    Target(Kernel& kernel, Medium& medium, const Plan& plan);
    ~Target() override;

    /// No faults any more: what is asked is answered.
    void calm_down();
    void suffer(Mishap mishap);

    // For connections.
    /// A login has reached full feature phase: what there was of the session before ends.
    void take_session(Connection& connection);
    void forget(Connection& connection);
    Fate next_fate();
    bool take_attention(std::uint16_t& asc_ascq);
    Kernel& kernel() { return kernel_; }
    Stage& stage() { return kernel_.stage(); }
    Medium& medium() { return medium_; }
    const Plan& plan() const { return plan_; }
    bool calm() const { return calm_; }
    /// Another unit stands in the place of the one that is served: nothing may be sent to it but inquiries.
    bool is_stranger() const { return stranger_; }
    /// It lets nobody in yet.
    bool refuses_logins() const { return refuses_logins_; }
    bool kept_silent() const { return kept_silent_; }
    void keep_silent() { kept_silent_ = true; }
    std::uint16_t next_tsih() { return ++tsih_; }

    /// What a request may fail for: answers that say so for good.
    std::uint32_t hard_errors() const { return hard_errors_; }
    std::uint32_t power_ons_told() const { return power_ons_told_; }
    void count_power_on() { ++power_ons_told_; }
    bool unsupported() const { return unsupported_; }
    void count_hard_error() { ++hard_errors_; }
    void refuse_feature() { unsupported_ = true; }

private:
    Peer* accept(Socket& socket) override;
    bool answers() const override { return !(down_ && mute_); }
    void happen(std::uint32_t what) override;
    void restart(bool power_loss);
    base::Duration seconds_below(std::uint32_t seconds);
    void prepare_network();

    Kernel& kernel_;
    Medium& medium_;
    const Plan& plan_;
    std::vector<std::unique_ptr<Connection>> connections_;
    Connection* session_ = nullptr;             ///< in full feature phase
    std::array<std::uint16_t, 4> attentions_{}; ///< ASC and ASCQ
    unsigned attention_count_ = 0;
    std::uint32_t commands_ = 0;
    std::uint32_t connects_ = 0;
    std::uint16_t tsih_ = 0;
    std::uint32_t hard_errors_ = 0;
    std::uint32_t power_ons_told_ = 0;
    bool unsupported_ = false;
    bool down_ = false;
    bool mute_ = false; ///< while it is down nobody refuses connections
    bool stranger_ = false;
    bool refuses_logins_ = false;
    bool kept_silent_ = false;
    bool calm_ = false;
};

} // namespace iscsi::sim
