#include "control/daemon.hpp"

#include "base/limits.hpp"
#include "control/log.hpp"
#include "ipc/page.hpp"

#include <algorithm>
#include <unistd.h>
#include <utility>
#include <variant>

namespace iscsi::control {
namespace {

/// Of each shard's data. All of it is locked when it was in use once: on a machine with little memory that
/// must not be most of what there is.
std::size_t pool_bytes(unsigned shards) {
    const auto memory = static_cast<std::size_t>(::sysconf(_SC_PHYS_PAGES)) *
                        static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t share = memory / base::limits::pools_share / shards;
    return std::clamp(share & ~(base::limits::block_request_bytes_max - std::size_t{1}),
                      std::size_t{base::limits::block_request_bytes_max}, base::limits::shard_pool_bytes);
}

constexpr base::Duration farewell_time = std::chrono::seconds(2);

} // namespace

Daemon::Daemon(DaemonConfig config) : config_(std::move(config)), state_(config_.paths.sessions_dir()) {}

base::Result<std::unique_ptr<Daemon>> Daemon::create(DaemonConfig config) {
    std::unique_ptr<Daemon> daemon(new Daemon(std::move(config)));
    daemon->dice_.seed(std::random_device()());
    // Wide, for the control commands of ublk devices.
    constexpr unsigned entries = 256;
    auto loop = ring::Loop::create(entries, ring::Ring::SqeSize::wide);
    if (!loop) {
        return base::fail(std::move(loop.error()));
    }
    daemon->loop_ = std::move(*loop);
    block::Backends::Config backends;
    backends.wanted = daemon->config_.block;
    backends.exports = {daemon->config_.paths.luns_dir(), daemon->config_.paths.by_path_dir()};
    backends.zero_copy_bytes_min = daemon->config_.ublk_zero_copy_bytes_min;
    backends.load_module = daemon->config_.load_module;
    daemon->backends_ = std::make_unique<block::Backends>(*daemon->loop_, std::move(backends));
    for (unsigned i = 0; i < daemon->config_.shards; ++i) {
        shard::ShardConfig shard_config;
        shard_config.index = i;
        shard_config.pool_bytes = pool_bytes(daemon->config_.shards);
        auto shard = shard::Shard::start(shard_config);
        if (!shard) {
            return base::fail(std::move(shard.error()));
        }
        daemon->shards_.push_back(std::move(*shard));
    }
    return daemon;
}

Daemon::~Daemon() = default;

std::vector<ring::Loop*> Daemon::shard_loops() const {
    std::vector<ring::Loop*> loops;
    for (const auto& shard : shards_) {
        loops.push_back(&shard->loop());
    }
    return loops;
}

void Daemon::watch_network() {
    network_ = std::make_unique<NetworkWatch>(*loop_, [this] { on_network_change(); });
    if (auto opened = network_->open(); !opened) {
        log::warning("changes of the network will not be noticed: {}", opened.error().detail);
        return;
    }
    recoveries_.spawn(network_->run());
}

ring::Task<ipc::Reply> Daemon::handle(ipc::Request request) {
    if (stopping_) {
        ipc::ErrorReply refused{{base::Errc::cancelled, "iscsid is stopping"}};
        co_return ipc::Reply(std::move(refused));
    }
    if (auto* discovery = std::get_if<ipc::Discover>(&request)) {
        ipc::Reply reply = co_await discover(std::move(*discovery));
        co_return reply;
    }
    if (auto* login = std::get_if<ipc::Login>(&request)) {
        ipc::Reply reply = co_await log_in(std::move(*login));
        co_return reply;
    }
    if (auto* logout = std::get_if<ipc::Logout>(&request)) {
        ipc::Reply reply = co_await log_out(*logout);
        co_return reply;
    }
    if (auto* again = std::get_if<ipc::Rescan>(&request)) {
        ipc::Reply reply = co_await rescan(*again);
        co_return reply;
    }
    if (auto* sessions = std::get_if<ipc::Sessions>(&request)) {
        ipc::Reply reply = co_await list_sessions(*sessions);
        co_return reply;
    }
    if (std::holds_alternative<ipc::Stop>(request)) {
        log::event(log::About{ipc::Event::daemon_ending}, "asked to stop");
        stop_requested_.set();
        co_return ipc::Reply(ipc::Done());
    }
    co_return info();
}

ipc::Reply Daemon::info() const {
    ipc::InfoReply reply;
    reply.version = ISCSI_VERSION;
    reply.initiator_name = config_.initiator.name;
    reply.initiator_alias = config_.initiator.alias;
    reply.pid = ::getpid();
    return reply;
}

ring::Task<ipc::Reply> Daemon::list_sessions(ipc::Sessions request) {
    ipc::SessionsReply reply;
    std::optional<ipc::ListPage> page;
    if (request.after) {
        page.emplace(*request.after);
    }
    for (std::uint32_t sid : registry_.sids()) {
        if (page && page->is_full()) {
            break;
        }
        // Between two answers a session may have gone.
        ManagedSession* session = registry_.find(sid);
        if (session == nullptr || session->state == ManagedSession::State::logging_in || !session->nexus ||
            (page && page->is_past(sid))) {
            continue;
        }
        base::SessionStatistics statistics;
        for (std::size_t i = 0; session != nullptr && i < family(*session).size(); ++i) {
            ManagedSession& member = *family(*session).at(i);
            if (member.nexus == nullptr) {
                continue;
            }
            // Messages to a shard are delivered in order: one that destroys the nexus would come after this
            // one.
            auto work = [nexus = member.nexus.get()] { return nexus->statistics(); };
            ring::Call call(*loop_, member.shard.loop(), work);
            base::SessionStatistics of_member = co_await call;
            statistics = base::sum(statistics, of_member);
            session = registry_.find(sid);
        }
        if (session == nullptr) {
            continue;
        }
        ipc::SessionSnapshot snapshot = session->snapshot(statistics);
        if (page && !page->take(snapshot)) {
            continue;
        }
        if (request.with_io) {
            add_io(*session, snapshot);
        }
        reply.sessions.push_back(std::move(snapshot));
    }
    if (page && page->is_full()) {
        reply.next = page->end();
    }
    co_return ipc::Reply(std::move(reply));
}

ring::Task<void> Daemon::end_sessions() {
    stopping_ = true;
    stop_.set();
    if (discoveryd_) {
        discoveryd_->end();
    }
    for (std::uint32_t sid : registry_.sids()) {
        // While one was waited for, others may have ended by themselves.
        ManagedSession* session = registry_.find(sid);
        const bool lasts =
            session != nullptr && (!lasting_devices(*session).empty() || makes_lasting_device(*session));
        if (lasts) {
            leaves_devices_ = true;
            co_await hand_over(*session);
        } else if (session != nullptr) {
            session->keep_state = session->established && session->state != ManagedSession::State::ending;
            co_await abandon_session(*session);
        }
    }
    network_->end();
    if (leaves_devices_) {
        // Users wait for the next daemon: what can be said to iSNS servers until then is said.
        const base::TimePoint give_up_at = loop_->now() + farewell_time;
        ring::EventOrDeadline farewell(*loop_, discoveryd_->ended(), give_up_at);
        co_await farewell;
        co_return;
    }
    co_await discovering_.join();
    co_await recoveries_.join();
}

void Daemon::stop_shards() {
    base::check(std::ranges::all_of(shards_, [](const auto& shard) { return shard->sessions == 0; }),
                "sessions end before their shards");
    shards_.clear();
    // What the shards still had to tell.
    loop_->turn(ring::monotonic_now());
}

} // namespace iscsi::control
