#include "guest_serve.hpp"

#include "block/backends.hpp"
#include "block/device_use.hpp"
#include "block/udev.hpp"
#include "ring/await.hpp"
#include "shard/shard.hpp"
#include "support/memory_block.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fstream>
#include <future>
#include <iterator>
#include <memory>
#include <utility>

namespace iscsi::test {
namespace {

using Words = std::vector<std::string>;

int complain(const base::Error& error) {
    std::fprintf(stderr, "%s\n", error.message().c_str());
    return base::exit_code(error.code);
}

void say(const std::string& line) {
    std::puts(line.c_str());
    std::fflush(stdout);
}

std::unique_ptr<MemoryBlock> load(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    auto disk = std::make_unique<MemoryBlock>(text.size());
    std::memcpy(disk->data.data(), text.data(), text.size());
    return disk;
}

block::KernelDeviceRequest request_of(const Words& words, std::size_t bytes) {
    block::KernelDeviceRequest request;
    request.cookie = std::strtoull(words[3].c_str(), nullptr, 16);
    request.attributes.size_bytes = bytes;
    request.attributes.volatile_cache = true;
    request.attributes.max_request_bytes = 1U << 20;
    request.by_path_name = words[5];
    request.properties = pairs(words, 6);
    return request;
}

using Made = base::Result<std::unique_ptr<block::BlockDevice>>;

ring::Task<Made> make(block::Backends& backends, const Words& words, std::size_t bytes) {
    block::KernelDeviceRequest request = request_of(words, bytes);
    if (words[1] == "take-back") {
        const auto backend = words[2] == "nbd" ? block::Backend::nbd : block::Backend::ublk;
        Made taken = co_await backends.take_back(backend, std::move(request));
        co_return taken;
    }
    auto said = co_await backends.choose(std::nullopt);
    block::DeviceIdentity identity;
    Made made = co_await backends.create(identity, std::move(request));
    co_return made;
}

/// As a logout does it: nobody may begin to use the device meanwhile.
ring::Task<base::Result<void>> remove(ring::Loop& loop, block::BlockDevice& device) {
    const auto mode = block::DeviceClaim::Mode::exclusive;
    auto claim = co_await block::DeviceClaim::open(loop, device.path(), mode);
    if (!claim) {
        co_return base::fail(std::move(claim.error()));
    }
    co_await claim->release();
    auto removed = co_await device.remove();
    co_return removed;
}

/// From start() to remove().
ring::Task<int> show(ring::Loop& loop, block::BlockDevice& device) {
    auto started = co_await device.start();
    if (!started) {
        co_return complain(started.error());
    }
    say(fmt::format("serving {} {}", device.name(), fmt::join(device.links(), " ")));
    std::getchar();
    auto removed = co_await remove(loop, device);
    if (!removed) {
        co_return complain(removed.error());
    }
    say("removed");
    co_return 0;
}

} // namespace

std::vector<std::pair<std::string, std::string>> pairs(const Words& words, std::size_t first) {
    std::vector<std::pair<std::string, std::string>> out;
    for (std::size_t i = first; i < words.size(); ++i) {
        const std::size_t sign = words[i].find('=');
        out.emplace_back(words[i].substr(0, sign), words[i].substr(sign + 1));
    }
    return out;
}

ring::Task<int> serve(ring::Loop& loop, const Words& words) {
    constexpr std::size_t pool_bytes = std::size_t{16} << 20;
    std::unique_ptr<MemoryBlock> disk = load(words[4]);
    auto shard = shard::Shard::start({0, pool_bytes});
    if (!shard) {
        co_return complain(shard.error());
    }
    block::Backends::Config config;
    config.wanted = words[2];
    block::Backends backends(loop, std::move(config));
    Made device = co_await make(backends, words, disk->data.size());
    if (!device) {
        co_return complain(device.error());
    }
    ring::Loop& there = (*shard)->loop();
    auto make_queue = [&] { return (*device)->make_queue({there, (*shard)->pool(), *disk}); };
    ring::Call making(loop, there, make_queue);
    auto queue = co_await making;
    if (!queue) {
        co_return complain(queue.error());
    }
    disk->complete = [&](block::Request& request, int error) { (*queue)->complete(request, error); };
    const int status = co_await show(loop, **device);
    std::promise<void> closed;
    auto close = [&] {
        (*queue)->close([&] {
            queue->reset();
            closed.set_value();
        });
    };
    ring::Call closing(loop, there, close);
    co_await closing;
    closed.get_future().get();
    co_return status;
}

} // namespace iscsi::test
