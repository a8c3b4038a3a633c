// A conversation with an iSNS server (RFC 4171): a connection, requests and answers. It is not bound to an
// interface: the server says who may see what, and need not be in the network of the storage. Control's
// thread.
#pragma once

#include "base/discovered.hpp"
#include "base/result.hpp"
#include "control/interrupt.hpp"
#include "isns/exchange.hpp"
#include "records/names.hpp"
#include "ring/await.hpp"
#include "shard/link.hpp"

#include <chrono>
#include <string>

namespace iscsi::control {

/// How long a server may take.
struct IsnsTimes {
    base::Duration connect = std::chrono::seconds(10); ///< of each of its addresses
    base::Duration answer = std::chrono::seconds(15);
};

class IsnsClient {
public:
    /// `node`: the iSCSI name that asks.
    IsnsClient(ring::Loop& loop, std::string node, IsnsTimes times = {});

    /// Errors: Errc::isns_query, saying why nobody answers at any address of the server.
    ring::Task<base::Result<void>> connect(const records::Portal& server);
    /// Our side of the connection.
    isns::Address local_address() const;
    /// The server's.
    isns::Address server_address() const;
    const std::string& server_text() const { return server_text_; }

    /// The answer to a request. Errors: Errc::isns_query; the connection is of no use any more.
    ring::Task<base::Result<isns::Message>> ask(isns::Message request);
    /// The same for a request whose answer must be that it was done. Errors: `code` with the server's reason
    /// to refuse; those of ask().
    ring::Task<base::Result<isns::Message>> ask_for(isns::Message request, base::Errc code);
    /// Whether an answer says that it was done; the errors of ask_for().
    static base::Result<void> done(const base::Result<isns::Message>& answer, base::Errc code);
    /// The targets that the node may see. Errors: Errc::isns_query; Errc::isns_registration, the server
    /// answers only those who are registered.
    ring::Task<base::Result<base::DiscoveredTargets>> query();
    /// The same, by a node that is registered for as long as that takes when it has to be. Errors: those of
    /// query(); Errc::isns_registration.
    ring::Task<base::Result<base::DiscoveredTargets>> query_as_guest();

    /// Whatever is in progress ends soon, with an error, and what begins later at once. Idempotent.
    void interrupt() { interrupt_.set(); }
    /// Before it dies.
    ring::Task<void> end();

private:
    ring::Loop& loop_;
    std::string node_;
    IsnsTimes times_;
    std::string server_text_; ///< its numeric address
    shard::Link link_;
    isns::Exchange exchange_;
    Interrupt interrupt_;
    Interrupt::Action on_interrupt_{interrupt_, [this] { link_.interrupt(); }};
};

} // namespace iscsi::control
