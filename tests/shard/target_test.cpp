// The target behind bench.hpp, and that it does what the other tests rely on.
#include "bench.hpp"
#include "support/fake_target.cpp" // NOLINT(bugprone-suspicious-include)

#include "wire/keys.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <catch2/catch.hpp>
#include <cstring>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace iscsi::test {
namespace {

constexpr std::uint8_t check_condition = 0x02;

/// Transfers are whole immediate data: one PDU a write, so that the judge passes it on complete.
constexpr const char* segment_text = "16777215";

std::uint64_t number_at(const SeenCommand& command, std::size_t at, std::size_t bytes) {
    std::uint64_t value = 0;
    for (std::size_t i = at; i < at + bytes; ++i) {
        value = value << 8 | command.byte(i);
    }
    return value;
}

} // namespace

std::uint64_t SeenCommand::lba() const {
    return operation() < 0x80 ? number_at(*this, 2, 4) : number_at(*this, 2, 8);
}

std::uint64_t SeenCommand::blocks() const {
    return operation() < 0x80 ? number_at(*this, 7, 2) : number_at(*this, 10, 4);
}

Target::Target(std::size_t disk_bytes) : disk(disk_bytes), buffer_(std::size_t{1} << 20) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof address;
    REQUIRE(::bind(listener_, reinterpret_cast<sockaddr*>(&address), bytes) == 0);
    REQUIRE(::listen(listener_, 8) == 0);
    REQUIRE(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &bytes) == 0);
    port_ = ntohs(address.sin_port);
    seen.reserve(1024);
}

Target::~Target() {
    die();
    ::close(listener_);
}

void Target::die() {
    if (judge_) {
        old_violations_ = violations();
        judge_.reset();
    }
    if (fd_ >= 0) {
        ::close(std::exchange(fd_, -1));
    }
    input_.clear();
    output_.clear();
}

std::vector<std::string> Target::violations() const {
    std::vector<std::string> all = old_violations_;
    if (judge_) {
        all.insert(all.end(), judge_->violations.begin(), judge_->violations.end());
    }
    return all;
}

void Target::pump() {
    if (fd_ < 0) {
        fd_ = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd_ < 0) {
            return;
        }
        int on = 1;
        ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    for (;;) {
        ssize_t n = ::recv(fd_, buffer_.data(), buffer_.size(), 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            ended_with = n == 0 ? 0 : errno;
            return die();
        }
        if (n < 0) {
            break;
        }
        receive(base::bytes_of(std::string_view(buffer_.data(), static_cast<std::size_t>(n))));
    }
    if (judge_ && !judge_->output().empty()) {
        send(judge_->output());
        judge_->output().clear();
    }
    if (!output_.empty()) {
        ssize_t n = ::send(fd_, output_.data(), output_.size(), MSG_NOSIGNAL);
        output_.erase(output_.begin(), output_.begin() + std::max<ssize_t>(n, 0));
    }
}

void Target::send(base::Bytes bytes) {
    output_.insert(output_.end(), bytes.begin(), bytes.end());
}

void Target::receive(base::Bytes bytes) {
    if (judge_) {
        return judge_->receive(bytes);
    }
    input_.insert(input_.end(), bytes.begin(), bytes.end());
    while (!judge_ && take_login()) {
    }
}

bool Target::take_login() {
    if (input_.size() < wire::bhs_bytes) {
        return false;
    }
    auto request = base::load<wire::LoginRequest>(input_);
    std::size_t length = request.data_segment_length.get();
    std::size_t total = wire::bhs_bytes + base::pad4(length);
    if (input_.size() < total) {
        return false;
    }
    std::string text(base::text_of(base::Bytes(input_).subspan(wire::bhs_bytes, length)));
    input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(total));
    isids.push_back(request.isid);
    tsihs.push_back(request.tsih);
    std::string reply = refuse_login ? "" : login_text(text);
    wire::LoginResponse response;
    response.flags = request.flags;
    response.isid = request.isid;
    response.tsih = 7;
    response.itt = request.itt;
    response.stat_sn = 100;
    response.exp_cmd_sn = request.cmd_sn;
    response.max_cmd_sn = request.cmd_sn + 63;
    if (refuse_login) {
        response.status = 0x0203; // not found
        response.flags = 0;
    }
    response.data_segment_length = static_cast<std::uint32_t>(reply.size());
    last_response_ = response;
    reply.resize(base::pad4(reply.size()));
    send(base::bytes_of_object(response));
    send(base::bytes_of(reply));
    return true;
}

std::string Target::login_text(const std::string& request) const {
    std::string text;
    wire::KeyReader pairs{std::string_view(request)};
    for (auto pair = pairs.next(); pair && *pair; pair = pairs.next()) {
        std::string key((*pair)->key);
        std::string value((*pair)->value.substr(0, (*pair)->value.find(',')));
        if (key == "MaxRecvDataSegmentLength") {
            value = segment_text;
        }
        bool declared =
            key == "InitiatorName" || key == "TargetName" || key == "SessionType" || key == "InitiatorAlias";
        if (key == "TargetName") {
            text += std::string("TargetPortalGroupTag=1") + '\0';
        }
        if (!declared) {
            text += key + "=" + value + '\0';
        }
    }
    return text;
}

void Target::begin_session(const shard::OpenReply& reply) {
    testing::FakeTargetConfig config;
    config.session = reply.session;
    config.connection = reply.connection;
    config.numbers.exp_stat_sn = base::StatSn(last_response_.stat_sn + 1);
    config.numbers.cmd_sn = base::CmdSn(last_response_.exp_cmd_sn);
    config.numbers.exp_cmd_sn = base::CmdSn(last_response_.exp_cmd_sn);
    config.numbers.max_cmd_sn = base::CmdSn(last_response_.max_cmd_sn);
    config.disk_bytes = 0;
    judge_ = std::make_unique<testing::FakeTarget>(config);
    judge_->intercept = [this](const wire::Bhs& header, base::Bytes data) { return on_pdu(header, data); };
}

bool Target::on_pdu(const wire::Bhs& header, base::Bytes data) {
    if (header.opcode() != wire::Opcode::scsi_command) {
        return false;
    }
    auto pdu = base::load<wire::ScsiCommand>(base::bytes_of_object(header));
    SeenCommand command;
    command.lun = base::Lun(pdu.lun);
    command.cdb = pdu.cdb;
    command.itt = pdu.itt;
    command.expected_bytes = pdu.expected_data_transfer_length;
    command.data.assign(data.begin(), data.end());
    std::optional<Bent> bent = bend ? bend(command) : std::nullopt;
    if (bent) {
        answer_bent(command, *bent);
    } else {
        answer(command);
    }
    if (remember) {
        seen.push_back(std::move(command));
    }
    return true;
}

void Target::answer(const SeenCommand& command) {
    auto at = static_cast<std::ptrdiff_t>(command.lba() * Bench::block_bytes);
    auto bytes = static_cast<std::size_t>(command.blocks() * Bench::block_bytes);
    switch (command.operation()) {
    case 0x28:
    case 0x88:
        REQUIRE(command.expected_bytes == bytes);
        return judge_->answer_read(command.itt, command.expected_bytes,
                                   base::Bytes(disk).subspan(static_cast<std::size_t>(at), bytes));
    case 0x2a:
    case 0x8a:
        REQUIRE(command.data.size() == bytes);
        std::copy(command.data.begin(), command.data.end(), disk.begin() + at);
        break;
    case 0x41:
    case 0x93:
        REQUIRE(command.data.size() == Bench::block_bytes);
        for (std::size_t done = 0; done < bytes; done += Bench::block_bytes) {
            std::copy(command.data.begin(), command.data.end(),
                      disk.begin() + at + static_cast<std::ptrdiff_t>(done));
        }
        break;
    default:
        break;
    }
    judge_->send(judge_->response_to(command.itt));
}

void Target::answer_bent(const SeenCommand& command, const Bent& bent) {
    if (bent.silent) {
        return;
    }
    if (bent.read_bytes) {
        std::vector<std::byte> some(*bent.read_bytes);
        return judge_->answer_read(command.itt, command.expected_bytes, some);
    }
    std::vector<std::byte> data;
    if (bent.status == check_condition) {
        data.resize(20);
        data[1] = std::byte{18};
        data[2] = bent.deferred ? std::byte{0x71} : std::byte{0x70};
        data[4] = static_cast<std::byte>(bent.sense[0]);
        data[9] = std::byte{10};
        data[14] = static_cast<std::byte>(bent.sense[1]);
        data[15] = static_cast<std::byte>(bent.sense[2]);
    }
    auto response = judge_->response_to(command.itt, bent.status);
    response.flags |= bent.overflow_bytes != 0 ? wire::response_flag::overflow : std::uint8_t{0};
    response.residual_count = bent.overflow_bytes;
    judge_->send(response, data);
}

Bench::Bench(const scsi::LunFacts& facts, std::uint32_t depth) : target(disk_bytes) {
    auto made = ring::Loop::create(128);
    REQUIRE(made);
    loop = std::move(*made);
    nexus = std::make_unique<shard::Nexus>(*loop, *loop, *this);
    lun = std::make_unique<shard::Lun>(*loop, *nexus, facts, depth);
    lun->attach(*this);
    inspected = facts;
}

Bench::~Bench() {
    nexus->retire();
    run_until([&] { return lun->idle(); });
    lun.reset();
    (void)run(nexus->log_out());
    nexus.reset();
    turn(); // what it still had to tell
    CHECK(target.violations() == std::vector<std::string>());
}

scsi::LunFacts Bench::disk_facts() {
    scsi::LunFacts facts;
    facts.lun = base::Lun(0x0001000000000000ULL);
    facts.peripheral_type = 0;
    facts.block_bytes = block_bytes;
    facts.physical_block_bytes = block_bytes;
    facts.blocks = base::BlockCount(disk_bytes / block_bytes);
    facts.write_cache = true;
    facts.dpofua = true;
    return facts;
}

tl::expected<shard::OpenReply, shard::OpenFailure> Bench::try_open() {
    return run(nexus->open(open_request()));
}

shard::OpenRequest Bench::open_request(std::uint16_t port) {
    shard::OpenRequest request;
    auto& address = reinterpret_cast<sockaddr_in&>(request.endpoints.emplace_back().address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    request.endpoints.front().address_bytes = sizeof address;
    request.login.initiator_name = "iqn.2026-01.example:initiator";
    request.login.target_name = "iqn.2026-01.example:disk";
    request.login.isid = base::Isid(0x80123456789aULL);
    request.login.offers.first_burst_bytes = 16776192;
    request.connect_timeout = std::chrono::seconds(10);
    request.login_timeout = std::chrono::seconds(10);
    request.logout_timeout = std::chrono::seconds(10);
    return request;
}

void Bench::open(const shard::OpenRequest& request) {
    auto opened = run(nexus->open(request));
    REQUIRE(opened);
    target.begin_session(*opened);
}

void Bench::turn() {
    loop->turn(ring::monotonic_now() + std::chrono::milliseconds(1));
    target.pump();
}

void Bench::run_until(const std::function<bool()>& done) {
    base::TimePoint give_up_at = ring::monotonic_now() + std::chrono::seconds(30);
    while (!done()) {
        turn();
        REQUIRE(ring::monotonic_now() < give_up_at);
    }
}

std::unique_ptr<Io> Bench::request(block::Verb verb, std::uint64_t offset, std::uint64_t bytes, bool fua) {
    auto io = std::make_unique<Io>();
    io->verb = verb;
    io->fua = fua;
    io->offset_bytes = offset;
    io->length_bytes = bytes;
    if (verb == block::Verb::read || verb == block::Verb::write) {
        io->memory.assign(bytes, std::byte{0xee});
        io->data = io->memory;
    }
    return io;
}

std::unique_ptr<Io> Bench::write(std::uint64_t offset, std::uint64_t bytes, unsigned seed, bool fua) {
    auto io = request(block::Verb::write, offset, bytes, fua);
    for (std::size_t i = 0; i < io->memory.size(); ++i) {
        io->memory[i] = static_cast<std::byte>(seed + i * 7 + i / 511);
    }
    return io;
}

int Bench::finish(Io& io) {
    lun->start(io);
    run_until([&] { return io.done; });
    return io.error_number;
}

int Bench::execute(block::Verb verb, std::uint64_t offset, std::uint64_t bytes, bool fua) {
    auto io = request(verb, offset, bytes, fua);
    return finish(*io);
}

std::vector<unsigned> Bench::operations() const {
    std::vector<unsigned> all;
    for (const SeenCommand& command : target.seen) {
        all.push_back(command.operation());
    }
    return all;
}

void Bench::complete(block::Request& request, int error_number) {
    auto& io = static_cast<Io&>(request);
    CHECK_FALSE(io.done);
    io.done = true;
    io.error_number = error_number;
}

void Bench::on_nexus_dropped(const base::Error& error) {
    ++drops;
    drop_reason = error.detail;
}

void Bench::on_lun_effects(base::Lun, const scsi::Disposition& disposition) {
    ++effects;
    news = news | disposition.effects;
    if (inspected && disposition.effects.has(scsi::Effect::identity_doubt)) {
        lun->update(*inspected, ring::monotonic_now());
    }
}

} // namespace iscsi::test
