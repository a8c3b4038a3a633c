#include "sim/world.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace iscsi::sim {
namespace {

using std::chrono::microseconds;
using std::chrono::seconds;

/// Longer than the longest chain of timeouts of one request.
constexpr base::Duration patience = seconds(1800);

} // namespace

scsi::LunFacts facts_of(const Plan& plan) {
    scsi::LunFacts facts;
    facts.lun = base::Lun(std::uint64_t{1} << 48);
    facts.peripheral_type = 0;
    facts.block_bytes = block_bytes;
    facts.physical_block_bytes = block_bytes;
    facts.blocks = base::BlockCount(plan.blocks);
    facts.write_cache = plan.write_cache;
    facts.dpofua = plan.dpofua;
    facts.provisioned = true;
    facts.provisioning_page = true;
    facts.lbpu = true;
    facts.lbpws = true;
    facts.lbprz = plan.lbprz;
    facts.limits.max_transfer_blocks = plan.max_transfer_blocks;
    facts.limits.max_unmap_blocks = 8;
    facts.limits.max_unmap_descriptors = 1;
    facts.limits.max_write_same_blocks = 8;
    return facts;
}

World::World(Stage& stage, const Plan& plan)
    : stage_(stage), plan_(plan), shadow_(stage, plan.blocks), medium_(stage, shadow_, plan.write_cache),
      kernel_(stage), target_(kernel_, medium_, plan) {
    kernel_.listen(target_);
    loop_ = std::move(*ring::Loop::create());
    control_ = std::make_unique<Control>(stage, *loop_, plan);
    const scsi::LunFacts facts = facts_of(plan);
    lun_ = std::make_unique<shard::Lun>(*loop_, control_->nexus(), facts, plan.depth);
    lun_->attach(*this);
    control_->serve(*lun_, facts);
    next_start_.reset(new ring::Timer(ring::Timer::to<&World::start_some>(loop_->timers(), this)));
}

World::~World() = default;

void World::run() {
    control_->begin();
    next_start_->arm(stage_.now + microseconds(1));
    if (!turn_until(&World::all_done)) {
        return;
    }
    stage_.say("--- all requests have ended; now everything is read");
    target_.calm_down();
    if (!turn_until(&World::is_up)) {
        return;
    }
    start_verifying();
    if (turn_until(&World::verified)) {
        end();
    }
}

void World::end() {
    for (const auto& request : requests_) {
        if (std::ranges::find_if(request->memory, [](std::byte byte) { return byte != poison; }) !=
            request->memory.end()) {
            return stage_.fail("the memory of a request was written to after its end");
        }
    }
    control_->end();
    if (!turn_until(&World::lun_is_idle)) {
        return;
    }
    if (lun_->counters().replays > 0 && !plan_.holds) {
        stage_.met.add(Encounter::parked);
    }
    lun_.reset();
    control_->log_out();
    if (turn_until(&World::is_logged_out)) {
        next_start_.reset();
        loop_->turn(stage_.now);
        control_.reset();
        loop_.reset();
    }
}

bool World::turn_until(bool (World::*done)() const) {
    while (!(this->*done)() && !stage_.broken()) {
        loop_->turn();
        check();
    }
    return !stage_.broken();
}

void World::check() {
    if (kernel_.stuck()) {
        stage_.fail("nothing will ever happen any more; {} requests have not ended", running_);
    }
    for (const auto& request : requests_) {
        if (request->state != Request::State::done && stage_.now > request->began + patience) {
            stage_.fail("a request has not ended after {} s", patience / seconds(1));
        }
    }
    if (stage_.now.time_since_epoch() > 20 * patience) {
        stage_.fail("the schedule does not end");
    }
}

void World::start_some() {
    Dice& dice = stage_.dice;
    std::uint32_t count = dice.one_in(3) ? dice.between(1, 4) : 1;
    for (; count > 0 && started_ < plan_.requests; --count) {
        ++started_;
        requests_.push_back(std::make_unique<Request>());
        draw(*requests_.back());
        begin(*requests_.back());
    }
    if (started_ < plan_.requests) {
        const auto longest = static_cast<std::uint64_t>(plan_.pause_max.count());
        next_start_->arm(loop_->now() + base::Duration(1000 + (longest > 0 ? dice.below(longest) : 0)));
    }
}

void World::draw(Request& request) {
    Dice& dice = stage_.dice;
    using block::Verb;
    constexpr Verb verbs[] = {Verb::read,  Verb::read,  Verb::read,         Verb::write,  Verb::write,
                              Verb::write, Verb::flush, Verb::write_zeroes, Verb::discard};
    request.verb = dice.pick(verbs);
    if (request.verb == Verb::flush) {
        return;
    }
    const std::uint32_t blocks = dice.between(1, plan_.blocks_at_a_time);
    // Near to each other, so that they meet.
    const std::uint32_t room = plan_.blocks - blocks + 1;
    const std::uint32_t first = dice.below(dice.one_in(2) ? room : std::min(room, 8U));
    request.offset_bytes = std::uint64_t{first} * block_bytes;
    request.length_bytes = std::uint64_t{blocks} * block_bytes;
    request.fua = dice.one_in(4) && (request.verb == Verb::write || request.verb == Verb::write_zeroes);
    request.may_unmap = dice.one_in(2);
}

void World::begin(Request& request) {
    using block::Verb;
    const Range range{static_cast<std::uint32_t>(request.offset_bytes / block_bytes),
                      static_cast<std::uint32_t>(request.length_bytes / block_bytes)};
    stage_.say("a request begins: verb {} blocks {}+{}{}", static_cast<unsigned>(request.verb), range.first,
               range.count, request.fua ? " FUA" : "");
    request.state = Request::State::running;
    request.began = stage_.now;
    ++running_;
    switch (request.verb) {
    case Verb::read:
        request.memory.assign(request.length_bytes, poison);
        if (range.count % 3 == 0) {
            request.data = request.memory;
        } else {
            request.sink = &request;
            request.stage = &stage_;
        }
        shadow_.begin_read(request.reading, range);
        break;
    case Verb::write:
        request.memory.resize(request.length_bytes);
        request.data = request.memory;
        request.version = shadow_.begin(Shadow::Kind::write, range);
        for (std::uint32_t i = 0; i < range.count; ++i) {
            fill_block(request.memory.data() + std::size_t{i} * block_bytes,
                       Shadow::content_of_version(request.version), range.first + i);
        }
        break;
    case Verb::write_zeroes:
        request.version = shadow_.begin(Shadow::Kind::zero, range);
        break;
    case Verb::discard:
        request.version = shadow_.begin(Shadow::Kind::discard, range);
        break;
    case Verb::flush:
        request.flushing = shadow_.begin_flush();
        request.losses = lun_->counters().cache_losses;
        break;
    }
    lun_->start(request);
}

void World::Request::put(std::uint64_t offset, base::Bytes bytes) {
    if (state != State::running || offset > memory.size() || bytes.size() > memory.size() - offset) {
        return stage->fail("data come for a read that is not at the Lun, or for another place");
    }
    std::ranges::copy(bytes, memory.begin() + static_cast<std::ptrdiff_t>(offset));
}

void World::complete(block::Request& ended, int error_number) {
    auto& request = static_cast<Request&>(ended);
    if (request.state != Request::State::running) {
        return stage_.fail("a request ends that is not at the Lun");
    }
    stage_.say("a request ends: verb {} blocks {}+{}: {}", static_cast<unsigned>(request.verb),
               request.offset_bytes / block_bytes, request.length_bytes / block_bytes, error_number);
    stage_.mix(static_cast<std::uint64_t>(error_number) + 77);
    request.state = Request::State::done;
    --running_;
    settle(request, error_number);
    std::ranges::fill(request.memory, poison);
    if (error_number == 0) {
        return;
    }
    ++failures_;
    if (!has_reason(request, error_number)) {
        stage_.fail("a request failed with {}, and nothing had happened that could be the reason",
                    error_number);
    }
}

/// Fewer answers that are worth a retry are given than are retried.
bool World::has_reason(const Request& request, int error_number) {
    if (error_number == ENOLINK) {
        stage_.met.add(Encounter::path_failed);
        return control_->nexus().state() == shard::PathState::failed;
    }
    if (error_number == ENODEV) {
        return control_->may_be_barred() && (!plan_.pings || target_.kept_silent());
    }
    if (error_number == EOPNOTSUPP) {
        return request.verb == block::Verb::discard && target_.unsupported();
    }
    if (error_number == EREMOTEIO && tells_of_loss(request)) {
        return lun_->counters().cache_losses <= target_.power_ons_told();
    }
    return ++hard_failures_ <= target_.hard_errors();
}

/// Each loss fails the flushes that were in hand then, or the next one behind it.
bool World::tells_of_loss(const Request& request) {
    const std::uint64_t losses = lun_->counters().cache_losses;
    const bool tells =
        request.verb == block::Verb::flush && (request.losses < losses || told_losses_ < losses);
    told_losses_ = tells ? losses : told_losses_;
    return tells;
}

void World::settle(Request& request, int error_number) {
    using block::Verb;
    const bool well = error_number == 0;
    switch (request.verb) {
    case Verb::read:
        return shadow_.end_read(request.reading, well ? base::Bytes(request.memory) : base::Bytes());
    case Verb::flush:
        if (well) {
            shadow_.end_flush(request.flushing);
            check_durable();
        }
        return;
    default:
        if (well) {
            shadow_.end_well(request.version, request.fua || !plan_.write_cache);
            check_durable();
        } else {
            shadow_.end_badly(request.version);
        }
    }
}

/// What the shadow disk says of cache and medium, against what is there.
void World::check_durable() {
    for (std::uint32_t block = 0; block < plan_.blocks; ++block) {
        if (!shadow_.may_hold(block, medium_.now(block))) {
            return stage_.fail("block {} holds content {}, and what was told says otherwise", block,
                               medium_.now(block));
        }
        if (plan_.write_cache && !shadow_.may_be_stable(block, medium_.stable(block))) {
            return stage_.fail("block {} has content {} on the medium, and what was told says otherwise",
                               block, medium_.stable(block));
        }
    }
}

bool World::hold(block::Request& held) {
    auto& request = static_cast<Request&>(held);
    if (!plan_.holds) {
        return false;
    }
    if (request.state != Request::State::running) {
        stage_.fail("a request is to be held that is not at the Lun");
    }
    stage_.met.add(Encounter::held);
    request.state = Request::State::held;
    // Its data goes meanwhile.
    request.data = {};
    std::ranges::fill(request.memory, poison);
    return true;
}

void World::release_held() {
    for (std::size_t i = 0; i < requests_.size(); ++i) {
        Request& request = *requests_[i];
        if (request.state != Request::State::held) {
            continue;
        }
        request.state = Request::State::running;
        if (request.sink == nullptr) {
            request.data = request.memory;
        }
        const std::uint64_t first = request.offset_bytes / block_bytes;
        for (std::uint64_t at = 0;
             request.verb == block::Verb::write && at * block_bytes < request.length_bytes; ++at) {
            fill_block(request.memory.data() + at * block_bytes, Shadow::content_of_version(request.version),
                       first + at);
        }
        lun_->start(request);
    }
}

void World::start_verifying() {
    verifying_ = true;
    check_durable();
    // The target's disk was just compared; that it can be read is shown by the part where requests meet.
    constexpr std::uint32_t at_a_time = 16;
    const std::uint32_t end = std::min(plan_.blocks, stage_.dice.one_in(4) ? plan_.blocks : 2 * at_a_time);
    for (std::uint32_t first = 0; first < end; first += at_a_time) {
        requests_.push_back(std::make_unique<Request>());
        Request& request = *requests_.back();
        request.verb = block::Verb::read;
        request.offset_bytes = std::uint64_t{first} * block_bytes;
        request.length_bytes = std::uint64_t{std::min(at_a_time, plan_.blocks - first)} * block_bytes;
        begin(request);
    }
}

Verdict World::verdict() const {
    return {stage_.broken(), stage_.finding(), stage_.digest(), kernel_.happenings(), stage_.met, failures_};
}

Verdict run_schedule(std::uint64_t seed, bool verbose) {
    Stage stage(seed, verbose);
    const Plan plan = make_plan(stage.dice);
    auto world = std::make_unique<World>(stage, plan);
    world->run();
    Verdict verdict = world->verdict();
    if (verdict.broken) {
        // In the middle of things: what is left of it cannot be taken apart.
        world->forget();
        static_cast<void>(world.release());
    }
    return verdict;
}

} // namespace iscsi::sim
