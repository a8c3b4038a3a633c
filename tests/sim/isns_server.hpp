// An iSNS server on the simulated network: keeps whom it registered, answers as it is told to, and can send
// inquiries and notifications. It knows RFC 4171 by its numbers, apart from the code under test. One thread.
#pragma once

#include "sim/kernel.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::sim {

class IsnsServer final : public Listener {
public:
    static constexpr std::uint16_t registers = 1;
    static constexpr std::uint16_t query = 2;
    static constexpr std::uint16_t deregisters = 4;
    static constexpr std::uint16_t wants_changes = 5;

    explicit IsnsServer(Kernel& kernel);
    ~IsnsServer() override;

    // What it is like.
    bool listens = true;                   ///< or connections are refused
    bool is_reachable = true;              ///< or not even that
    bool speaks = true;                    ///< or it takes what is said and answers nothing
    std::uint32_t registration_status = 0; ///< what it says to who registers
    std::uint32_t period_s = 0;            ///< of a registration
    bool inquires = true;                  ///< it agrees to ask whether who registered is there
    std::string address = "192.0.2.1";     ///< from which its datagrams come

    /// It has lost its database.
    void forget() { registered_.clear(); }
    /// Asks at the UDP port that was registered; false when nobody is there.
    bool inquire() { return send(13); }
    /// Says that something has changed.
    bool notify() { return send(8); }

    // What it saw.
    struct Asked {
        base::TimePoint at;
        std::uint16_t function;
    };
    std::vector<Asked> asked;
    std::size_t connections = 0;
    std::size_t refused = 0;      ///< connections, too
    std::size_t acknowledged = 0; ///< inquiries and notifications that were answered well
    std::size_t count(std::uint16_t function) const;
    bool has_registered(const std::string& name) const { return registered_.contains(name); }

    Peer* accept(Socket& socket) override;
    bool answers() const override { return is_reachable; }

private:
    class Connection;
    friend class Connection;
    void answer(Socket& socket, base::Bytes message);
    void do_registration(base::Bytes attributes, std::vector<std::byte>& reply);
    bool send(std::uint16_t function);

    Kernel& kernel_;
    std::vector<std::unique_ptr<Connection>> connected_;
    std::map<std::string, std::uint16_t, std::less<>> registered_; ///< entities, with their UDP ports
    std::uint16_t last_port_ = 0;
    std::uint16_t transaction_ = 0x4000;
};

} // namespace iscsi::sim
