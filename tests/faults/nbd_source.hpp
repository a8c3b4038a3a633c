// An NBD export as a Source, through libnbd: a client nobody here wrote. When the connection ends, what was
// in progress is answered as lost and the export is asked for again, until it is there. One thread.
#pragma once

#include "faults/source.hpp"

#include <chrono>
#include <memory>
#include <string>

struct nbd_handle;

namespace iscsi::faults {

class NbdSource final : public Source {
public:
    /// Waits at most `patience` for the first connection. Throws std::runtime_error.
    NbdSource(std::string uri, std::chrono::milliseconds patience);
    ~NbdSource() override;

    std::uint64_t size_bytes() const override { return size_bytes_; }
    bool can(Verb verb) const override;
    bool can_fua() const override { return can_fua_; }
    bool ready() const override;
    void submit(const Request& request) override;
    pollfd waits_for() override;
    void progress(short events, std::vector<Answer>& answers) override;
    std::uint64_t reconnects() const override { return connections_ > 0 ? connections_ - 1 : 0; }

private:
    struct Call {
        NbdSource* owner;
        std::size_t slot;
    };
    using Clock = std::chrono::steady_clock;

    void connect();
    void learn();
    static int on_answer(void* call, int* error);
    static void forget(void* call);

    std::string uri_;
    std::unique_ptr<nbd_handle, void (*)(nbd_handle*)> handle_;
    std::vector<Answer> answers_; ///< from libnbd's callbacks, until progress() hands them on
    Clock::time_point began_;     ///< of the attempt to connect
    std::uint64_t connections_ = 0, size_bytes_ = 0;
    bool known_ = false; ///< the connection is up and its facts were read
    bool can_fua_ = false, can_zero_ = false, can_trim_ = false, can_flush_ = false;
};

} // namespace iscsi::faults
