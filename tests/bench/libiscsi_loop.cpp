// The closed loop over Debian's libiscsi, through its asynchronous interface: what an initiator in user space
// costs today.
#include "bench/loop.hpp"

#include <cstddef>
#include <fmt/core.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <memory>
#include <poll.h>
#include <vector>

namespace iscsi::bench {
namespace {

class LibiscsiLoop;

struct Slot {
    LibiscsiLoop* loop = nullptr;
    std::vector<unsigned char> data;
    scsi_iovec place{};
    std::uint64_t begun_ns = 0;
};

class LibiscsiLoop {
public:
    LibiscsiLoop(const LoopOptions& options, Latencies& latencies);
    ~LibiscsiLoop();
    LibiscsiLoop(const LibiscsiLoop&) = delete;
    LibiscsiLoop& operator=(const LibiscsiLoop&) = delete;

    std::uint64_t run(Budget& budget);

private:
    void log_in();
    void turn();
    void start(Slot& slot);
    void on_end(Slot& slot, int status, scsi_task* task);

    const LoopOptions& options_;
    Latencies& latencies_;
    Places places_;
    iscsi_context* context_;
    std::vector<Slot> slots_;
    Budget* budget_ = nullptr;
    std::uint32_t in_flight_ = 0;
    std::uint64_t done_ = 0;
};

LibiscsiLoop::LibiscsiLoop(const LoopOptions& options, Latencies& latencies)
    : options_(options), latencies_(latencies), places_(options),
      context_(iscsi_create_context("iqn.2026-01.bench:libiscsi")), slots_(options.depth) {
    if (context_ == nullptr) {
        die("no libiscsi context");
    }
    for (Slot& slot : slots_) {
        slot.loop = this;
        slot.data.resize(options.io_bytes);
        slot.place = {.iov_base = slot.data.data(), .iov_len = slot.data.size()};
    }
    log_in();
}

LibiscsiLoop::~LibiscsiLoop() {
    iscsi_logout_sync(context_);
    iscsi_destroy_context(context_);
}

void LibiscsiLoop::log_in() {
    if (options_.data_digest) {
        die("libiscsi knows no data digest");
    }
    iscsi_set_targetname(context_, "iqn.2026-01.bench:null");
    iscsi_set_session_type(context_, ISCSI_SESSION_NORMAL);
    iscsi_set_header_digest(context_,
                            options_.header_digest ? ISCSI_HEADER_DIGEST_CRC32C : ISCSI_HEADER_DIGEST_NONE);
    iscsi_set_initial_r2t(context_, ISCSI_INITIAL_R2T_NO);
    iscsi_set_immediate_data(context_, ISCSI_IMMEDIATE_DATA_YES);
    iscsi_set_noautoreconnect(context_, 1);
    std::string portal = fmt::format("{}:{}", options_.address, options_.port);
    if (iscsi_full_connect_sync(context_, portal.c_str(), 0) != 0) {
        die(iscsi_get_error(context_));
    }
}

void LibiscsiLoop::start(Slot& slot) {
    iscsi_command_cb ended = [](iscsi_context*, int status, void* task, void* owner) {
        auto* ended_slot = static_cast<Slot*>(owner);
        ended_slot->loop->on_end(*ended_slot, status, static_cast<scsi_task*>(task));
    };
    auto block_bytes = static_cast<int>(options_.block_bytes);
    auto length = static_cast<std::uint32_t>(slot.data.size());
    slot.begun_ns = latencies_.begin();
    std::uint64_t lba = places_.next();
    scsi_task* task = options_.write ? iscsi_write16_task(context_, 0, lba, slot.data.data(), length,
                                                          block_bytes, 0, 0, 0, 0, 0, ended, &slot)
                                     : iscsi_read16_iov_task(context_, 0, lba, length, block_bytes, 0, 0, 0,
                                                             0, 0, ended, &slot, &slot.place, 1);
    if (task == nullptr) {
        die(iscsi_get_error(context_));
    }
    ++in_flight_;
}

void LibiscsiLoop::on_end(Slot& slot, int status, scsi_task* task) {
    if (status != SCSI_STATUS_GOOD) {
        die(fmt::format("an I/O ended with status {:#x}: {}", status, iscsi_get_error(context_)));
    }
    scsi_free_scsi_task(task);
    latencies_.end(slot.begun_ns);
    --in_flight_;
    ++done_;
    if (budget_->take()) {
        start(slot);
    }
}

void LibiscsiLoop::turn() {
    pollfd wait{.fd = iscsi_get_fd(context_),
                .events = static_cast<short>(iscsi_which_events(context_)),
                .revents = 0};
    if (poll(&wait, 1, 30'000) <= 0) {
        die("nothing moved for thirty seconds");
    }
    if (iscsi_service(context_, wait.revents) != 0) {
        die(iscsi_get_error(context_));
    }
}

std::uint64_t LibiscsiLoop::run(Budget& budget) {
    budget_ = &budget;
    done_ = 0;
    for (Slot& slot : slots_) {
        if (budget.take()) {
            start(slot);
        }
    }
    while (in_flight_ > 0) {
        turn();
    }
    return done_;
}

} // namespace
} // namespace iscsi::bench

int main(int argc, char** argv) {
    auto options = iscsi::bench::parse_loop_options(argc, argv);
    iscsi::bench::Latencies latencies(options.latency);
    iscsi::bench::LibiscsiLoop loop(options, latencies);
    iscsi::bench::measure("libiscsi", options, latencies,
                          [&](iscsi::bench::Budget& budget) { return loop.run(budget); });
    return 0;
}
