// The socket's limit: requests and responses of the right size and shape over one TCP connection, and nothing
// else. It speaks as our engine does (what it offers comes to the same): a write sends its first burst with
// the command and the rest, in segments as long as the target takes, when an R2T asks for it. The commands
// are built before the clock starts; what is done per I/O is to write three numbers into a header and to find
// the tag of a response. Each write has its own memory, as with any initiator. Data that was read stays where
// it was received, all in one place: nobody wants it.
#include "base/check.hpp"
#include "bench/loop.hpp"
#include "bench/null_target.hpp"
#include "bench/sockets.hpp"
#include "wire/bhs.hpp"
#include "wire/segments.hpp"

#include <algorithm>
#include <cstring>
#include <deque>
#include <fmt/core.h>
#include <string_view>
#include <vector>

namespace iscsi::bench {
namespace {

constexpr std::size_t staging_bytes = std::size_t{512} * 1024;
constexpr std::size_t lba_offset_in_cdb = 2; // READ(16) and WRITE(16)
constexpr std::uint32_t first_burst_bytes = 262144;
constexpr std::uint32_t segment_bytes_max = null_target_segment_bytes_max;

/// What goes with the command: all that may go unasked.
std::uint32_t immediate_bytes(const LoopOptions& options) {
    return options.write ? std::min({options.io_bytes, first_burst_bytes, segment_bytes_max}) : 0;
}

wire::ScsiCommand command_of(const LoopOptions& options, std::uint32_t itt) {
    wire::ScsiCommand command;
    command.flags = static_cast<std::uint8_t>(
        wire::final_bit | 1U | (options.write ? wire::command_flag::write : wire::command_flag::read));
    command.data_segment_length = immediate_bytes(options);
    command.itt = itt;
    command.expected_data_transfer_length = options.io_bytes;
    command.cdb[0] = std::byte{options.write ? std::uint8_t{0x8a} : std::uint8_t{0x88}};
    base::Be32 blocks = options.io_bytes / options.block_bytes;
    std::memcpy(command.cdb.data() + 10, &blocks, sizeof blocks);
    return command;
}

class BareLoop {
public:
    BareLoop(const LoopOptions& options, Latencies& latencies);
    std::uint64_t run(Budget& budget);

private:
    void log_in();
    wire::Bhs receive_header();
    void start(std::uint32_t itt);
    void send_started();
    void receive_batch(Budget& budget);
    void on_response(const wire::Bhs& header, Budget& budget);
    void send_asked(const wire::R2t& r2t);
    std::byte* payload_of(std::uint32_t itt) {
        return payloads_.data() + std::size_t{itt} * options_.io_bytes;
    }

    const LoopOptions& options_;
    Latencies& latencies_;
    Places places_;
    Socket socket_;
    std::vector<wire::ScsiCommand> commands_; ///< index = ITT
    std::vector<std::uint64_t> begun_ns_;     ///< likewise
    std::vector<std::byte> payloads_;         ///< of each ITT, one behind the other
    std::vector<std::byte> staging_;
    std::size_t filled_ = 0;
    std::size_t skip_bytes_ = 0;
    std::vector<iovec> pieces_;
    std::deque<wire::DataOut> data_outs_; ///< headers that pieces_ has
    std::uint32_t cmd_sn_ = 1;
    std::uint32_t exp_stat_sn_ = 0;
    std::uint32_t in_flight_ = 0;
    std::uint64_t done_ = 0;
};

BareLoop::BareLoop(const LoopOptions& options, Latencies& latencies)
    : options_(options), latencies_(latencies), places_(options),
      socket_(connect_to(options.address, options.port)), begun_ns_(options.depth),
      payloads_(options.write ? std::size_t{options.io_bytes} * options.depth : 0), staging_(staging_bytes) {
    if (options.header_digest || options.data_digest) {
        die("the bare loop knows no digests");
    }
    for (std::uint32_t itt = 0; itt < options.depth; ++itt) {
        commands_.push_back(command_of(options, itt));
    }
    pieces_.reserve(std::size_t{options.depth} * 2);
    log_in();
}

/// One exchange, straight to full feature phase.
void BareLoop::log_in() {
    std::string text;
    for (std::string_view pair : {"InitiatorName=iqn.2026-01.bench:bare", "SessionType=Normal",
                                  "HeaderDigest=None", "DataDigest=None", "MaxRecvDataSegmentLength=262144",
                                  "MaxBurstLength=16776192", "InitialR2T=No", "ImmediateData=Yes"}) {
        text.append(pair).push_back('\0');
    }
    text.append(fmt::format("FirstBurstLength={}", first_burst_bytes)).push_back('\0');
    text.append("TargetName=").append(null_target_name).push_back('\0');

    wire::LoginRequest request;
    request.flags = wire::login_flag::transit |
                    wire::stage_bits(wire::LoginStage::operational, wire::LoginStage::full_feature);
    request.data_segment_length = static_cast<std::uint32_t>(text.size());
    request.isid = 0x800000000001U;
    request.cmd_sn = cmd_sn_;
    text.resize(base::pad4(text.size()));
    std::array<iovec, 2> pieces{iovec{&request, sizeof request}, iovec{text.data(), text.size()}};
    if (!send_all(socket_.fd(), pieces)) {
        die("the login could not be sent");
    }
    auto header = receive_header();
    auto response = base::load<wire::LoginResponse>(base::bytes_of_object(header));
    if (header.opcode() != wire::Opcode::login_response || response.status.get() != 0) {
        die("the target did not let us in");
    }
    exp_stat_sn_ = response.stat_sn.get() + 1;
}

/// Waits for a whole PDU and steps over it.
wire::Bhs BareLoop::receive_header() {
    for (;;) {
        if (filled_ >= wire::bhs_bytes) {
            auto header = base::load<wire::Bhs>(staging_);
            std::size_t total = wire::segments_of(header, false, false).total();
            if (total > staging_.size()) {
                die("a PDU that is too long");
            }
            if (filled_ >= total) {
                filled_ -= total;
                std::memmove(staging_.data(), staging_.data() + total, filled_);
                return header;
            }
        }
        std::size_t received = receive_some(socket_.fd(), base::MutableBytes(staging_).subspan(filled_));
        if (received == 0) {
            die("the target closed the connection");
        }
        filled_ += received;
    }
}

void BareLoop::start(std::uint32_t itt) {
    wire::ScsiCommand& command = commands_[itt];
    command.cmd_sn = cmd_sn_++;
    command.exp_stat_sn = exp_stat_sn_;
    base::Be64 lba = places_.next();
    std::memcpy(command.cdb.data() + lba_offset_in_cdb, &lba, sizeof lba);
    pieces_.push_back({.iov_base = &command, .iov_len = sizeof command});
    if (options_.write) {
        pieces_.push_back({.iov_base = payload_of(itt), .iov_len = command.data_segment_length});
    }
    begun_ns_[itt] = latencies_.begin();
    ++in_flight_;
}

void BareLoop::send_started() {
    if (!send_all(socket_.fd(), pieces_)) {
        die("the target closed the connection");
    }
    pieces_.clear();
    data_outs_.clear();
}

void BareLoop::send_asked(const wire::R2t& r2t) {
    std::uint32_t offset = r2t.buffer_offset;
    const std::uint32_t asked = r2t.desired_data_transfer_length;
    if (offset > options_.io_bytes || asked > options_.io_bytes - offset) {
        die("an R2T asks for more than there is");
    }
    const std::uint32_t end = offset + asked;
    for (std::uint32_t data_sn = 0; offset < end; ++data_sn) {
        const std::uint32_t bytes = std::min(end - offset, segment_bytes_max);
        wire::DataOut& pdu = data_outs_.emplace_back();
        pdu.flags = offset + bytes == end ? wire::final_bit : std::uint8_t{0};
        pdu.data_segment_length = bytes;
        pdu.lun = r2t.lun;
        pdu.itt = r2t.itt;
        pdu.ttt = r2t.ttt;
        pdu.exp_stat_sn = exp_stat_sn_;
        pdu.data_sn = data_sn;
        pdu.buffer_offset = offset;
        pieces_.push_back({.iov_base = &pdu, .iov_len = sizeof pdu});
        pieces_.push_back({.iov_base = payload_of(r2t.itt) + offset, .iov_len = bytes});
        offset += bytes;
    }
}

void BareLoop::on_response(const wire::Bhs& header, Budget& budget) {
    auto data_in = base::load<wire::DataIn>(base::bytes_of_object(header));
    wire::Opcode opcode = header.opcode();
    bool with_status = (data_in.flags & wire::data_in_flag::status) != 0;
    std::uint32_t itt = header.itt.get();
    if (opcode == wire::Opcode::r2t && options_.write && itt < commands_.size()) {
        return send_asked(base::load<wire::R2t>(base::bytes_of_object(header)));
    }
    bool expected = opcode == wire::Opcode::scsi_response || opcode == wire::Opcode::data_in;
    if (!expected || itt >= commands_.size() || data_in.status != 0) {
        die(fmt::format("opcode {:#x} with status {:#x} is no answer to an I/O",
                        static_cast<unsigned>(opcode), data_in.status));
    }
    if (opcode == wire::Opcode::data_in && !with_status) {
        return;
    }
    exp_stat_sn_ = data_in.stat_sn.get() + 1;
    latencies_.end(begun_ns_[itt]);
    --in_flight_;
    ++done_;
    if (budget.take()) {
        start(itt);
    }
}

/// One receive, and whatever it brought.
void BareLoop::receive_batch(Budget& budget) {
    std::size_t received = receive_some(socket_.fd(), base::MutableBytes(staging_).subspan(filled_));
    if (received == 0) {
        die("the target closed the connection");
    }
    filled_ += received;
    base::Bytes rest = base::Bytes(staging_).first(filled_);
    for (;;) {
        std::size_t skipped = std::min(skip_bytes_, rest.size());
        skip_bytes_ -= skipped;
        rest = rest.subspan(skipped);
        if (rest.size() < wire::bhs_bytes) {
            break;
        }
        auto header = base::load<wire::Bhs>(rest);
        rest = rest.subspan(wire::bhs_bytes);
        skip_bytes_ = wire::segments_of(header, false, false).total() - wire::bhs_bytes;
        on_response(header, budget);
    }
    filled_ = rest.size();
    std::memmove(staging_.data(), rest.data(), rest.size());
}

std::uint64_t BareLoop::run(Budget& budget) {
    done_ = 0;
    for (std::uint32_t itt = 0; itt < commands_.size() && budget.take(); ++itt) {
        start(itt);
    }
    while (in_flight_ > 0) {
        send_started();
        receive_batch(budget);
    }
    // The data of the last response may still be on its way.
    while (skip_bytes_ > 0) {
        receive_batch(budget);
    }
    return done_;
}

} // namespace
} // namespace iscsi::bench

int main(int argc, char** argv) {
    auto options = iscsi::bench::parse_loop_options(argc, argv);
    iscsi::bench::Latencies latencies(options.latency);
    iscsi::bench::BareLoop loop(options, latencies);
    iscsi::bench::measure("bare", options, latencies,
                          [&](iscsi::bench::Budget& budget) { return loop.run(budget); });
    return 0;
}
