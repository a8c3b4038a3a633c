#include "scripted/rig.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <span>
#include <utility>

namespace iscsi::scripted {
namespace {

constexpr std::byte read16{0x88};
constexpr std::byte write16{0x8a};

void put_number(std::array<std::byte, 16>& cdb, std::size_t at, std::size_t bytes, std::uint64_t value) {
    for (std::size_t i = bytes; i-- > 0; value >>= 8) {
        cdb[at + i] = static_cast<std::byte>(value & 0xffU);
    }
}

std::unique_ptr<Io> transfer(std::byte operation, std::uint64_t block, std::uint32_t blocks,
                             std::uint8_t unit) {
    auto io = std::make_unique<Io>();
    io->lun = base::Lun(lun_field(unit));
    io->cdb[0] = operation;
    io->cdb_bytes = 16;
    put_number(io->cdb, 2, 8, block);
    put_number(io->cdb, 10, 4, blocks);
    return io;
}

} // namespace

RigConfig::RigConfig() {
    login.initiator_name = "iqn.2026-01.example:initiator";
    login.target_name = target.name;
    login.isid = base::Isid(0x80123456789aULL);
    login.cmd_sn = base::CmdSn(0xfffffffeU);
}

Rig::Rig(RigConfig its_config, std::uint32_t seed)
    : config(std::move(its_config)), target(config.target), random_(seed) {}

base::Result<void> Rig::log_in() {
    login::LoginConfig with = config.login;
    with.deadline = now + std::chrono::seconds(15);
    auto made = login::Login::make(with);
    if (!made) {
        return base::fail(made.error());
    }
    login::Login& login = **made;
    if (base::Result<void> driven = drive_login(login); !driven) {
        return driven;
    }
    if (!login.finished()) {
        return base::fail(base::Errc::unknown, "the login fell silent");
    }
    negotiated = login.negotiated();
    session::SessionConfig session_config;
    session_config.session = negotiated.session;
    session_config.connection = negotiated.connection;
    session_config.numbers = login.sequence_numbers();
    session_config.cid = with.cid;
    session_config.tasks = config.tasks;
    session_config.nop_out_interval = config.nop_out_interval;
    session_config.nop_out_timeout = config.nop_out_timeout;
    session_config.logout_timeout = config.logout_timeout;
    session_config.recovery = config.recovery;
    session = std::make_unique<session::Session>(session_config, now);
    result = {};
    return {};
}

base::Result<void> Rig::drive_login(login::Login& login) {
    target.begin_connection();
    return drive(login);
}

base::Result<void> Rig::drive(base::Engine& engine) {
    base::Result<void> outcome;
    bool moved = true;
    while (moved && outcome) {
        moved = send(engine);
        moved = receive(engine, outcome) || moved;
    }
    return outcome;
}

Io& Rig::read(std::uint32_t bytes, std::uint64_t block, std::uint8_t unit) {
    auto io = transfer(read16, block, bytes / config.target.disk.block_bytes, unit);
    io->direction = session::Direction::in;
    io->memory.assign(bytes, std::byte{0xee});
    io->data_in = io->memory;
    return submit(std::move(io));
}

Io& Rig::write(std::uint32_t bytes, std::uint64_t block, std::uint8_t unit) {
    auto io = transfer(write16, block, bytes / config.target.disk.block_bytes, unit);
    io->direction = session::Direction::out;
    io->memory.resize(bytes);
    std::ranges::generate(io->memory, [this] { return static_cast<std::byte>(random_()); });
    io->data_out = io->memory;
    return submit(std::move(io));
}

Io& Rig::touch(std::uint8_t unit) {
    auto io = transfer(std::byte{0}, 0, 0, unit);
    io->cdb_bytes = 6;
    return submit(std::move(io));
}

Io& Rig::submit(std::unique_ptr<Io> io) {
    ios_.push_back(std::move(io));
    session->submit(*ios_.back(), now);
    return *ios_.back();
}

bool Rig::step() {
    bool moved = send(*session);
    moved = (result && receive(*session, result)) || moved;
    collect();
    return moved;
}

void Rig::run() {
    while (result && step()) {
    }
}

void Rig::advance(base::Duration duration) {
    base::TimePoint end = now + duration;
    run();
    while (result) {
        base::Deadline due = session->deadline();
        if (!due || *due > end) {
            break;
        }
        now = std::max(now, *due);
        result = session->at(now);
        run();
    }
    now = end;
}

void Rig::drop() {
    session->abandon();
    collect();
}

void Rig::collect() {
    while (session::Command* command = session->next_completion()) {
        static_cast<Io*>(command)->done = true;
    }
    while (auto event = session->next_event()) {
        events.push_back(*event);
    }
}

bool Rig::send(base::Engine& engine) {
    std::array<iovec, 16> slots{};
    ByteVector bytes;
    for (const iovec& piece : engine.tx_spans(slots)) {
        const auto* from = static_cast<const std::byte*>(piece.iov_base);
        bytes.insert(bytes.end(), from, from + piece.iov_len);
    }
    std::size_t n = cut(bytes.size());
    if (n == 0) {
        return false;
    }
    engine.tx_done(n);
    target.receive(std::span(bytes).first(n));
    return true;
}

bool Rig::receive(base::Engine& engine, base::Result<void>& outcome) {
    base::RxSpans room = engine.rx_spans();
    std::span<const std::byte> pending = target.output().pending();
    std::size_t n = cut(std::min(pending.size(), room.direct.size() + room.staging.size()));
    if (n == 0) {
        return false;
    }
    std::size_t direct = std::min(n, room.direct.size());
    std::ranges::copy(pending.first(direct), room.direct.begin());
    std::ranges::copy(pending.subspan(direct, n - direct), room.staging.begin());
    target.output().consumed(n);
    outcome = engine.rx_done(n, now);
    return true;
}

std::size_t Rig::cut(std::size_t available) {
    return cut_anywhere && available > 0 ? 1 + random_() % available : available;
}

} // namespace iscsi::scripted
