// A session from its login on, with a target that says anything at any time. Six bytes choose what is
// negotiated and how much is in progress; then come steps of twelve bytes (session_target.hpp): commands of
// ours, PDUs of the target that are right but for what a step wants to be wrong, receives and sends of any
// length, and time. Lengths and digests of a PDU are right unless a step says otherwise, so that inputs get
// behind those checks; the mutator of its own keeps steps whole. Whatever the target says: no byte lands but
// where its PDU says, or outside a command's buffer, each command ends once, and what the session sends keeps
// to the RFC (session_heard.cpp).
#include "login_answers.hpp"
#include "session_target.hpp"

#include <array>
#include <cstring>
#include <fmt/format.h>
#include <map>
#include <memory>
#include <vector>

using namespace iscsi;
using iscsi::test::HostileTarget;
using iscsi::test::require;
using iscsi::test::Script;
using iscsi::test::Step;

namespace {

constexpr std::size_t commands_max = 96;
constexpr std::size_t memory_max = 128 * 1024; ///< of all commands: more takes time and shows nothing new
constexpr std::byte untouched{0xee};

session::SessionConfig negotiate(unsigned flags, unsigned sizes, unsigned more) {
    constexpr std::array<unsigned, 4> lengths{512, 1024, 8192, 65536};
    login::LoginConfig offer;
    offer.initiator_name = "iqn.2026-01.example:initiator";
    offer.target_name = "iqn.2026-01.example:disk";
    offer.isid = base::Isid(0x80123456789aULL);
    offer.cmd_sn = base::CmdSn((flags & 16) != 0 ? 0xfffffff0U : 1U);
    offer.offers.header_digest = "None,CRC32C";
    offer.offers.data_digest = "None,CRC32C";
    offer.offers.max_recv_data_segment_bytes = lengths[sizes >> 4 & 3];
    offer.offers.max_outstanding_r2t = 8;
    unsigned burst = lengths[sizes & 3];
    auto digest = [](bool wanted) { return wanted ? "CRC32C" : "None"; };
    auto yes = [](bool wanted) { return wanted ? "Yes" : "No"; };
    std::string text = "TTargetPortalGroupTag=1\nAuthMethod=None\n\x1eT" +
                       fmt::format("HeaderDigest={}\nDataDigest={}\nInitialR2T={}\nImmediateData={}\n"
                                   "MaxBurstLength={}\nFirstBurstLength={}\nMaxOutstandingR2T={}\n"
                                   "MaxRecvDataSegmentLength={}\nDefaultTime2Wait=2\nDefaultTime2Retain=0\n",
                                   digest((flags & 1) != 0), digest((flags & 2) != 0), yes((flags & 4) != 0),
                                   yes((flags & 8) != 0), burst, std::min(burst, lengths[sizes >> 2 & 3]),
                                   1 + (more & 7), lengths[sizes >> 6]);
    auto login = login::Login::make(offer);
    require(login.has_value());
    require(test::LoginAnswers(text, more).play(**login) && (*login)->finished());
    session::SessionConfig config;
    config.session = (*login)->negotiated().session;
    config.connection = (*login)->negotiated().connection;
    config.numbers = (*login)->sequence_numbers();
    config.tasks = 2U << (more >> 3 & 3);
    if ((more & 32) != 0) {
        using std::chrono::milliseconds;
        config.nop_out_interval = milliseconds(500);
        config.nop_out_timeout = milliseconds(700);
        config.logout_timeout = milliseconds(300);
        config.recovery = {milliseconds(200), milliseconds(50), milliseconds(60), milliseconds(70)};
    }
    return config;
}

/// The same wishes come to the same: a login that was done is not done again, it would take half of the time.
const session::SessionConfig& negotiated(Script& script) {
    static std::map<std::array<std::uint8_t, 3>, session::SessionConfig> done;
    std::array<std::uint8_t, 3> wishes{script.u8(), script.u8(), script.u8()};
    auto found = done.find(wishes);
    if (found == done.end()) {
        found = done.emplace(wishes, negotiate(wishes[0], wishes[1], wishes[2])).first;
    }
    return found->second;
}

/// One command and memory of just its size, which is gone as soon as the session has given the command back.
struct Io final : base::DataSink {
    void put(std::uint64_t offset, base::Bytes bytes) override {
        require(!ended && command.sink == this && offset <= command.sink_bytes &&
                bytes.size() <= command.sink_bytes - offset);
        std::copy(bytes.begin(), bytes.end(), memory.get() + offset);
    }
    /// What a read has brought, wherever it was put.
    base::Bytes read() const { return {memory.get(), command.read_bytes()}; }

    session::Command command;
    std::unique_ptr<std::byte[]> memory;
    std::uint32_t id = 0;
    bool ended = false;
};

/// How many bytes of a read are the right ones; all others are as they were before. By blocks, where all of
/// one is alike.
std::size_t count_arrived(base::Bytes got, base::Bytes right) {
    constexpr std::size_t block_bytes = 64;
    std::array<std::byte, block_bytes> before;
    before.fill(untouched);
    std::size_t arrived = 0;
    while (!got.empty()) {
        std::size_t n = std::min(got.size(), block_bytes);
        if (std::memcmp(got.data(), right.data(), n) == 0) {
            arrived += n;
        } else if (std::memcmp(got.data(), before.data(), n) != 0) {
            for (std::size_t i = 0; i < n; ++i) {
                require(got[i] == right[i] || got[i] == untouched);
                arrived += got[i] == right[i] ? 1 : 0;
            }
        }
        got = got.subspan(n);
        right = right.subspan(n);
    }
    return arrived;
}

class Play {
public:
    /// `eager`: after each step all is sent and delivered that there is.
    Play(const session::SessionConfig& config, std::uint32_t window, bool eager)
        : session_(config, now_), target_(config, window), eager_(eager) {}

    /// False when the session has ended.
    bool take(const Step& step) {
        switch (step.kind % Step::kinds) {
        case Step::submit:
            submit(step);
            break;
        case Step::deliver:
            deliver(step.length == 0 ? SIZE_MAX : step.length);
            break;
        case Step::send:
            send(step.length == 0 ? SIZE_MAX : step.length, 1 + step.pick % 64);
            break;
        case Step::wait:
            wait(std::chrono::milliseconds(step.length));
            break;
        case Step::log_out:
            session_.begin_logout(now_);
            break;
        default:
            target_.say(step);
        }
        if (eager_) {
            send(SIZE_MAX, 64);
            deliver(SIZE_MAX);
        }
        collect();
        return alive_;
    }

    /// Everything that is owed is given back, once.
    void end() {
        session_.abandon();
        collect();
        require(session_.idle() && session_.active() == 0);
        for (const auto& io : ios_) {
            require(io->ended);
        }
        std::array<iovec, 4> slots{};
        require(session_.tx_spans(slots).empty());
        require(session_.rx_spans().direct.empty() && session_.rx_spans().staging.empty());
        require(!session_.deadline());
    }

private:
    void submit(const Step& step) {
        constexpr std::array<std::uint32_t, 8> usual{0, 1, 511, 512, 4096, 8192, 20000, 66000};
        std::size_t bytes = (step.more & 8) != 0 ? step.length : usual[step.more & 7];
        if (ios_.size() == commands_max || bytes > memory_left_) {
            return;
        }
        memory_left_ -= bytes;
        auto io = std::make_unique<Io>();
        io->id = static_cast<std::uint32_t>(ios_.size());
        session::Command& command = io->command;
        command.lun = base::Lun((step.pick & 16) != 0 ? 0x0001000000000000ULL : 0);
        command.cdb_bytes = 16;
        base::Be32 id(io->id);
        std::memcpy(command.cdb.data() + test::id_in_cdb, &id, sizeof id);
        command.timeout = std::chrono::milliseconds((step.pick & 32) != 0 ? step.by : 0);
        command.attribute = static_cast<session::TaskAttribute>(step.by % 5);
        if (unsigned kind = step.pick % 4; kind != 0) {
            io->memory.reset(new std::byte[bytes]);
            base::MutableBytes memory(io->memory.get(), bytes);
            if (kind == 1) {
                command.direction = session::Direction::out;
                command.data_out = memory;
                test::fill(memory, test::write_data(io->id), 0);
            } else {
                command.direction = session::Direction::in;
                command.data_in = kind == 2 ? memory : base::MutableBytes();
                command.sink = kind == 2 ? nullptr : io.get();
                command.sink_bytes = bytes;
                std::fill(memory.begin(), memory.end(), untouched);
            }
        }
        session_.submit(command, now_);
        ios_.push_back(std::move(io));
    }

    void collect() {
        while (session::Command* command = session_.next_completion()) {
            auto found = std::find_if(ios_.begin(), ios_.end(),
                                      [&](const auto& io) { return &io->command == command; });
            require(found != ios_.end() && !(*found)->ended);
            check(**found);
            (*found)->ended = true;
            (*found)->memory.reset();
        }
        while (session_.next_event()) {
        }
        require(session_.active() <= ios_.size());
    }

    void check(const Io& io) const {
        const session::Command& command = io.command;
        require(command.outcome != session::Outcome::pending && command.sense_bytes <= command.sense.size());
        if (command.direction != session::Direction::in || target_.any_bytes) {
            return;
        }
        const base::Bytes got = io.read();
        std::vector<std::byte> right(got.size());
        test::fill(right, test::read_data(target_.itt_of(io.id)), 0);
        std::size_t arrived = count_arrived(got, right);
        bool good = command.outcome == session::Outcome::responded && command.status == 0;
        // Nothing is missing and nothing made up: all that was expected and not said to be missing is there.
        require(!good || arrived == got.size() - command.underflow_bytes);
    }

    void deliver(std::size_t most) {
        while (alive_ && most > 0 && !target_.stream.empty()) {
            base::RxSpans spans = session_.rx_spans();
            std::size_t n =
                std::min({most, target_.stream.size(), spans.direct.size() + spans.staging.size()});
            require(n > 0);
            std::size_t direct = std::min(n, spans.direct.size());
            std::copy_n(target_.stream.begin(), direct, spans.direct.begin());
            std::copy_n(target_.stream.begin() + static_cast<std::ptrdiff_t>(direct), n - direct,
                        spans.staging.begin());
            target_.delivered(n);
            most -= n;
            alive_ = session_.rx_done(n, now_).has_value();
        }
    }

    /// What was shown once stays as it is until it has left.
    void send(std::size_t most, std::size_t pieces) {
        std::vector<iovec> slots(pieces);
        while (alive_ && most > 0) {
            std::vector<std::byte> bytes = gathered(session_.tx_spans(slots));
            std::vector<std::byte> again = gathered(session_.tx_spans(slots));
            require(again.size() >= bytes.size());
            if (bytes.empty()) {
                return;
            }
            require(std::memcmp(bytes.data(), again.data(), bytes.size()) == 0);
            std::size_t n = std::min(most, bytes.size());
            target_.hear(base::Bytes(bytes).first(n));
            session_.tx_done(n);
            most -= n;
        }
    }

    static std::vector<std::byte> gathered(std::span<iovec> pieces) {
        std::vector<std::byte> bytes;
        for (const iovec& piece : pieces) {
            const auto* from = static_cast<const std::byte*>(piece.iov_base);
            bytes.insert(bytes.end(), from, from + piece.iov_len);
        }
        return bytes;
    }

    void wait(base::Duration time) {
        now_ += time;
        for (unsigned times = 0; alive_ && base::is_due(session_.deadline(), now_); ++times) {
            require(times < 100);
            alive_ = session_.at(now_).has_value();
        }
    }

    base::TimePoint now_;
    session::Session session_;
    HostileTarget target_;
    const bool eager_;
    bool alive_ = true;
    std::vector<std::unique_ptr<Io>> ios_;
    std::size_t memory_left_ = memory_max;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Script script(data, std::min(size, test::setup_bytes));
    const session::SessionConfig& config = negotiated(script);
    bool eager = (script.u8() & 1) != 0;
    Play play(config, 1 + script.u8() % 32, eager);
    for (std::size_t at = test::setup_bytes; at + sizeof(Step) <= size; at += sizeof(Step)) {
        Step step;
        std::memcpy(&step, data + at, sizeof step);
        if (!play.take(step)) {
            break;
        }
    }
    play.end();
    return 0;
}
