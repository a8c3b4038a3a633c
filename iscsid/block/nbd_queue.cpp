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
                        .barrier = &owner.queues_->forsaken,
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
    if (!connection.idle()) {
        forsaken = true;
        queue.queues_->forsaken.fetch_add(1, std::memory_order_seq_cst);
    }
    queue.on_place_free();
}

/// A client on its way to the queue that will serve it.
class NbdQueue::Handover final : public ring::Message {
public:
    Handover(NbdQueue& to, int fd) : to_(to), fd_(fd) {}
    void deliver() override {
        if (to_.closing_) {
            ::close(fd_);
            to_.queues_->all.at(to_.context_.number).clients.fetch_sub(1, std::memory_order_seq_cst);
        } else {
            to_.serve(fd_);
        }
        delete this;
    }

private:
    NbdQueue& to_;
    int fd_;
};

/// To the queue that accepts: another one has a place, and it waits for that; or the barrier has ended.
class NbdQueue::PlaceFree final : public ring::Message {
public:
    PlaceFree(std::shared_ptr<NbdQueues> queues, bool barrier_ended)
        : queues_(std::move(queues)), barrier_ended_(barrier_ended) {}
    void deliver() override {
        NbdQueue* const first = queues_->all.front().queue.load(std::memory_order_acquire);
        if (first != nullptr && barrier_ended_) {
            first->end_barrier();
        } else if (first != nullptr) {
            first->accept_next();
        }
        delete this;
    }

private:
    std::shared_ptr<NbdQueues> queues_;
    bool barrier_ended_;
};

/// From the queue that accepts: requests may begin again.
class NbdQueue::GoOn final : public ring::Message {
public:
    explicit GoOn(NbdQueue& to) : to_(to) {}
    void deliver() override {
        to_.wake_clients();
        delete this;
    }

private:
    NbdQueue& to_;
};

NbdQueue::NbdQueue(const QueueContext& context, int listener, NbdExportInfo info,
                   std::shared_ptr<NbdQueues> queues)
    : context_(context), listener_(listener), info_(std::move(info)),
      queues_(queues ? std::move(queues) : std::make_shared<NbdQueues>()),
      accept_op_(ring::Op::to<&NbdQueue::on_accepted>(this)),
      accept_again_(ring::Timer::to<&NbdQueue::accept_next>(context.loop.timers(), this)) {
    clients_.reserve(clients_max);
    if (context_.number == 0) {
        queues_->accepting.store(&context_.loop, std::memory_order_release);
    }
    queues_->all.at(context_.number).queue.store(this, std::memory_order_seq_cst);
    tell_of_place(); // the first one may have none any more
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
    if (closing_ || listener_ < 0 || accept_op_.pending() || accept_again_.armed()) {
        return;
    }
    // Without a free place nobody is accepted: further clients wait in the socket's backlog.
    if (!has_place()) {
        return;
    }
    io_uring_prep_accept(context_.loop.sqe(accept_op_), listener_, nullptr, nullptr, SOCK_CLOEXEC);
}

bool NbdQueue::has_place() {
    if (any_queue_has_place()) {
        return true;
    }
    queues_->full.store(true, std::memory_order_seq_cst);
    return any_queue_has_place(); // one that became free before anybody knew that it is waited for
}

bool NbdQueue::any_queue_has_place() const {
    return std::ranges::any_of(queues_->all, [](const NbdQueues::One& one) {
        return one.queue.load(std::memory_order_seq_cst) != nullptr &&
               one.clients.load(std::memory_order_seq_cst) < clients_max;
    });
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
        place(completion.result);
    } else if (completion.result != -EINTR && completion.result != -ECONNABORTED) {
        accept_again_.arm(context_.loop.now() + accept_pause);
    }
    accept_next();
}

/// One of the queues has a place, unless it closes just now, and nobody but this one gives them away.
void NbdQueue::place(int fd) {
    NbdQueue* to = this;
    NbdQueues::One* fewest = &queues_->all.at(context_.number);
    for (NbdQueues::One& one : queues_->all) {
        NbdQueue* const queue = one.queue.load(std::memory_order_acquire);
        if (queue != nullptr && one.clients.load(std::memory_order_acquire) < fewest->clients) {
            to = queue;
            fewest = &one;
        }
    }
    if (fewest->clients.load(std::memory_order_acquire) >= clients_max) {
        ::close(fd);
        return;
    }
    fewest->clients.fetch_add(1, std::memory_order_acq_rel);
    if (to == this) {
        serve(fd);
    } else {
        to->context_.loop.post(*new Handover(*to, fd));
    }
}

void NbdQueue::uncount_clients() {
    bool barrier_ended = false;
    for (const auto& client : clients_) {
        if (!client->is_free()) {
            continue;
        }
        if (std::exchange(client->counted, false)) {
            queues_->all.at(context_.number).clients.fetch_sub(1, std::memory_order_seq_cst);
        }
        if (std::exchange(client->forsaken, false)) {
            barrier_ended |= queues_->forsaken.fetch_sub(1, std::memory_order_seq_cst) == 1;
        }
    }
    tell_of_place();
    if (barrier_ended && context_.number == 0) {
        end_barrier();
    } else if (barrier_ended) {
        queues_->accepting.load(std::memory_order_acquire)->post(*new PlaceFree(queues_, true));
    }
}

/// On the thread of the one that accepts, which all others outlive.
void NbdQueue::end_barrier() {
    for (const NbdQueues::One& one : queues_->all) {
        NbdQueue* const queue = one.queue.load(std::memory_order_acquire);
        if (queue != nullptr && queue != this) {
            queue->context_.loop.post(*new GoOn(*queue));
        }
    }
    wake_clients();
}

void NbdQueue::wake_clients() {
    for (const auto& client : clients_) {
        if (client->stream.is_open()) {
            client->stream.mark();
        }
    }
}

void NbdQueue::tell_of_place() {
    const bool is_waited_for = queues_->full.load(std::memory_order_seq_cst) && queues_->full.exchange(false);
    if (is_waited_for && context_.number != 0) {
        queues_->accepting.load(std::memory_order_acquire)->post(*new PlaceFree(queues_, false));
    }
}

std::size_t NbdQueue::users() const {
    std::size_t sum = 0;
    for (const NbdQueues::One& one : queues_->all) {
        sum += listener_ >= 0 ? one.clients.load(std::memory_order_acquire) : 0;
    }
    return sum - std::min(sum, queues_->forsaken.load(std::memory_order_acquire));
}

void NbdQueue::serve(int fd) {
    Client* client = free_client();
    if (client == nullptr) {
        base::check(clients_.size() < clients_max, "a client is accepted when there is a place");
        client = clients_.emplace_back(std::make_unique<Client>(*this)).get();
    }
    client->counted = true;
    client->connection.open(context_.loop.now());
    client->stream.open(fd, client->connection);
}

NbdQueue::Client* NbdQueue::free_client() {
    const auto found =
        std::find_if(clients_.begin(), clients_.end(), [](const auto& client) { return client->is_free(); });
    return found == clients_.end() ? nullptr : found->get();
}

void NbdQueue::on_place_free() {
    uncount_clients();
    if (closing_) {
        context_.loop.mark(*this);
    } else {
        accept_next();
    }
}

void NbdQueue::close(std::function<void()> closed) {
    base::check(!closing_, "a queue is closed once");
    closing_ = true;
    queues_->all.at(context_.number).queue.store(nullptr, std::memory_order_seq_cst);
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
