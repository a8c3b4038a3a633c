// A block device, or a file, as a Source: past the page cache, through io_uring. For guests, where the disks
// of the daemon are kernel devices. One thread.
#pragma once

#include "faults/source.hpp"

#include <liburing.h>
#include <string>

namespace iscsi::faults {

class DeviceSource final : public Source {
public:
    /// At most `depth` requests at a time. Throws std::system_error.
    DeviceSource(const std::string& path, unsigned depth);
    ~DeviceSource() override;

    std::uint64_t size_bytes() const override { return size_bytes_; }
    bool can(Verb verb) const override;
    bool can_fua() const override { return true; }
    bool ready() const override { return true; }
    void submit(const Request& request) override;
    pollfd waits_for() override { return {ring_.ring_fd, POLLIN, 0}; }
    void progress(short events, std::vector<Answer>& answers) override;

private:
    struct Sent {
        std::uint64_t length = 0;
        bool moves_data = false;
    };

    int fd_;
    bool is_device_ = false, can_trim_ = false;
    std::uint64_t size_bytes_ = 0;
    std::vector<Sent> sent_; ///< by slot
    io_uring ring_{};
};

} // namespace iscsi::faults
