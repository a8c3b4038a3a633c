// A null iSCSI target: it logs anybody in, reads give zeros, writes are thrown away, so that it is never what
// limits an initiator that is measured against it. This is one connection as a machine: bytes that arrived go
// in, replies come out; null_target_main.cpp has the sockets. Digests are sent where they were asked for;
// those that arrive are stepped over and not looked at. One thread a connection. RFC 7143.
#pragma once

#include "base/bytes.hpp"
#include "base/serial.hpp"
#include "bench/null_disk.hpp"
#include "bench/null_negotiation.hpp"
#include "bench/null_replies.hpp"
#include "wire/bhs.hpp"
#include "wire/segments.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <sys/uio.h>
#include <unordered_map>

namespace iscsi::bench {

inline constexpr const char* null_target_name = "iqn.2026-01.bench:null";

struct NullTargetConfig {
    DiskGeometry geometry;
    std::uint32_t command_window = 1024; ///< MaxCmdSN is so many commands away
    std::string portal;                  ///< "address:port" as discovery gives it
};

class NullConnection {
public:
    /// The longest PDU that has to be in one piece; take() wants room for it.
    static constexpr std::size_t whole_pdu_bytes_max = std::size_t{16} * 1024;

    NullConnection(const NullTargetConfig& config, std::uint16_t tsih) : config_(config), tsih_(tsih) {}

    /// Takes what it can of `received` from its front and gives the number of bytes that are done with. The
    /// rest is to be given again, with more behind it, after the replies were sent.
    std::size_t take(base::Bytes received);

    /// What is to be sent before the next take(), and that it was sent.
    std::span<iovec> replies() { return batch_.pieces(); }
    void sent() { batch_.clear(); }

    /// The initiator logged out or did something that is not understood: close after the replies were sent.
    bool ended() const { return ended_; }

private:
    /// A write whose data is still arriving.
    struct Write {
        base::Be64 lun;
        std::uint32_t total_bytes = 0;
        std::uint32_t received_bytes = 0;
        std::uint32_t next_r2t_sn = 0;
    };
    struct Residual {
        std::uint8_t flags = 0;
        std::uint32_t count = 0;
    };

    /// How the data that there is and the data that was expected differ (RFC 7143 section 11.4.5).
    static Residual residual_of(std::uint64_t available, std::uint32_t expected);

    void on_pdu(const wire::Bhs& header, base::Bytes data);
    void on_scsi_command(const wire::ScsiCommand& command);
    void on_write(const wire::ScsiCommand& command);
    void on_data_out(const wire::DataOut& data_out);
    void on_login(const wire::LoginRequest& request, base::Bytes data);
    void on_text(const wire::TextRequest& request);
    void on_nop(const wire::NopOut& nop, base::Bytes data);
    void on_task_management(const wire::TaskManagementRequest& request);
    void on_logout(const wire::LogoutRequest& request);

    void refuse_login(const wire::LoginRequest& request, wire::LoginStatus status);
    void send_r2t(std::uint32_t itt, Write& write);
    void send_status(std::uint32_t itt, const DiskAnswer& answer, Residual residual);
    void send_data(const wire::ScsiCommand& command, const DiskAnswer& answer);

    /// Sets the three numbers that every response carries; `advance` where it has a StatSN of its own.
    template <class Pdu>
    void number(Pdu& pdu, bool advance = true);
    /// Notes the CmdSN of a request.
    template <class Pdu>
    void count(const Pdu& pdu);

    const NullTargetConfig& config_;
    std::uint16_t tsih_;
    Negotiated negotiated_;
    bool full_feature_ = false;
    bool ended_ = false;
    base::StatSn stat_sn_{1};
    base::CmdSn exp_cmd_sn_;
    std::size_t skip_bytes_ = 0; ///< of a payload, still to arrive and to be thrown away
    std::unordered_map<std::uint32_t, Write> writes_;
    ReplyBatch batch_;
};

} // namespace iscsi::bench
