// PDUs on their way out of the null target, gathered so that one sendmsg carries all replies to one receive.
// The batch owns headers, digests and small data; zeros are one shared page of memory. One thread.
#pragma once

#include "base/bytes.hpp"
#include "base/check.hpp"
#include "wire/bhs.hpp"

#include <array>
#include <cstdint>
#include <deque>
#include <span>
#include <sys/uio.h>
#include <vector>

namespace iscsi::bench {

class ReplyBatch {
public:
    /// Holds for the PDUs that are added from now on.
    void set_digests(bool header, bool data);

    /// Adds a PDU with the data segment `data`, which is copied; sets its DataSegmentLength.
    template <class Pdu>
    void add(Pdu pdu, base::Bytes data = {}) {
        pdu.data_segment_length = static_cast<std::uint32_t>(data.size());
        add_header(base::bytes_of_object(pdu));
        add_copy(data);
    }
    /// Adds a PDU with `count` zero bytes of data (at most null_target_segment_bytes_max).
    template <class Pdu>
    void add_with_zeros(Pdu pdu, std::uint32_t count) {
        pdu.data_segment_length = count;
        add_header(base::bytes_of_object(pdu));
        add_zeros(count);
    }

    /// Time to send: more would not make sending cheaper.
    bool full() const { return used_ >= full_pdus; }
    /// What is to be sent; the caller may change the iovecs as it sends.
    std::span<iovec> pieces() { return pieces_; }
    /// All of it was sent.
    void clear();

private:
    static constexpr std::size_t full_pdus = 512;

    struct Slot {
        std::array<std::byte, wire::bhs_bytes + 4> header; ///< with its digest
        std::array<std::byte, 4> data_digest;
    };

    void add_header(base::Bytes header);
    void add_copy(base::Bytes data);
    void add_zeros(std::uint32_t count);
    void add_piece(const std::byte* begin, std::size_t size);
    void add_data_digest(std::uint32_t crc);

    bool header_digest_ = false;
    bool data_digest_ = false;
    std::deque<Slot> slots_; ///< grows, never shrinks: the addresses stay
    std::size_t used_ = 0;
    std::deque<std::vector<std::byte>> copies_;
    std::vector<iovec> pieces_;
    std::uint32_t zeros_crc_of_ = 0; ///< the last number of zeros that a digest was made for, and
    std::uint32_t zeros_crc_ = 0;    ///< that digest
};

} // namespace iscsi::bench
