// The simulated target's tasks: commands as they come and the data that belongs to them. RFC 7143 sections
// 4.2.5, 11.3, 11.5, 11.7 and 11.8.
#include "sim/connection.hpp"

#include <algorithm>

namespace iscsi::sim {

Connection::Task* Connection::find(std::uint32_t itt) {
    auto* found = std::ranges::find_if(
        tasks_, [itt](const Task& task) { return task.state != State::free && task.itt == itt; });
    return found == tasks_.end() ? nullptr : found;
}

Connection::Task& Connection::new_task(std::uint32_t itt) {
    auto* task = std::ranges::find(tasks_, State::free, &Task::state);
    if (task == tasks_.end()) {
        target_.stage().fail("the simulated target has too few places for tasks");
        task = tasks_.begin();
    }
    std::vector<std::byte> data = std::move(task->data);
    const auto generation = static_cast<std::uint8_t>(task->generation + 1);
    *task = Task();
    task->data = std::move(data);
    task->generation = generation;
    task->itt = itt;
    task->state = State::gathering;
    ++open_tasks_;
    return *task;
}

void Connection::drop(Task& task) {
    if (task.state == State::free) {
        return;
    }
    open_tasks_ -= task.state == State::answered ? 0 : 1;
    task.state = State::free;
    ++task.generation;
}

void Connection::decode(Task& task) {
    const std::byte* cdb = task.cdb.data();
    auto ten = [&](Verb verb) {
        task.verb = verb;
        task.first = static_cast<std::uint32_t>(number_at(cdb + 2, 4));
        task.blocks = static_cast<std::uint32_t>(number_at(cdb + 7, 2));
    };
    auto sixteen = [&](Verb verb) {
        task.verb = verb;
        task.first = static_cast<std::uint32_t>(number_at(cdb + 2, 8));
        task.blocks = static_cast<std::uint32_t>(number_at(cdb + 10, 4));
    };
    switch (std::to_integer<unsigned>(cdb[0])) {
    case 0x28:
        ten(Verb::read);
        break;
    case 0x88:
        sixteen(Verb::read);
        break;
    case 0x2a:
        ten(Verb::write);
        break;
    case 0x8a:
        sixteen(Verb::write);
        break;
    case 0x41:
        ten(Verb::write_same);
        break;
    case 0x93:
        sixteen(Verb::write_same);
        break;
    case 0x35:
        task.verb = Verb::flush;
        break;
    case 0x42:
        task.verb = Verb::unmap;
        break;
    default:
        break;
    }
    task.fua =
        (task.verb == Verb::write || task.verb == Verb::read) && (cdb[1] & std::byte{8}) != std::byte{0};
    const std::uint32_t blocks = target_.medium().blocks();
    if (task.first > blocks || task.blocks > blocks - task.first) {
        target_.stage().fail("a command for {} blocks at {}, the unit has {}", task.blocks, task.first,
                             blocks);
        task.blocks = 0;
    }
    if ((task.verb == Verb::read || task.verb == Verb::write) && task.expected != task.blocks * block_bytes) {
        target_.stage().fail("a command for {} blocks expects {} bytes", task.blocks, task.expected);
    }
}

void Connection::on_command(const Header& header, base::Bytes data) {
    const std::uint32_t itt = get32<field::itt>(header);
    if (itt == scripted::no_tag || find(itt) != nullptr) {
        return violation("ITT {:08x} is used again before its task has ended", itt);
    }
    Task& task = new_task(itt);
    task.lun = get<field::lun>(header);
    task.expected = get32<field::expected_length>(header);
    task.reads = get<field::read>(header) != 0;
    std::copy_n(header.begin() + field::cdb_first.byte, task.cdb.size(), task.cdb.begin());
    decode(task);
    const bool writes = get<field::write>(header) != 0;
    task.unsolicited_open = get<field::final>(header) == 0;
    if (data.size() > (writes && immediate_data_ ? std::min(first_burst_, task.expected) : 0U)) {
        return violation("{} bytes of immediate data", data.size());
    }
    if (task.unsolicited_open && (initial_r2t_ || !writes)) {
        return violation("unsolicited data to come, against InitialR2T");
    }
    task.fate = target_.next_fate();
    task.data.resize(task.expected);
    add_data(task, 0, data);
    std::uint16_t attention = 0;
    if (task.verb != Verb::other && target_.take_attention(attention)) {
        task.fate = Fate::attention;
        task.sense = 0x060000U | attention;
    }
    // A command that is refused may be answered before its data has come.
    const bool early = task.fate == Fate::busy || task.fate == Fate::task_set_full ||
                       task.fate == Fate::attention || task.fate == Fate::target_failure ||
                       task.fate == Fate::medium_error || task.fate == Fate::hardware_error;
    if (early && target_.stage().dice.one_in(2)) {
        task.state = State::executing;
        return put_off(task, execute_task, {});
    }
    if (!writes) {
        task.received = task.expected;
    }
    progress(task);
}

void Connection::add_data(Task& task, std::uint32_t offset, base::Bytes data) {
    std::ranges::copy(data, task.data.begin() + offset);
    task.received += static_cast<std::uint32_t>(data.size());
    task.asked = std::max(task.asked, task.received);
}

/// Asks for what is missing, or carries it out.
void Connection::progress(Task& task) {
    if (task.state != State::gathering || task.unsolicited_open) {
        return;
    }
    if (task.received == task.expected) {
        task.state = State::executing;
        return put_off(task, execute_task, target_.calm() ? base::Duration{} : target_.plan().execution_max);
    }
    if (task.verb == Verb::write && !target_.is_stranger() && target_.stage().dice.one_in(4)) {
        do_it(task, task.received / block_bytes); // what has come need not wait for the rest
    }
    while (task.asked < task.expected &&
           task.r2t_count < std::min<std::size_t>(r2ts_max_, task.r2ts.size())) {
        std::uint32_t bytes = std::min(task.expected - task.asked, max_burst_);
        if (!target_.stage().dice.one_in(3)) {
            bytes = 1 + target_.stage().dice.below(bytes);
        }
        R2t& r2t = task.r2ts[task.r2t_count++];
        r2t = {++ttt_ & 0x7fffffff, task.asked, task.asked + bytes, 0};
        task.asked += bytes;
        Header pdu = make_header(Opcode::r2t);
        set<field::final>(pdu);
        set<field::lun>(pdu, task.lun);
        set<field::itt>(pdu, task.itt);
        set<field::ttt>(pdu, r2t.ttt);
        set<field::stat_sn>(pdu, stat_sn_);
        set<field::r2t_sn>(pdu, task.r2t_sn++);
        set<field::buffer_offset>(pdu, r2t.offset);
        set<field::desired_length>(pdu, bytes);
        send(pdu, {}, false);
    }
}

void Connection::on_data_out(const Header& header, base::Bytes data) {
    Task* found = find(get32<field::itt>(header));
    if (found == nullptr || found->state != State::gathering) {
        constexpr std::size_t tail = 8;
        if (data.size() >= tail &&
            std::ranges::all_of(data.last(tail), [](std::byte byte) { return byte == poison; })) {
            target_.stage().fail("memory is sent that was given back to its owner");
        }
        return; // it has ended meanwhile; what was under way is nobody's
    }
    Task& task = *found;
    const std::uint32_t ttt = get32<field::ttt>(header);
    const std::uint32_t offset = get32<field::buffer_offset>(header);
    const auto bytes = static_cast<std::uint32_t>(data.size());
    const bool last = get<field::final>(header) != 0;
    if (ttt == scripted::no_tag) {
        if (!task.unsolicited_open || offset != task.received || offset + bytes > first_burst_ ||
            offset + bytes > task.expected || get32<field::data_sn>(header) != task.data_sn++ || bytes == 0) {
            return violation("unsolicited Data-Out of {} bytes at {}, {} had come", bytes, offset,
                             task.received);
        }
        task.unsolicited_open = !last;
        add_data(task, offset, data);
        return progress(task);
    }
    auto* const end = task.r2ts.begin() + task.r2t_count;
    auto* r2t = std::find_if(task.r2ts.begin(), end, [ttt](const R2t& one) { return one.ttt == ttt; });
    if (r2t == end || offset != r2t->offset || bytes > r2t->end - offset || bytes == 0 ||
        get32<field::data_sn>(header) != r2t->data_sn++ || last != (offset + bytes == r2t->end) ||
        get<field::lun>(header) != task.lun) {
        return violation("Data-Out of {} bytes at {} that no R2T asked for so", bytes, offset);
    }
    r2t->offset += bytes;
    if (last) {
        std::copy(r2t + 1, end, r2t);
        --task.r2t_count;
    }
    std::ranges::copy(data, task.data.begin() + offset);
    task.received += bytes;
    progress(task);
}

void Connection::on_management(const Header& header) {
    const std::uint64_t function = get<field::function>(header);
    constexpr std::uint64_t abort_task = 1;
    Stage& stage = target_.stage();
    stage.met.add(function == abort_task ? Encounter::abort_task
                  : function == 5        ? Encounter::unit_reset
                                         : Encounter::target_reset);
    std::uint8_t response = 0;
    if (!target_.calm() && stage.dice.one_in(4)) {
        response = 5; // not supported
    } else if (function == abort_task) {
        Task* task = find(get32<field::referenced_tag>(header));
        response = task == nullptr || task->state == State::answered ? 1 : 0;
        if (response == 0) {
            drop(*task);
        }
    } else {
        for (Task& task : tasks_) {
            if (task.state != State::answered) {
                drop(task);
            }
        }
    }
    Header pdu = make_header(Opcode::task_response);
    set<field::final>(pdu);
    set<field::itt>(pdu, get<field::itt>(header));
    set<field::response>(pdu, response);
    send(pdu, {}, true);
}

void Connection::on_logout(const Header& header) {
    Header pdu = make_header(Opcode::logout_response);
    set<field::final>(pdu);
    set<field::itt>(pdu, get<field::itt>(header));
    set<field::time2wait>(pdu, time2wait_);
    // All its tasks are ended before the answer (RFC 7143 section 11.14).
    for (Task& task : tasks_) {
        drop(task);
    }
    send(pdu, {}, true);
    if (target_.stage().dice.one_in(2)) {
        closed_ = true;
        target_.forget(*this);
        socket_.close();
    }
}

void Connection::on_nop_out(const Header& header, base::Bytes data) {
    const std::uint32_t itt = get32<field::itt>(header);
    if (itt == scripted::no_tag) {
        return;
    }
    Header pdu = make_header(Opcode::nop_in);
    set<field::final>(pdu);
    set<field::itt>(pdu, itt);
    set<field::ttt>(pdu, scripted::no_tag);
    send(pdu, data, true);
}

} // namespace iscsi::sim
