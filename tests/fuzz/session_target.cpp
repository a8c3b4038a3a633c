// What the target of the session's fuzzer says.
#include "session_target.hpp"

#include <array>
#include <cstring>
#include <random>

namespace iscsi::test {
namespace {

constexpr std::size_t chance_bytes = 65521;

void put_digest(std::vector<std::byte>& out, std::uint32_t value) {
    for (unsigned i = 0; i < wire::digest_bytes; ++i) {
        out.push_back(static_cast<std::byte>(value >> (8 * i)));
    }
}

/// Twice the same, so that what begins in the first half goes on in the second.
const std::vector<std::byte>& chance() {
    static const std::vector<std::byte> table = [] {
        std::minstd_rand random(1);
        std::vector<std::byte> bytes(chance_bytes);
        for (std::byte& one : bytes) {
            auto value = static_cast<std::uint8_t>(random() >> 8);
            one = static_cast<std::byte>(value == 0xee ? 0xef : value);
        }
        bytes.insert(bytes.end(), bytes.begin(), bytes.end());
        return bytes;
    }();
    return table;
}

} // namespace

void fill(base::MutableBytes out, std::uint32_t stream, std::uint64_t position) {
    while (!out.empty()) {
        std::size_t n = std::min(out.size(), chance_bytes);
        std::memcpy(out.data(), chance().data() + (stream + position) % chance_bytes, n);
        out = out.subspan(n);
        position += n;
    }
}

/// The header with what the step wants to be wrong, its data and the digests of both.
template <class Pdu>
void HostileTarget::put(Pdu pdu, const Step& step, base::Bytes data) {
    pdu.exp_cmd_sn = cmd_sn_.value();
    pdu.max_cmd_sn = (cmd_sn_ + window_ - 1).value();
    if (step.deviates(Step::flags)) {
        pdu.flags ^= step.by;
        pdu.max_cmd_sn =
            pdu.max_cmd_sn + static_cast<std::uint32_t>(static_cast<std::int8_t>(step.more >> 8));
        limit_known_ = limit_known_ && step.by != 0xff;
        pdu.max_cmd_sn = step.by == 0xff ? step.value : pdu.max_cmd_sn.get();
    }
    pdu.total_ahs_length = step.deviates(Step::length_field) ? step.by >> 4 : 0;
    std::vector<std::byte> ahs(std::size_t{pdu.total_ahs_length} * 4, std::byte{0x55});
    bool lies = step.deviates(Step::length_field) && wire::generic(pdu).opcode() != wire::Opcode::data_in;
    std::size_t shown = data.size() + (lies ? step.by & 7U : 0);
    pdu.data_segment_length = static_cast<std::uint32_t>(shown);

    std::size_t from = stream.size();
    append(base::bytes_of_object(pdu));
    append(ahs);
    if (config_.connection.header_digest) {
        std::uint32_t right = base::crc32c(base::Bytes(stream).subspan(from));
        put_digest(stream, right ^ (step.deviates(Step::header_digest) ? 1U << (step.by & 31) : 0));
    }
    from = stream.size();
    append(data);
    // A length that lies has bytes to it, so that what follows is a PDU still.
    stream.resize(from + base::pad4(shown), std::byte{0});
    if (config_.connection.data_digest && shown > 0) {
        std::uint32_t right = base::crc32c(base::Bytes(stream).subspan(from));
        put_digest(stream, right ^ (step.deviates(Step::data_digest) ? 1U << (step.by & 31) : 0));
    }
    announced_.push_back({delivered_ + stream.size(), base::CmdSn(pdu.max_cmd_sn)});
}

/// One that takes a StatSN.
template <class Pdu>
void HostileTarget::put_status(Pdu pdu, const Step& step, base::Bytes data) {
    pdu.stat_sn = stat_sn_++;
    if (step.deviates(Step::status_number)) {
        pdu.stat_sn = pdu.stat_sn + static_cast<std::uint32_t>(static_cast<std::int8_t>(step.by));
    }
    put(pdu, step, data);
}

void HostileTarget::delivered(std::size_t n) {
    delivered_ += n;
    stream.erase(stream.begin(), stream.begin() + static_cast<std::ptrdiff_t>(n));
    while (!announced_.empty() && announced_.front().end <= delivered_) {
        if (announced_.front().max_cmd_sn.after(limit_)) {
            limit_ = announced_.front().max_cmd_sn;
        }
        announced_.pop_front();
    }
}

HostileTarget::Task* HostileTarget::choose(const Step& step, Task::Kind kind) {
    std::vector<Task*> fitting;
    for (Task& task : tasks_) {
        if (kind == Task::any || task.kind == kind || step.deviates(Step::tag)) {
            fitting.push_back(&task);
        }
    }
    return fitting.empty() ? nullptr : fitting[step.pick % fitting.size()];
}

void HostileTarget::end_transfers(std::uint32_t itt) {
    std::erase_if(transfers_, [itt](const auto& one) { return one.second.itt == itt; });
    if (unsolicited_ && unsolicited_->itt == itt) {
        unsolicited_.reset();
    }
}

void HostileTarget::forget(const Task& task) {
    end_transfers(task.itt);
    tasks_.erase(tasks_.begin() + (&task - tasks_.data()));
}

void HostileTarget::say_data_in(const Step& step) {
    Task* task = choose(step, Task::read);
    if (task == nullptr) {
        return;
    }
    std::uint32_t longest = config_.connection.max_recv_data_segment_bytes;
    std::uint32_t bytes = std::min({std::uint32_t{step.length}, task->expected - task->next, longest});
    bool last = (step.more & 1) != 0;
    wire::DataIn pdu;
    pdu.itt = step.deviates(Step::tag) && step.by == 0xff ? step.value : task->itt;
    pdu.lun = task->lun;
    pdu.data_sn = task->data_sn++ + (step.deviates(Step::sequence) ? step.by : 0U);
    pdu.buffer_offset = task->next + (step.deviates(Step::offset) ? step.value : 0U);
    pdu.flags = last || (step.more & 2) != 0 ? wire::final_bit : std::uint8_t{0};
    if (step.deviates(Step::offset) && (step.by & 1) != 0) {
        bytes = std::min(std::uint32_t{step.length}, longest + (step.by & 2U));
    }
    bytes += step.deviates(Step::length_field) ? step.by & 7U : 0;
    std::vector<std::byte> data(bytes);
    fill(data, read_data(pdu.itt), pdu.buffer_offset);
    task->next = std::min(task->next + bytes, task->expected);
    if (!last) {
        return put(pdu, step, data);
    }
    pdu.flags |= wire::data_in_flag::status;
    if (std::uint32_t left = task->expected - task->next; left > 0) {
        pdu.flags |= wire::data_in_flag::underflow;
        pdu.residual_count = left;
    }
    if (step.deviates(Step::sequence)) {
        pdu.status = step.by;
        pdu.residual_count = step.value;
    }
    put_status(pdu, step, data);
    forget(*task);
}

void HostileTarget::say_response(const Step& step) {
    Task* task = choose(step, Task::any);
    if (task == nullptr) {
        return;
    }
    constexpr std::array<std::uint8_t, 8> statuses{0, 0, 0, 2, 0x08, 0x18, 0x28, 0x40};
    wire::ScsiResponse pdu;
    pdu.itt = step.deviates(Step::tag) && step.by == 0xff ? step.value : task->itt;
    pdu.status = statuses[step.more & 7];
    pdu.response = (step.more & 8) != 0 ? step.by : std::uint8_t{0};
    pdu.exp_data_sn = task->data_sn + (step.deviates(Step::sequence) ? step.by : 0U);
    std::uint32_t left = task->kind == Task::read ? task->expected - task->next : 0;
    if (left > 0) {
        pdu.flags |= wire::response_flag::underflow;
        pdu.residual_count = left;
    }
    if (step.deviates(Step::offset)) {
        pdu.flags ^= step.by & 0x1e;
        bool near = step.value < 256;
        pdu.residual_count =
            near ? left + static_cast<std::uint32_t>(static_cast<std::int8_t>(step.value)) : step.value;
    }
    std::vector<std::byte> sense;
    if (pdu.status == 2 || (step.more & 16) != 0) {
        sense.resize(2 + step.length % 300);
        auto length = static_cast<std::uint16_t>(sense.size() - 2 + ((step.more & 32) != 0 ? step.by : 0));
        base::Be16 field(length);
        std::memcpy(sense.data(), &field, sizeof field);
        sense.resize((step.more & 64) != 0 ? 1 : sense.size());
    }
    put_status(pdu, step, sense);
    forget(*task);
}

void HostileTarget::say_r2t(const Step& step) {
    Task* task = choose(step, Task::write);
    if (task == nullptr) {
        return;
    }
    std::uint32_t bytes =
        std::min({std::uint32_t{step.length}, task->expected - task->next, config_.session.max_burst_bytes});
    if (bytes == 0 && step.deviations == 0) {
        return;
    }
    wire::R2t pdu;
    pdu.itt = step.deviates(Step::tag) && step.by == 0xff ? step.value : task->itt;
    pdu.lun = task->lun ^ (step.deviates(Step::tag) && step.by == 0xfe ? 1U : 0U);
    pdu.ttt = step.deviates(Step::tag) && step.by == 0xfd ? base::reserved_tag : next_ttt_++;
    pdu.stat_sn = stat_sn_;
    pdu.r2t_sn = task->data_sn++ + (step.deviates(Step::sequence) ? step.by : 0U);
    pdu.buffer_offset = task->next + (step.deviates(Step::offset) ? step.value : 0U);
    pdu.desired_data_transfer_length = step.deviates(Step::offset) && (step.by & 1) != 0 ? step.value : bytes;
    transfers_[pdu.ttt] = {pdu.itt, pdu.buffer_offset,
                           pdu.buffer_offset + pdu.desired_data_transfer_length.get(), 0};
    task->next += bytes;
    put(pdu, step);
}

void HostileTarget::say_nop_in(const Step& step) {
    wire::NopIn pdu;
    std::vector<std::byte> data(step.more % 64, std::byte{'p'});
    if ((step.pick & 1) == 0) {
        pdu.ttt = (step.pick & 2) == 0 ? next_ttt_++ : base::reserved_tag;
        pdu.stat_sn = stat_sn_;
        return put(pdu, step, data);
    }
    pdu.itt = step.deviates(Step::tag) ? step.value : ping_itt_;
    if (pdu.itt != base::reserved_tag) {
        put_status(pdu, step, base::Bytes(data).first(step.deviates(Step::offset) ? data.size() : 0));
        ping_itt_ = base::reserved_tag;
    }
}

void HostileTarget::say_async(const Step& step) {
    wire::AsyncMessage pdu;
    pdu.async_event = step.pick;
    pdu.async_vcode = step.by;
    pdu.parameter1 = step.more;
    pdu.parameter2 = step.length;
    pdu.parameter3 = static_cast<std::uint16_t>(step.value);
    std::vector<std::byte> data(step.pick == 0 ? 2 + step.length % 300 : 0);
    if (!data.empty()) {
        base::Be16 length(
            static_cast<std::uint16_t>(data.size() - 2 + (step.deviates(Step::offset) ? step.by : 0)));
        std::memcpy(data.data(), &length, sizeof length);
    }
    put_status(pdu, step, data);
}

void HostileTarget::say_reject(const Step& step) {
    wire::Reject pdu;
    pdu.reason = step.pick;
    wire::Bhs rejected = last_heard_;
    if (step.deviates(Step::offset)) {
        rejected.opcode_byte = step.by;
        rejected.itt = step.value;
    }
    base::Bytes data = base::bytes_of_object(rejected);
    put_status(pdu, step, data.first(step.deviates(Step::sequence) ? step.by % data.size() : data.size()));
}

void HostileTarget::say_management_response(const Step& step) {
    wire::TaskManagementResponse pdu;
    pdu.itt = step.deviates(Step::tag) ? step.value : management_itt_;
    pdu.response = step.pick % 8;
    if (pdu.itt == base::reserved_tag) {
        return;
    }
    put_status(pdu, step);
    management_itt_ = base::reserved_tag;
    for (Task& task : tasks_) {
        task.given_up = true;
        end_transfers(task.itt);
    }
}

void HostileTarget::say_logout_response(const Step& step) {
    wire::LogoutResponse pdu;
    pdu.itt = step.deviates(Step::tag) ? step.value : logout_itt_;
    pdu.response = step.pick;
    if (pdu.itt != base::reserved_tag) {
        put_status(pdu, step);
    }
}

void HostileTarget::say(const Step& step) {
    switch (step.kind % Step::kinds) {
    case Step::data_in:
        return say_data_in(step);
    case Step::response:
        return say_response(step);
    case Step::r2t:
        return say_r2t(step);
    case Step::nop_in:
        return say_nop_in(step);
    case Step::async:
        return say_async(step);
    case Step::reject:
        return say_reject(step);
    case Step::management_response:
        return say_management_response(step);
    case Step::logout_response:
        return say_logout_response(step);
    case Step::other: {
        wire::TextResponse pdu;
        pdu.opcode_byte = step.pick;
        pdu.itt = step.value;
        return put_status(pdu, step);
    }
    case Step::raw:
        any_bytes = true;
        limit_known_ = false;
        return append(base::bytes_of_object(step).subspan(4));
    default:
        return;
    }
}

} // namespace iscsi::test
