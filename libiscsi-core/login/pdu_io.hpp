// One PDU at a time, in and out, for the engines before and beside the session: nothing is read beyond the
// PDU in progress, so the connection can be handed over between any two. No digests. Owns its buffers, which
// grow once to the bound given. One thread.
#pragma once

#include "base/bytes.hpp"
#include "base/engine.hpp"
#include "base/result.hpp"
#include "wire/bhs.hpp"

#include <deque>
#include <span>
#include <vector>

namespace iscsi::login {

/// Reads exactly one PDU: first its 48 bytes, then its data and padding.
class PduReader {
public:
    /// Data segments longer than `data_bytes_max` are refused.
    explicit PduReader(std::size_t data_bytes_max) : data_bytes_max_(data_bytes_max) {}

    base::RxSpans spans();
    /// True when a PDU is complete; it stays until next(). Errc::protocol on an AHS (responses have none) or
    /// too much data.
    base::Result<bool> done(std::size_t n);
    const wire::Bhs& header() const { return header_; }
    /// The data segment without padding.
    base::Bytes data() const;
    template <class Pdu>
    Pdu as() const {
        return base::load<Pdu>(base::bytes_of_object(header_));
    }
    void next();

private:
    bool complete() const;

    std::size_t data_bytes_max_;
    wire::Bhs header_;
    std::size_t filled_ = 0; ///< of header and body together
    std::vector<std::byte> body_;
};

/// A queue of whole PDUs on their way out.
class PduSender {
public:
    /// Copies the header (its DataSegmentLength is set here) and the data, and pads.
    void queue(wire::Bhs header, base::Bytes data);
    std::span<iovec> spans(std::span<iovec> out);
    void done(std::size_t n);
    bool idle() const { return pdus_.empty(); }
    std::size_t queued() const { return pdus_.size(); }
    /// True when some queued PDU has never been given to the socket.
    bool has_unseen() const { return unseen_; }

private:
    std::deque<std::vector<std::byte>> pdus_;
    std::size_t sent_ = 0; ///< of the first
    bool unseen_ = false;
};

} // namespace iscsi::login
