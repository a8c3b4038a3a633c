#include "sim/connection.hpp"

#include "base/crc32c.hpp"

#include <algorithm>
#include <cstring>

namespace iscsi::sim {
namespace {

constexpr std::size_t digest_bytes = 4;

std::array<std::byte, digest_bytes> digest_of(const base::Crc32c& crc) {
    std::array<std::byte, digest_bytes> out{};
    for (unsigned i = 0; i < digest_bytes; ++i) {
        out[i] = static_cast<std::byte>(crc.value() >> (8 * i));
    }
    return out;
}

std::size_t padding_of(std::size_t bytes) {
    return (4 - bytes % 4) % 4;
}

bool same(const std::byte* wire, const std::array<std::byte, digest_bytes>& digest) {
    return std::memcmp(wire, digest.data(), digest.size()) == 0;
}

} // namespace

Connection::Connection(Target& target, Socket& socket)
    : target_(target), socket_(socket), stat_sn_(target.plan().stat_sn) {}

void Connection::end() {
    for (Task& task : tasks_) {
        drop(task);
    }
    if (!std::exchange(closed_, true)) {
        socket_.reset();
    }
    target_.forget(*this);
}

void Connection::on_closed() {
    // The session lives on without its connection: what was given to it may still be done, until a login
    // takes its place (RFC 7143 section 6.3.5).
    closed_ = true;
}

void Connection::on_bytes(base::Bytes bytes) {
    in_.insert(in_.end(), bytes.begin(), bytes.end());
    take_pdus();
    if (in_read_ == in_.size()) {
        in_.clear();
        in_read_ = 0;
    }
}

void Connection::take_pdus() {
    while (!closed_ && !target_.stage().broken()) {
        const std::byte* at = in_.data() + in_read_;
        const std::size_t there = in_.size() - in_read_;
        const std::size_t header_bytes = scripted::header_bytes + (header_digest_ ? digest_bytes : 0);
        if (there < header_bytes) {
            return;
        }
        Header header;
        std::copy_n(at, header.size(), header.begin());
        if (header_digest_) {
            base::Crc32c crc;
            crc.add(header);
            if (!same(at + header.size(), digest_of(crc))) {
                target_.stage().say("target: a header digest is wrong");
                target_.stage().met.add(Encounter::header_digest);
                closed_ = true;
                return socket_.reset();
            }
        }
        const std::size_t length = get<field::data_length>(header);
        const std::size_t padded = length + padding_of(length);
        const std::size_t whole = header_bytes + padded + (data_digest_ && length > 0 ? digest_bytes : 0);
        if (get<field::ahs_words>(header) != 0 || length > target_.plan().target_segment_bytes + 8192U) {
            return violation("a PDU with AHS or {} bytes of data", length);
        }
        if (there < whole) {
            return;
        }
        const base::Bytes data(at + header_bytes, length);
        bool intact = true;
        if (data_digest_ && length > 0) {
            base::Crc32c crc;
            crc.add({data.data(), padded});
            intact = same(data.data() + padded, digest_of(crc));
        }
        in_read_ += whole;
        if (intact) {
            take_pdu(header, data);
        } else {
            on_damaged(header);
        }
    }
}

/// What is damaged is rejected and its task ends (RFC 7143 section 7.8), or the connection does.
void Connection::on_damaged(const Header& header) {
    const bool is_data = static_cast<Opcode>(get<field::opcode>(header)) == Opcode::data_out;
    Task* task = is_data ? find(get32<field::itt>(header)) : nullptr;
    target_.stage().say("target: a data digest is wrong");
    target_.stage().met.add(Encounter::data_digest);
    if (task == nullptr || task->state != State::gathering || target_.stage().dice.one_in(2)) {
        closed_ = true;
        return socket_.reset();
    }
    Header pdu = make_header(Opcode::reject);
    set<field::final>(pdu);
    set<field::itt>(pdu, scripted::no_tag);
    set<field::reject_reason>(pdu, 2);
    send(pdu, header, true);
    task->state = State::sending;
    check_condition(*task, 0x0b4705);
    put_off(*task, send_task, {});
}

/// Of a PDU in full feature phase; false when the schedule is over.
bool Connection::check_numbers(const Header& header) {
    const auto opcode = static_cast<Opcode>(get<field::opcode>(header));
    const std::uint32_t exp_stat_sn = get32<field::exp_stat_sn>(header);
    if (before(stat_sn_, exp_stat_sn) || before(exp_stat_sn, exp_stat_sn_)) {
        violation("ExpStatSN {} after {}, {} is the next", exp_stat_sn, exp_stat_sn_, stat_sn_);
        return false;
    }
    if (breached_ && before(breach_sn_, exp_stat_sn)) {
        violation("a PDU was accepted that breaks it; StatSN {} is acknowledged", breach_sn_);
        return false;
    }
    exp_stat_sn_ = exp_stat_sn;
    for (Task& task : tasks_) {
        if (task.state == State::answered && before(task.stat_sn, exp_stat_sn)) {
            task.state = State::free;
        }
    }
    if (opcode == Opcode::data_out) {
        return true;
    }
    const std::uint32_t cmd_sn = get32<field::cmd_sn>(header);
    if (cmd_sn != exp_cmd_sn_) {
        violation("CmdSN {} of opcode {:#x}, {} was expected", cmd_sn, static_cast<unsigned>(opcode),
                  exp_cmd_sn_);
        return false;
    }
    if (get<field::immediate>(header) == 0) {
        if (before(max_cmd_sn_, cmd_sn)) {
            violation("CmdSN {} beyond the window, which ends at {}", cmd_sn, max_cmd_sn_);
            return false;
        }
        ++exp_cmd_sn_;
    }
    return true;
}

void Connection::take_pdu(const Header& header, base::Bytes data) {
    Stage& stage = target_.stage();
    stage.mix(number_at(header.data() + 16, 8));
    stage.mix(number_at(header.data() + 32, 8));
    const auto opcode = static_cast<Opcode>(get<field::opcode>(header));
    if (opcode == Opcode::login_request) {
        const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
        return full_feature_ ? violation("a Login Request in full feature phase") : on_login(header, text);
    }
    if (!full_feature_) {
        return violation("opcode {:#x} before full feature phase", static_cast<unsigned>(opcode));
    }
    if (stage.verbose()) {
        stage.say("  -> {} {} ITT {:08x} TTT {:08x} CmdSN {} ExpStatSN {} CDB {:016x} data {}",
                  name_of(opcode), get<field::final>(header), get<field::itt>(header),
                  get<field::ttt>(header), get<field::cmd_sn>(header), get<field::exp_stat_sn>(header),
                  get<field::cdb_first>(header), data.size());
    }
    if (!check_numbers(header)) {
        return;
    }
    switch (opcode) {
    case Opcode::scsi_command:
        return on_command(header, data);
    case Opcode::data_out:
        return on_data_out(header, data);
    case Opcode::task_request:
        return on_management(header);
    case Opcode::logout_request:
        return on_logout(header);
    case Opcode::nop_out:
        return on_nop_out(header, data);
    default:
        return violation("opcode {:#x} in full feature phase", static_cast<unsigned>(opcode));
    }
}

/// The window closes as tasks come and opens as they end, and never goes back.
std::uint32_t Connection::max_cmd_sn() {
    const std::uint32_t window = target_.plan().window;
    const std::uint32_t free = window > open_tasks_ ? window - open_tasks_ : 0;
    const std::uint32_t wanted = exp_cmd_sn_ + free - 1;
    if (before(max_cmd_sn_, wanted)) {
        max_cmd_sn_ = wanted;
    }
    return max_cmd_sn_;
}

void Connection::send(Header& header, base::Bytes data, bool takes_status) {
    if (closed_) {
        return;
    }
    set<field::data_length>(header, data.size());
    set<field::exp_cmd_sn>(header, exp_cmd_sn_);
    set<field::max_cmd_sn>(header, max_cmd_sn());
    if (takes_status) {
        set<field::stat_sn>(header, stat_sn_++);
    }
    Stage& stage = target_.stage();
    stage.mix(number_at(header.data(), 8));
    stage.mix(number_at(header.data() + 16, 8));
    if (stage.verbose()) {
        stage.say("  <- {} {:02x}{:02x}{:02x} ITT {:08x} StatSN {} MaxCmdSN {} {:016x}{:016x} data {}",
                  name_of(static_cast<Opcode>(get<field::opcode>(header))),
                  std::to_integer<unsigned>(header[1]), std::to_integer<unsigned>(header[2]),
                  std::to_integer<unsigned>(header[3]), get<field::itt>(header), get<field::stat_sn>(header),
                  get<field::max_cmd_sn>(header), number_at(header.data() + 32, 8),
                  number_at(header.data() + 40, 8), data.size());
    }
    std::array<std::byte, scripted::header_bytes + digest_bytes> head;
    std::ranges::copy(header, head.begin());
    if (header_digest_) {
        base::Crc32c crc;
        crc.add(header);
        std::ranges::copy(digest_of(crc), head.begin() + header.size());
    }
    socket_.send(base::Bytes(head).first(header.size() + (header_digest_ ? digest_bytes : 0)));
    if (data.empty()) {
        return;
    }
    std::array<std::byte, 3 + digest_bytes> trailer{};
    std::size_t trailer_bytes = padding_of(data.size());
    if (data_digest_) {
        base::Crc32c crc;
        crc.add(data);
        crc.add(base::Bytes(trailer).first(trailer_bytes));
        std::ranges::copy(digest_of(crc), trailer.begin() + static_cast<long>(trailer_bytes));
        trailer_bytes += digest_bytes;
    }
    socket_.send(data);
    if (trailer_bytes > 0) {
        socket_.send(base::Bytes(trailer).first(trailer_bytes));
    }
}

void Connection::put_off(Task& task, What what, base::Duration longest) {
    base::Duration delay(1000);
    if (longest > base::Duration{}) {
        delay += base::Duration(target_.stage().dice.below(static_cast<std::uint64_t>(longest.count())));
    }
    const auto at = static_cast<std::uint32_t>(&task - tasks_.data());
    target_.kernel().after(delay, *this, what | at << 8 | std::uint32_t{task.generation} << 16);
}

void Connection::happen(std::uint32_t what) {
    Task& task = tasks_[what >> 8 & 0xff];
    if (task.generation != (what >> 16 & 0xff) || task.state == State::free || target_.stage().broken()) {
        return;
    }
    if ((what & 0xff) == execute_task) {
        execute(task);
    } else {
        send_next(task);
    }
}

void Connection::send_nop_in(bool wants_answer) {
    Header pdu = make_header(Opcode::nop_in);
    set<field::final>(pdu);
    set<field::itt>(pdu, scripted::no_tag);
    set<field::ttt>(pdu, wants_answer ? ++ttt_ & 0x7fffffff : scripted::no_tag);
    set<field::stat_sn>(pdu, stat_sn_);
    send(pdu, {}, false);
}

void Connection::send_async(std::uint8_t event, std::uint16_t asc_ascq) {
    Header pdu = make_header(Opcode::async_message);
    set<field::final>(pdu);
    set<field::itt>(pdu, scripted::no_tag);
    set<field::async_event>(pdu, event);
    set<field::parameter2>(pdu, event == 1 ? 0 : target_.stage().dice.below(3));
    set<field::parameter3>(pdu, 2);
    std::array<std::byte, 20> sense{};
    sense[1] = std::byte{18};
    sense[2] = std::byte{0x70};
    sense[4] = std::byte{0x06};
    sense[9] = std::byte{10};
    sense[14] = static_cast<std::byte>(asc_ascq >> 8);
    sense[15] = static_cast<std::byte>(asc_ascq);
    send(pdu, event == 0 ? base::Bytes(sense) : base::Bytes(), true);
}

} // namespace iscsi::sim
