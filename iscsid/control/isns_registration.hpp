// The daemon as an iSNS server knows it (RFC 4171): registered, refreshed in time, heard when it answers an
// inquiry, told of changes on a UDP port of its own, and deregistered. Only the server's own address is
// listened to; and because that can be pretended, too, a change is no more than a reason to ask. TCP, which
// sections 5.6.5.8 and 5.6.5.13 allow for both as well, is not registered for: a listener for connections
// would have more to defend, and what UDP loses is asked for again. Control's thread.
#pragma once

#include "base/result.hpp"
#include "base/time.hpp"
#include "control/isns_client.hpp"
#include "isns/requests.hpp"
#include "records/names.hpp"
#include "ring/await.hpp"

#include <functional>
#include <string>
#include <vector>

namespace iscsi::control {

class IsnsRegistration {
public:
    /// `on_change` is called on control's loop, not from within keep().
    IsnsRegistration(ring::Loop& loop, records::Portal server, std::function<void()> on_change);
    IsnsRegistration(const IsnsRegistration&) = delete;
    IsnsRegistration& operator=(const IsnsRegistration&) = delete;
    /// After end().
    ~IsnsRegistration();

    /// Registers the nodes (iSCSI names, the first stands for the others), or refreshes what is registered.
    /// Errors: those of IsnsClient; Errc::internal without a port to listen at.
    ring::Task<base::Result<void>> keep(std::vector<std::string> nodes, std::string alias);
    /// When keep() is due again.
    base::Deadline due() const;
    /// Registered, and the server said that it will report changes.
    bool is_told_of_changes() const { return registered_ && told_of_changes_; }
    /// keep() ends soon, with an error, now and from now on. Idempotent.
    void interrupt();
    /// Deregisters, in a moment or not at all, and stops listening. Once.
    ring::Task<void> end();

private:
    ring::Task<base::Result<void>> enroll(IsnsClient& client, std::string alias);
    ring::Task<void> ask_for_changes(IsnsClient& client);
    base::Result<void> listen(const isns::Address& address);
    ring::Task<void> stop_listening();
    ring::Task<void> hear();
    void on_datagram(base::Bytes datagram, const sockaddr_storage& from, socklen_t from_bytes);

    ring::Loop& loop_;
    records::Portal server_;
    std::function<void()> on_change_;
    std::vector<std::string> nodes_;
    bool registered_ = false;
    bool told_of_changes_ = false;
    base::TimePoint refreshed_at_;
    isns::Registered terms_; ///< as agreed at the last registration
    base::TimePoint inquired_at_;
    std::string server_text_;        ///< the numeric address that answered last
    isns::Address server_address_{}; ///< the same
    isns::Address address_{};        ///< where we listen
    int fd_ = -1;
    std::uint16_t udp_port_ = 0;
    ring::OpWait* receiving_ = nullptr;
    bool listening_ = false;
    ring::TaskGroup hearing_;
    Interrupt interrupt_;
};

} // namespace iscsi::control
