// What the shard's tests share: a Nexus and a Lun on a loop of this thread, and a target on the other side of
// a real loopback connection. The target logs anybody in, then a FakeTarget judges every PDU, and a disk in
// memory answers SCSI; a test bends single answers. Everything on one thread: turn() gives each side its
// turn.
#pragma once

#include "base/check.hpp"
#include "ring/loop.hpp"
#include "shard/lun.hpp"
#include "shard/nexus.hpp"
#include "support/fake_target.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace iscsi::test {

/// A SCSI command as the target saw it, with its data.
struct SeenCommand {
    base::Lun lun;
    std::array<std::byte, 16> cdb{};
    std::vector<std::byte> data;
    std::uint32_t itt = 0;
    std::uint32_t expected_bytes = 0;

    unsigned operation() const { return std::to_integer<unsigned>(cdb[0]); }
    unsigned byte(std::size_t i) const { return std::to_integer<unsigned>(cdb[i]); }
    std::uint64_t lba() const;
    std::uint64_t blocks() const;
    bool fua() const { return (byte(1) & 0x08U) != 0; }
};

/// What a test makes the disk say instead. A silent one never answers.
struct Bent {
    std::uint8_t status = 0;
    std::array<std::uint8_t, 3> sense{};     ///< key, ASC, ASCQ; with CHECK CONDITION
    std::optional<std::uint32_t> read_bytes; ///< a GOOD read with fewer bytes
    bool silent = false;
    bool deferred = false;            ///< the sense is of an earlier command
    std::uint32_t overflow_bytes = 0; ///< good, and there was more than was asked for
};

class Target {
public:
    explicit Target(std::size_t disk_bytes);
    Target(const Target&) = delete;
    Target& operator=(const Target&) = delete;
    ~Target();

    std::uint16_t port() const { return port_; }
    /// Accepts, receives, answers; never waits.
    void pump();
    /// The session was negotiated: a judge takes over.
    void begin_session(const shard::OpenReply& reply);
    /// Of the session, while there is one.
    testing::FakeTarget& judge() { return *judge_; }
    /// Ends the connection at once, as a target that dies.
    void die();

    std::function<std::optional<Bent>(const SeenCommand&)> bend;
    bool refuse_login = false;
    std::vector<std::byte> disk;
    std::vector<SeenCommand> seen;
    std::vector<std::uint64_t> isids; ///< of each login
    std::vector<std::uint16_t> tsihs; ///< as requested
    std::vector<std::string> violations() const;
    bool remember = true; ///< in `seen`
    int ended_with = -1;  ///< the initiator's end of the last connection: 0 orderly, or an errno

private:
    void receive(base::Bytes bytes);
    bool take_login();
    std::string login_text(const std::string& request) const;
    bool on_pdu(const wire::Bhs& header, base::Bytes data);
    void answer(const SeenCommand& command);
    void answer_bent(const SeenCommand& command, const Bent& bent);
    void send(base::Bytes bytes);

    int listener_ = -1;
    int fd_ = -1;
    std::uint16_t port_ = 0;
    std::vector<std::byte> input_;
    std::vector<std::byte> output_;
    wire::LoginResponse last_response_;
    std::unique_ptr<testing::FakeTarget> judge_;
    std::vector<std::string> old_violations_;
    std::vector<char> buffer_;
};

/// A request and what became of it; one that reads may take the data itself.
struct Io : block::Request, base::DataSink {
    void put(std::uint64_t offset, base::Bytes bytes) override {
        base::check(!done && offset + bytes.size() <= memory.size(), "data come for a read in progress");
        std::copy(bytes.begin(), bytes.end(), memory.begin() + static_cast<std::ptrdiff_t>(offset));
    }
    void read_into_sink() {
        data = {};
        sink = this;
    }
    bool done = false;
    int error_number = -1;
    std::vector<std::byte> memory;
};

class Bench final : public block::BlockQueue, public shard::NexusObserver {
public:
    static constexpr std::uint32_t block_bytes = 512;
    static constexpr std::uint64_t disk_bytes = 8 << 20;

    explicit Bench(const scsi::LunFacts& facts = disk_facts(), std::uint32_t depth = 8);
    ~Bench() override;

    /// An ordinary disk: write cache, DPOFUA, no provisioning.
    static scsi::LunFacts disk_facts();

    /// Logs in; the path stays down.
    void open() { open(open_request()); }
    void open(const shard::OpenRequest& request);
    tl::expected<shard::OpenReply, shard::OpenFailure> try_open();
    shard::OpenRequest open_request() const { return open_request(target.port()); }
    static shard::OpenRequest open_request(std::uint16_t port);
    void turn();
    void run_until(const std::function<bool()>& done);
    template <class T>
    T run(ring::Task<T> task);

    std::unique_ptr<Io> request(block::Verb verb, std::uint64_t offset, std::uint64_t bytes,
                                bool fua = false);
    std::unique_ptr<Io> write(std::uint64_t offset, std::uint64_t bytes, unsigned seed, bool fua = false);
    /// Starts it and waits for its end.
    int finish(Io& io);
    int execute(block::Verb verb, std::uint64_t offset, std::uint64_t bytes, bool fua = false);
    /// Operation codes the target saw, in order.
    std::vector<unsigned> operations() const;

    void complete(block::Request& request, int error_number) override;
    bool hold(block::Request& request) override {
        held.insert(held.end(), holds ? 1 : 0, &request);
        return holds;
    }
    void release_held() override {
        for (block::Request* request : std::exchange(held, {})) {
            lun->start(*request);
        }
    }
    void resize(const block::Attributes&) override {}
    void close(std::function<void()>) override {}
    void on_nexus_dropped(const base::Error& error) override;
    void on_nexus_event(const session::Event& event) override { told.push_back(event); }
    void on_lun_effects(base::Lun, const scsi::Disposition& disposition) override;

    std::unique_ptr<ring::Loop> loop;
    Target target;
    std::unique_ptr<shard::Nexus> nexus;
    std::unique_ptr<shard::Lun> lun;
    int drops = 0;
    std::vector<session::Event> told;
    int effects = 0; ///< times that news of the unit came
    scsi::Effects news;
    /// What an inspection finds when the unit's identity is in doubt; empty: nobody looks.
    std::optional<scsi::LunFacts> inspected;
    std::string drop_reason;
    bool holds = false; ///< takes requests back that cannot go on
    std::vector<block::Request*> held;

private:
    template <class T>
    static ring::Task<void> keep(ring::Task<T> task, std::optional<T>& value);
};

template <class T>
ring::Task<void> Bench::keep(ring::Task<T> task, std::optional<T>& value) {
    value = co_await task;
}

template <class T>
T Bench::run(ring::Task<T> task) {
    ring::TaskGroup group;
    std::optional<T> value;
    group.spawn(keep(std::move(task), value));
    run_until([&] { return value.has_value(); });
    return std::move(*value);
}

/// Logs in and opens the path.
inline void start_session(Bench& bench, const shard::OpenRequest& request) {
    bench.open(request);
    bench.nexus->resume();
}
inline void start_session(Bench& bench) {
    start_session(bench, bench.open_request());
}

/// Answers the first `count` commands with `bent`.
inline void bend_first(Bench& bench, int count, Bent bent) {
    bench.target.bend = [count, bent](const SeenCommand&) mutable -> std::optional<Bent> {
        if (count-- > 0) {
            return bent;
        }
        return std::nullopt;
    };
}

} // namespace iscsi::test
