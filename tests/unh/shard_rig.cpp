#include "shard_rig.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <chrono>
#include <netinet/in.h>
#include <utility>

namespace iscsi::scripted::unh {
namespace {

constexpr std::uint32_t depth = 8;

/// The scripted disk as a scan would find it.
scsi::LunFacts facts_of(const DiskConfig& disk) {
    scsi::LunFacts facts;
    facts.lun = base::Lun(lun_field(disk.units.front()));
    facts.peripheral_type = 0;
    facts.block_bytes = disk.block_bytes;
    facts.physical_block_bytes = disk.block_bytes;
    facts.blocks = base::BlockCount(disk.blocks);
    facts.write_cache = disk.write_cache;
    facts.dpofua = true;
    return facts;
}

} // namespace

ShardRig::ShardRig(TargetConfig config) : target(config) {
    auto made = ring::Loop::create(128);
    REQUIRE(made);
    loop = std::move(*made);
    nexus = std::make_unique<shard::Nexus>(*loop, *loop, *this);
    lun = std::make_unique<shard::Lun>(*loop, *nexus, facts_of(config.disk), depth);
    lun->attach(*this);
    login.endpoints.resize(1);
    auto& address = reinterpret_cast<sockaddr_in&>(login.endpoints.front().address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(target.port());
    login.endpoints.front().address_bytes = sizeof address;
    login.login.initiator_name = "iqn.2026-01.example:initiator";
    login.login.target_name = config.name;
    login.login.isid = base::Isid(0x80123456789aULL);
    login.connect_timeout = std::chrono::seconds(10);
    login.login_timeout = std::chrono::seconds(10);
    login.logout_timeout = std::chrono::seconds(10);
}

template <class T>
ring::Task<void> ShardRig::keep(ring::Task<T> task, std::optional<T>& value) {
    value = co_await task;
}

ShardRig::~ShardRig() {
    nexus->retire();
    CHECK(turn_until([&] { return lun->idle(); }));
    lun.reset();
    ring::TaskGroup group;
    std::optional<base::Result<void>> logged_out;
    group.spawn(keep(nexus->log_out(), logged_out));
    CHECK(turn_until([&] { return logged_out.has_value(); }));
    nexus.reset();
    loop->turn(ring::monotonic_now()); // what it still had to tell
}

template <class T>
T ShardRig::run(ring::Task<T> task) {
    ring::TaskGroup group;
    std::optional<T> value;
    group.spawn(keep(std::move(task), value));
    run_until([&] { return value.has_value(); });
    return std::move(*value);
}

void ShardRig::open() {
    auto opened = run(nexus->open(login));
    REQUIRE(opened);
    nexus->resume();
}

bool ShardRig::turn_until(const std::function<bool()>& done) {
    base::TimePoint give_up_at = ring::monotonic_now() + std::chrono::seconds(30);
    while (!done() && ring::monotonic_now() < give_up_at) {
        loop->turn(ring::monotonic_now() + std::chrono::milliseconds(1));
    }
    return done();
}

Request& ShardRig::start(block::Verb verb, std::uint64_t number, std::uint32_t bytes) {
    requests_.push_back(std::make_unique<Request>());
    Request& request = *requests_.back();
    request.verb = verb;
    request.offset_bytes = number * 512;
    request.length_bytes = bytes;
    request.memory.resize(bytes);
    unsigned i = static_cast<unsigned>(requests_.size()) * 977;
    std::ranges::generate(request.memory, [&i] { return static_cast<std::byte>(++i * 13 >> 2); });
    request.data = request.memory;
    lun->start(request);
    return request;
}

int ShardRig::finish(block::Verb verb, std::uint64_t number, std::uint32_t bytes) {
    Request& request = start(verb, number, bytes);
    run_until([&] { return request.done; });
    return request.error_number;
}

void ShardRig::complete(block::Request& request, int error_number) {
    auto& ended = static_cast<Request&>(request);
    CHECK_FALSE(ended.done);
    ended.done = true;
    ended.error_number = error_number;
}

} // namespace iscsi::scripted::unh
