#include "faults/device_source.hpp"

#include "base/check.hpp"

#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <system_error>
#include <unistd.h>

namespace iscsi::faults {
namespace {

/// Whether a whole disk takes discards. Of a partition sysfs says it elsewhere: it is taken to.
bool takes_discards(dev_t device) {
    std::ifstream file(
        fmt::format("/sys/dev/block/{}:{}/queue/discard_max_bytes", major(device), minor(device)));
    std::uint64_t bytes = 1;
    file >> bytes;
    return bytes > 0;
}

} // namespace

DeviceSource::DeviceSource(const std::string& path, unsigned depth)
    : fd_(open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC)), sent_(depth) {
    struct stat what {};
    if (fd_ < 0 || fstat(fd_, &what) != 0) {
        throw std::system_error(errno, std::system_category(), path);
    }
    is_device_ = S_ISBLK(what.st_mode);
    can_trim_ = is_device_ && takes_discards(what.st_rdev);
    size_bytes_ = static_cast<std::uint64_t>(what.st_size);
    if (is_device_ && ioctl(fd_, BLKGETSIZE64, &size_bytes_) != 0) {
        throw std::system_error(errno, std::system_category(), path);
    }
    if (const int error = io_uring_queue_init(depth, &ring_, 0); error != 0) {
        throw std::system_error(-error, std::system_category(), "io_uring");
    }
}

DeviceSource::~DeviceSource() {
    io_uring_queue_exit(&ring_);
    close(fd_);
}

bool DeviceSource::can(Verb verb) const {
    if (verb == Verb::trim) {
        return can_trim_;
    }
    return is_device_ || verb != Verb::zero; // not every file system can do that to a file
}

void DeviceSource::submit(const Request& request) {
    io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
    base::check(entry != nullptr, "more requests than slots");
    const auto length = static_cast<unsigned>(request.length);
    switch (request.verb) {
    case Verb::read:
        io_uring_prep_read(entry, fd_, request.data.data(), length, request.offset);
        break;
    case Verb::write:
        io_uring_prep_write(entry, fd_, request.data.data(), length, request.offset);
        entry->rw_flags = request.fua ? RWF_DSYNC : 0;
        break;
    case Verb::flush:
        io_uring_prep_fsync(entry, fd_, IORING_FSYNC_DATASYNC);
        break;
    case Verb::zero:
        io_uring_prep_fallocate(entry, fd_, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                static_cast<off_t>(request.offset), static_cast<off_t>(request.length));
        break;
    case Verb::trim:
        io_uring_prep_fallocate(entry, fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                static_cast<off_t>(request.offset), static_cast<off_t>(request.length));
        break;
    }
    io_uring_sqe_set_data64(entry, request.slot);
    sent_[request.slot] = {request.length, request.verb == Verb::read || request.verb == Verb::write};
}

void DeviceSource::progress(short, std::vector<Answer>& answers) {
    io_uring_submit(&ring_);
    io_uring_cqe* entry = nullptr;
    while (io_uring_peek_cqe(&ring_, &entry) == 0) {
        const auto slot = static_cast<std::size_t>(io_uring_cqe_get_data64(entry));
        const Sent& sent = sent_[slot];
        int error = entry->res < 0 ? -entry->res : 0;
        if (error == 0 && sent.moves_data && static_cast<std::uint64_t>(entry->res) != sent.length) {
            error = EIO; // a part of it is not what was asked for
        }
        io_uring_cqe_seen(&ring_, entry);
        answers.push_back({slot, error, false});
    }
}

} // namespace iscsi::faults
