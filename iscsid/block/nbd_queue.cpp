#include "block/nbd_queue.hpp"

#include "base/check.hpp"

#include <algorithm>
#include <cerrno>
#include <unistd.h>
#include <utility>

namespace iscsi::block {
namespace {

/// Out of descriptors or memory: there is no event for their return.
constexpr auto accept_pause = std::chrono::seconds(1);

} // namespace

NbdQueue::Client::Client(NbdQueue& owner)
    : queue(owner), connection({
                        .info = owner.info_,
                        .pool = owner.context_.pool,
                        .handler = owner.context_.handler,
                        .owner = *this,
                    }),
      stream(owner.context_.loop, *this) {}

void NbdQueue::Client::on_ready() {
    if (!stream.is_open()) {
        return queue.on_place_free();
    }
    if (connection.finished()) {
        return stream.close({base::Errc::disconnected, "the client said goodbye"},
                            ring::Stream::Ending::orderly);
    }
    stream.mark();
}

void NbdQueue::Client::on_closed(ring::Stream&, const base::Error&) {
    connection.abandon();
    queue.on_place_free();
}

NbdQueue::NbdQueue(const QueueContext& context, int listener, NbdExportInfo info)
    : context_(context), listener_(listener), info_(std::move(info)),
      accept_op_(ring::Op::to<&NbdQueue::on_accepted>(this)),
      accept_again_(ring::Timer::to<&NbdQueue::accept_next>(context.loop.timers(), this)) {
    clients_.reserve(clients_max);
    accept_next();
}

NbdQueue::~NbdQueue() {
    base::check(closing_ && !closed_ && listener_ < 0, "a queue is closed before it dies");
    context_.loop.unmark(*this);
}

void NbdQueue::complete(Request& request, int error_number) {
    NbdConnection::of(request).complete(request, error_number);
}

std::size_t NbdQueue::clients() const {
    return static_cast<std::size_t>(std::count_if(
        clients_.begin(), clients_.end(), [](const auto& client) { return !client->stream.is_closed(); }));
}

void NbdQueue::accept_next() {
    if (closing_ || accept_op_.pending() || accept_again_.armed()) {
        return;
    }
    // Without a free place nobody is accepted: further clients wait in the socket's backlog.
    if (clients_.size() == clients_max && free_client() == nullptr) {
        return;
    }
    io_uring_prep_accept(context_.loop.sqe(accept_op_), listener_, nullptr, nullptr, SOCK_CLOEXEC);
}

void NbdQueue::on_accepted(ring::Completion completion) {
    if (closing_) {
        if (completion.result >= 0) {
            ::close(completion.result);
        }
        context_.loop.mark(*this);
        return;
    }
    if (completion.result >= 0) {
        serve(completion.result);
    } else if (completion.result != -EINTR && completion.result != -ECONNABORTED) {
        accept_again_.arm(context_.loop.now() + accept_pause);
    }
    accept_next();
}

void NbdQueue::serve(int fd) {
    Client* client = free_client();
    if (client == nullptr) {
        base::check(clients_.size() < clients_max, "a client is accepted when there is a place");
        client = clients_.emplace_back(std::make_unique<Client>(*this)).get();
    }
    client->connection.open(context_.loop.now());
    client->stream.open(fd, client->connection);
}

NbdQueue::Client* NbdQueue::free_client() {
    const auto found =
        std::find_if(clients_.begin(), clients_.end(), [](const auto& client) { return client->is_free(); });
    return found == clients_.end() ? nullptr : found->get();
}

void NbdQueue::on_place_free() {
    if (closing_) {
        context_.loop.mark(*this);
    } else {
        accept_next();
    }
}

void NbdQueue::close(std::function<void()> closed) {
    base::check(!closing_, "a queue is closed once");
    closing_ = true;
    closed_ = std::move(closed);
    accept_again_.disarm();
    context_.loop.ring().cancel(accept_op_);
    for (const auto& client : clients_) {
        client->stream.close({base::Errc::cancelled, "the export ends"}, ring::Stream::Ending::orderly);
    }
    context_.loop.mark(*this);
}

/// Looks whether a closing queue has come to its end.
void NbdQueue::pump() {
    if (!closing_ || accept_op_.pending()) {
        return;
    }
    close_listener();
    const bool all_gone =
        std::all_of(clients_.begin(), clients_.end(), [](const auto& client) { return client->is_free(); });
    if (all_gone && closed_) {
        const std::function<void()> closed = std::exchange(closed_, {});
        closed(); // may destroy this queue
    }
}

void NbdQueue::close_listener() {
    if (listener_ >= 0) {
        ::close(std::exchange(listener_, -1));
    }
}

} // namespace iscsi::block
