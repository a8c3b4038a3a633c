// The daemon's own sockets against the scripted target: a Nexus and a Lun on a loop of this thread, the
// target behind a TCP port of the loopback (scripted/tcp_server.hpp).
#pragma once

#include "ring/loop.hpp"
#include "scripted/tcp_server.hpp"
#include "shard/lun.hpp"
#include "shard/nexus.hpp"

#include <catch2/catch.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace iscsi::scripted::unh {

/// A request of a block device, with its memory.
struct Request : block::Request {
    bool done = false;
    int error_number = -1;
    ByteVector memory;
};

class ShardRig final : public block::BlockQueue, public shard::NexusObserver {
public:
    explicit ShardRig(TargetConfig config = {});
    ~ShardRig() override;

    /// Logs in and opens the path.
    void open();
    /// Turns the loop until this holds; fails the test after half a minute.
    void run_until(const std::function<bool()>& done) { REQUIRE(turn_until(done)); }
    /// Starts a request; `number` is that of the first block.
    Request& start(block::Verb verb, std::uint64_t number, std::uint32_t bytes);
    /// Starts it, waits for its end, and returns its errno.
    int finish(block::Verb verb, std::uint64_t number, std::uint32_t bytes);

    TcpServer target;
    shard::OpenRequest login; ///< of the next open(); may be changed
    std::unique_ptr<ring::Loop> loop;
    std::unique_ptr<shard::Nexus> nexus;
    std::unique_ptr<shard::Lun> lun;
    std::vector<session::Event> events;
    std::vector<base::Error> drops;

private:
    /// False when it took half a minute and more.
    bool turn_until(const std::function<bool()>& done);
    void complete(block::Request& request, int error_number) override;
    void resize(const block::Attributes&) override {}
    void close(std::function<void()>) override {}
    void on_nexus_dropped(const base::Error& error) override { drops.push_back(error); }
    void on_nexus_event(const session::Event& event) override { events.push_back(event); }
    void on_lun_effects(base::Lun, const scsi::Disposition&) override {}
    template <class T>
    static ring::Task<void> keep(ring::Task<T> task, std::optional<T>& value);
    template <class T>
    T run(ring::Task<T> task);

    std::vector<std::unique_ptr<Request>> requests_;
};

} // namespace iscsi::scripted::unh
