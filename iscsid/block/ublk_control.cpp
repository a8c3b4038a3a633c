#include "block/ublk_control.hpp"

#include "block/device_helper.hpp"
#include "ring/await.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <string>
#include <unistd.h>
#include <utility>

namespace iscsi::block {
namespace {

constexpr const char* control_path = "/dev/ublk-control";
/// For START_USER_RECOVERY to get at a device whose start may not have ended.
constexpr auto locked_time_max = std::chrono::seconds(10);

ublk::ControlCommand about(std::uint32_t dev_id) {
    ublk::ControlCommand command;
    command.dev_id = dev_id;
    return command;
}

/// A command with a struct beside it, which the kernel reads or writes while the command runs.
template <class T>
ublk::ControlCommand about(std::uint32_t dev_id, T& beside) {
    ublk::ControlCommand command = about(dev_id);
    command.address = reinterpret_cast<std::uintptr_t>(&beside);
    command.length = sizeof beside;
    return command;
}

ublk::ControlCommand with_data(std::uint32_t dev_id, std::uint64_t data) {
    ublk::ControlCommand command = about(dev_id);
    command.data = data;
    return command;
}

} // namespace

base::Result<std::unique_ptr<UblkControl>> UblkControl::open(ring::Loop& loop) {
    const int fd = ::open(control_path, O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        return std::unique_ptr<UblkControl>(new UblkControl(loop, fd));
    }
    if (errno == EACCES || errno == EPERM) {
        return base::fail(base::Errc::access_denied,
                          fmt::format("{}: {}", control_path, std::strerror(errno)));
    }
    return base::fail(base::Errc::not_supported,
                      fmt::format("{}: {} (no ublk driver in this kernel, or ublk_drv is not loaded)",
                                  control_path, std::strerror(errno)));
}

UblkControl::UblkControl(ring::Loop& loop, int fd) : loop_(loop), fd_(fd) {}

UblkControl::~UblkControl() {
    ::close(fd_);
}

ring::Task<int> UblkControl::run(std::uint32_t operation, ublk::ControlCommand command,
                                 base::Deadline deadline) {
    ring::OpWait done(loop_);
    io_uring_sqe* sqe = done.sqe();
    sqe->opcode = IORING_OP_URING_CMD;
    sqe->fd = fd_;
    sqe->cmd_op = operation;
    std::memcpy(reinterpret_cast<std::byte*>(sqe) + ublk::argument_offset, &command, sizeof command);
    done.expire_at(deadline);
    const int result = co_await done;
    co_return result;
}

ring::Task<int> UblkControl::get_features(std::uint64_t& features) {
    return run(ublk::get_features, about(ublk::any_device, features), {});
}

ring::Task<int> UblkControl::add_device(ublk::DeviceInfo& info) {
    return run(ublk::add_dev, about(info.dev_id, info), {});
}

ring::Task<int> UblkControl::get_device_info(std::uint32_t dev_id, ublk::DeviceInfo& info) {
    return run(ublk::get_dev_info, about(dev_id, info), {});
}

ring::Task<int> UblkControl::set_parameters(std::uint32_t dev_id, const ublk::Parameters& parameters) {
    return run(ublk::set_params, about(dev_id, parameters), {});
}

ring::Task<int> UblkControl::start_device(std::uint32_t dev_id, pid_t server, base::Deadline deadline) {
    return run(ublk::start_dev, with_data(dev_id, static_cast<std::uint64_t>(server)), deadline);
}

ring::Task<int> UblkControl::stop_device(std::uint32_t dev_id) {
    return run(ublk::stop_dev, about(dev_id), {});
}

ring::Task<int> UblkControl::delete_device(std::uint32_t dev_id) {
    return run(ublk::del_dev, about(dev_id), {});
}

ring::Task<int> UblkControl::delete_device_async(std::uint32_t dev_id) {
    return run(ublk::del_dev_async, about(dev_id), {});
}

ring::Task<int> UblkControl::start_user_recovery(std::uint32_t dev_id) {
    return run(ublk::start_user_recovery, about(dev_id), {});
}

ring::Task<int> UblkControl::stop_device_aside(std::uint32_t dev_id, base::Deadline deadline) {
    std::string request = fmt::format("stop-ublk {}", dev_id);
    const auto answer = co_await ask_device_helper(loop_, std::move(request), deadline);
    co_return answer.result;
}

ring::Task<int> UblkControl::start_user_recovery_aside(std::uint32_t dev_id) {
    std::unique_ptr<DeviceHelper>& helper = recoverers_[dev_id];
    if (helper == nullptr) {
        auto started = DeviceHelper::start(loop_);
        if (!started) {
            recoverers_.erase(dev_id);
            co_return -EPIPE;
        }
        helper = std::move(*started);
    }
    std::string request = fmt::format("recover-ublk {}", dev_id);
    const base::Deadline deadline = ring::monotonic_now() + locked_time_max;
    const auto answer = co_await helper->ask(std::move(request), deadline);
    if (answer.result != -ETIME && answer.result != -EBUSY) {
        recoverers_.erase(dev_id);
    }
    co_return answer.result;
}

ring::Task<int> UblkControl::end_user_recovery(std::uint32_t dev_id, base::Deadline deadline) {
    return run(ublk::end_user_recovery, with_data(dev_id, static_cast<std::uint64_t>(::getpid())), deadline);
}

ring::Task<int> UblkControl::update_size(std::uint32_t dev_id, std::uint64_t sectors) {
    return run(ublk::update_size, with_data(dev_id, sectors), {});
}

ring::Task<int> UblkControl::quiesce_device(std::uint32_t dev_id, std::chrono::milliseconds patience) {
    return run(ublk::quiesce_dev, with_data(dev_id, static_cast<std::uint64_t>(patience.count())), {});
}

} // namespace iscsi::block
