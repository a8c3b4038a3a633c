#include "block/device_helper.hpp"

#include "base/text.hpp"
#include "ring/await.hpp"
#include "ring/child.hpp"

#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <list>
#include <memory>
#include <poll.h>
#include <sys/socket.h>
#include <tuple>
#include <unistd.h>
#include <utility>

namespace iscsi::block {
namespace {

/// Reaps a helper whenever it may end. Those that live are kept in one place; control's thread.
class Reaper {
public:
    static void take(ring::Loop& loop, int pidfd) {
        living().push_back(std::make_unique<Reaper>(loop, pidfd));
    }

    Reaper(ring::Loop& loop, int pidfd) : op_(ring::Op::to<&Reaper::on_end>(this)), pidfd_(pidfd) {
        io_uring_prep_poll_add(loop.sqe(op_), pidfd_, POLLIN);
    }
    Reaper(const Reaper&) = delete;
    Reaper& operator=(const Reaper&) = delete;
    ~Reaper() { ::close(pidfd_); }

private:
    static std::list<std::unique_ptr<Reaper>>& living() {
        static std::list<std::unique_ptr<Reaper>> all;
        return all;
    }
    void on_end(ring::Completion completion) {
        if (completion.result >= 0) {
            std::ignore = ring::reap_child(pidfd_);
        }
        living().remove_if([this](const auto& reaper) { return reaper.get() == this; });
    }

    ring::Op op_;
    int pidfd_;
};

} // namespace

DeviceHelper::DeviceHelper(ring::Loop& loop, int socket, int pidfd)
    : loop_(loop), socket_(socket), pidfd_(pidfd) {}

DeviceHelper::~DeviceHelper() {
    ::close(socket_);
    Reaper::take(loop_, pidfd_);
}

base::Result<std::unique_ptr<DeviceHelper>> DeviceHelper::start(ring::Loop& loop) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        return base::fail(base::Errc::internal, fmt::format("socketpair: {}", std::strerror(errno)));
    }
    // Not by its name: an upgrade may have put another program there.
    auto started =
        ring::start_child({{"/proc/self/exe"}, {"iscsid", std::string(device_helper_word)}, ends[1]});
    ::close(ends[1]);
    if (!started) {
        ::close(ends[0]);
        return base::fail(std::move(started.error()));
    }
    return std::unique_ptr<DeviceHelper>(new DeviceHelper(loop, ends[0], *started));
}

bool DeviceHelper::is_standing_still() {
    if (late_) {
        const ssize_t bytes = ::recv(socket_, answer_.data(), answer_.size(), MSG_DONTWAIT);
        late_ = bytes < 0 && errno == EAGAIN;
    }
    return late_;
}

void DeviceHelper::tell(ring::Loop& loop, const std::string& request) {
    if (auto helper = start(loop)) {
        std::ignore = ::send((*helper)->socket_, request.data(), request.size(), MSG_NOSIGNAL);
    }
}

ring::Task<DeviceHelper::Answer> DeviceHelper::ask(std::string request, base::Deadline deadline) {
    Answer answer;
    if (is_standing_still()) {
        answer.result = -ETIME;
        co_return answer;
    }
    // A short message on an empty socket: never waits.
    if (::send(socket_, request.data(), request.size(), MSG_NOSIGNAL) < 0) {
        co_return answer;
    }
    ring::OpWait receiving(loop_);
    io_uring_prep_recv(receiving.sqe(), socket_, answer_.data(), answer_.size(), 0);
    receiving.expire_at(deadline);
    const int bytes = co_await receiving;
    if (bytes <= 0) {
        late_ = receiving.expired();
        answer.result = late_ ? -ETIME : -EPIPE;
        co_return answer;
    }
    const std::string_view text(answer_.data(), static_cast<std::size_t>(bytes));
    const std::size_t space = std::min(text.find(' '), text.size());
    const auto number = base::parse_decimal(text.substr(0, space));
    answer.result = -static_cast<int>(number.value_or(EPROTO));
    answer.text = text.substr(std::min(space + 1, text.size()));
    co_return answer;
}

ring::Task<DeviceHelper::Answer> ask_device_helper(ring::Loop& loop, std::string request,
                                                   base::Deadline deadline) {
    auto helper = DeviceHelper::start(loop);
    if (!helper) {
        DeviceHelper::Answer answer;
        answer.text = helper.error().message();
        co_return answer;
    }
    DeviceHelper::Answer answer = co_await (*helper)->ask(std::move(request), deadline);
    co_return answer;
}

ring::Task<int> start_ublk_in_helper(ring::Loop& loop, std::uint32_t dev_id) {
    std::string request = fmt::format("start-ublk {} {}", dev_id, ::getpid());
    auto answer = co_await ask_device_helper(loop, std::move(request), base::Deadline());
    co_return answer.result;
}

} // namespace iscsi::block
