// The helper's side. It may block wherever it likes; it knows nothing but the request in hand and the device
// that it has claimed.
#include "base/text.hpp"
#include "block/device_helper.hpp"
#include "block/nbd_resize.hpp"
#include "block/ublk_control.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <fmt/format.h>
#include <optional>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace iscsi::block {
namespace {

using namespace std::chrono_literals;
using Words = std::vector<std::string_view>;

constexpr auto lock_time_max = 5s;
constexpr auto lock_step = 20ms;
/// Until the kernel has all tags; the reading of the partition table is not counted.
constexpr auto fetch_time_max = 10s;

/// 0 or a positive errno, and words about it.
struct Outcome {
    int error = 0;
    std::string text;
};

std::optional<std::uint32_t> number(std::string_view word) {
    auto parsed = base::parse_decimal(word, UINT32_MAX);
    return parsed ? std::optional(static_cast<std::uint32_t>(*parsed)) : std::nullopt;
}

/// Runs to its end what needs a ring.
int run(ring::Loop& loop, ring::Task<int> task) {
    bool done = false;
    task.start([](void* flag) { *static_cast<bool*>(flag) = true; }, &done);
    while (!done) {
        loop.turn();
    }
    return task.result();
}

/// The kernel's answer to one of ublk's commands.
template <class Command>
Outcome with_ublk(Command command) {
    auto loop = ring::Loop::create(8, ring::Ring::SqeSize::wide);
    if (!loop) {
        return {ENOMEM, loop.error().message()};
    }
    auto control = UblkControl::open(**loop);
    if (!control) {
        return {ENODEV, control.error().message()};
    }
    return {-run(**loop, command(**control)), {}};
}

/// Not for a server that has died meanwhile: Linux 6.12 would make the disk all the same, and give its first
/// read to commands that are gone.
ring::Task<int> start_for(UblkControl& control, std::uint32_t device, pid_t server) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != server) {
        co_return -ECANCELED;
    }
    const base::TimePoint give_up_at = ring::monotonic_now() + fetch_time_max;
    const int result = co_await control.start_device(device, server, give_up_at);
    co_return result;
}

Outcome start_ublk(const Words& words) {
    const auto device = number(words[1]);
    const auto server = number(words[2]);
    if (!device || !server) {
        return {EINVAL, {}};
    }
    return with_ublk(
        [&](UblkControl& control) { return start_for(control, *device, static_cast<pid_t>(*server)); });
}

Outcome recover_ublk(const Words& words) {
    const auto device = number(words[1]);
    if (!device) {
        return {EINVAL, {}};
    }
    return with_ublk([&](UblkControl& control) { return control.start_user_recovery(*device); });
}

Outcome outcome_of(const base::Result<void>& done) {
    if (!done) {
        return {done.error().code == base::Errc::busy ? EBUSY : EIO, done.error().message()};
    }
    return {};
}

std::optional<NbdDeviceMark> nbd_device(const Words& words) {
    const auto index = number(words[1]);
    const auto dead_seconds = number(words[3]);
    if (!index || !dead_seconds) {
        return std::nullopt;
    }
    return NbdDeviceMark{*index, std::string(words[2]), std::chrono::seconds(*dead_seconds)};
}

Outcome stop_ublk(const Words& words) {
    const auto device = number(words[1]);
    if (!device) {
        return {EINVAL, {}};
    }
    return with_ublk([&](UblkControl& control) { return control.stop_device(*device); });
}

Outcome resize_nbd(const Words& words) {
    const auto device = nbd_device(words);
    const auto bytes = base::parse_decimal(words[4]);
    return device && bytes ? outcome_of(resize_nbd_device(*device, *bytes)) : Outcome{EINVAL, {}};
}

Outcome settle_nbd(const Words& words) {
    const auto device = nbd_device(words);
    return device ? outcome_of(settle_nbd_device(*device)) : Outcome{EINVAL, {}};
}

/// Of the self-tests.
Outcome compare(const Words& words) {
    constexpr std::size_t block_bytes = 4096;
    alignas(block_bytes) std::array<std::byte, block_bytes> data{};
    const auto wanted = number(words[2]);
    const int fd = ::open(std::string(words[1]).c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0 || !wanted) {
        return {fd < 0 ? errno : EINVAL, {}};
    }
    const ssize_t bytes = ::pread(fd, data.data(), data.size(), block_bytes);
    const int error = bytes < 0 ? errno : 0;
    ::close(fd);
    if (error != 0) {
        return {error, {}};
    }
    const bool same = bytes == block_bytes && std::ranges::all_of(data, [&](std::byte b) {
                          return std::to_integer<std::uint32_t>(b) == *wanted;
                      });
    return same ? Outcome() : Outcome{EILSEQ, "other data than was given to the kernel"};
}

class Claim {
public:
    Claim() = default;
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;
    ~Claim() { release(); }

    Outcome open(std::string_view mode, const std::string& path) {
        release();
        const int exclusive = mode == "exclusive" ? O_EXCL : 0;
        file_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | exclusive);
        if (file_ < 0) {
            return {errno, {}};
        }
        keep_udev_out();
        return {};
    }
    Outcome flush() const { return {::fsync(file_) == 0 ? 0 : errno, {}}; }
    Outcome release() {
        if (file_ >= 0) {
            ::close(std::exchange(file_, -1));
        }
        return {};
    }

private:
    /// udev looks into a device under a shared lock, and not at all while somebody else has it locked
    /// (systemd's BLOCK_DEVICE_LOCKING): it must not be reading when the device goes.
    void keep_udev_out() const {
        const auto give_up_at = std::chrono::steady_clock::now() + lock_time_max;
        while (::flock(file_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK &&
               std::chrono::steady_clock::now() < give_up_at) {
            std::this_thread::sleep_for(lock_step);
        }
    }

    int file_ = -1;
};

Outcome answer(Claim& claim, std::string_view request) {
    const Words words = base::split(request, ' ');
    const std::string_view verb = words.front();
    if (verb == "claim" && words.size() == 3) {
        return claim.open(words[1], std::string(words[2]));
    }
    if (verb == "flush") {
        return claim.flush();
    }
    if (verb == "release") {
        return claim.release();
    }
    if (verb == "compare" && words.size() == 3) {
        return compare(words);
    }
    if (verb == "start-ublk" && words.size() == 3) {
        return start_ublk(words);
    }
    if (verb == "stop-ublk" && words.size() == 2) {
        return stop_ublk(words);
    }
    if (verb == "recover-ublk" && words.size() == 2) {
        return recover_ublk(words);
    }
    if (verb == "resize-nbd" && words.size() == 5) {
        return resize_nbd(words);
    }
    if (verb == "settle-nbd" && words.size() == 4) {
        return settle_nbd(words);
    }
    return {ENOSYS, {}};
}

} // namespace

bool is_device_helper(int argc, char** argv) {
    return argc == 2 && argv[1] == device_helper_word;
}

int device_helper_main() {
    Claim claim;
    std::array<char, 4096> request{};
    while (true) {
        const ssize_t bytes = ::recv(STDIN_FILENO, request.data(), request.size(), 0);
        if (bytes <= 0) {
            return bytes == 0 ? 0 : 1;
        }
        const Outcome outcome = answer(claim, {request.data(), static_cast<std::size_t>(bytes)});
        const std::string text = fmt::format("{} {:.400}", outcome.error, outcome.text);
        // Whoever asked may be gone: the next recv() says so.
        [[maybe_unused]] const ssize_t sent = ::send(STDIN_FILENO, text.data(), text.size(), MSG_NOSIGNAL);
    }
}

} // namespace iscsi::block
