#include "shard/pass_through.hpp"

#include <utility>

namespace iscsi::shard {

PassedThrough& PassThroughs::add(const PassThrough& request) {
    PassedThrough& command = commands_.emplace_back();
    command.lun = request.lun;
    command.cdb = request.cdb;
    command.cdb_bytes = request.cdb_bytes;
    command.read.resize(request.data_in_bytes);
    command.written.assign(request.data_out.begin(), request.data_out.end());
    command.data_in = command.read;
    command.data_out = command.written;
    command.direction = !command.read.empty()      ? session::Direction::in
                        : !command.written.empty() ? session::Direction::out
                                                   : session::Direction::none;
    command.timeout = request.timeout;
    command.attribute = request.attribute;
    return command;
}

PassThroughReply PassThroughs::take(PassedThrough& command) {
    PassThroughReply reply;
    if (command.is_given_up) {
        reply.outcome = session::Outcome::lost;
        return reply;
    }
    reply.outcome = command.outcome;
    reply.response = command.response;
    reply.status = command.status;
    command.read.resize(command.received_bytes);
    reply.data = std::move(command.read);
    reply.sense.assign(command.sense.begin(), command.sense.begin() + command.sense_bytes);
    forget(command);
    return reply;
}

void PassThroughs::on_done(PassedThrough& command) {
    if (command.is_given_up) {
        forget(command);
    } else {
        command.answered.set();
    }
}

void PassThroughs::give_up() {
    std::vector<PassedThrough*> given_up;
    for (PassedThrough& command : commands_) {
        // One that was answered waits for those that were sent with it, and keeps its answer.
        if (!command.answered.is_set()) {
            command.is_given_up = true;
            given_up.push_back(&command);
        }
    }
    for (PassedThrough* command : given_up) {
        command->answered.set();
    }
}

void PassThroughs::forget(const PassedThrough& command) {
    commands_.remove_if([&](const PassedThrough& other) { return &other == &command; });
}

} // namespace iscsi::shard
