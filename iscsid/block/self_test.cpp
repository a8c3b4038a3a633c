#include "block/self_test.hpp"

#include "block/device_helper.hpp"
#include "ring/await.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fmt/format.h>

namespace iscsi::block {
namespace {

constexpr std::size_t test_bytes = std::size_t{64} * 1024;
constexpr unsigned test_pattern = 0xa5;
constexpr auto answer_time_max = std::chrono::seconds(10);

} // namespace

void PatternDisk::start(Request& request) {
    if (request.verb == Verb::read && request.sink != nullptr) {
        std::array<std::byte, 4096> part;
        part.fill(std::byte{test_pattern});
        for (std::uint64_t at = 0; at < request.length_bytes; at += part.size()) {
            request.sink->put(at, base::Bytes(part).first(std::min(request.length_bytes - at, part.size())));
        }
    }
    std::fill(request.data.begin(), request.data.end(), std::byte{test_pattern});
    queue->complete(request, request.verb == Verb::read ? 0 : EOPNOTSUPP);
}

KernelDeviceRequest self_test_request(std::uint64_t cookie) {
    KernelDeviceRequest request;
    request.cookie = cookie;
    request.depth = 4;
    request.outlives_daemon = false;
    request.attributes.size_bytes = test_bytes;
    request.properties.emplace_back("UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG", "1");
    request.abandoned_timeout = std::chrono::seconds(1);
    return request;
}

ring::Task<base::Result<void>> see_pattern(ring::Loop& loop, std::string path) {
    std::string request = fmt::format("compare {} {}", path, test_pattern);
    const base::Deadline deadline = ring::monotonic_now() + answer_time_max;
    const auto answer = co_await ask_device_helper(loop, std::move(request), deadline);
    if (answer.result != 0) {
        const std::string why = answer.text.empty() ? std::strerror(-answer.result) : answer.text;
        co_return base::fail(base::Errc::internal, fmt::format("a read of {}: {}", path, why));
    }
    co_return base::Result<void>();
}

ring::Task<void> close_queue(BlockQueue& queue) {
    ring::Event closed;
    queue.close([&] { closed.set(); });
    co_await closed;
}

} // namespace iscsi::block
