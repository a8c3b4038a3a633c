#include "sim/kernel.hpp"

#include "base/check.hpp"

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <memory>
#include <poll.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>

namespace iscsi::sim {
namespace {

thread_local Kernel* the_kernel = nullptr;

/// -errno as the C library tells it.
ssize_t as_call(ssize_t result) {
    if (result >= 0) {
        return result;
    }
    errno = static_cast<int>(-result);
    return -1;
}

} // namespace

Kernel* Kernel::current() {
    return the_kernel;
}

Kernel::Kernel(Stage& stage) : stage_(stage) {
    base::check(the_kernel == nullptr, "a thread has one kernel at a time");
    the_kernel = this;
    due_.reserve(64);
    ready_.reserve(32);
}

Kernel::~Kernel() {
    leave();
}

void Kernel::leave() {
    the_kernel = nullptr;
}

void Kernel::after(base::Duration delay, Happening& who, std::uint32_t what) {
    due_.push_back({stage_.now + delay, numbers_++, what, &who});
    std::push_heap(due_.begin(), due_.end(), [](const Due& a, const Due& b) { return a.later(b); });
}

void Kernel::wait(base::Deadline deadline) {
    if (due_.empty() || (deadline && *deadline < due_.front().at)) {
        stuck_ = !deadline;
        stage_.now = std::max(stage_.now, deadline.value_or(stage_.now));
        return;
    }
    std::pop_heap(due_.begin(), due_.end(), [](const Due& a, const Due& b) { return a.later(b); });
    const Due next = due_.back();
    due_.pop_back();
    stage_.now = std::max(stage_.now, next.at);
    ++happenings_;
    next.who->happen(next.what);
}

int Kernel::open_socket(int family) {
    sockets_.push_back(std::make_unique<Socket>(*this, family));
    return first_fd + static_cast<int>(sockets_.size()) - 1;
}

int Kernel::open_datagram_socket() {
    sockets_.push_back(nullptr);
    const int fd = first_fd + static_cast<int>(sockets_.size()) - 1;
    datagrams.open(fd);
    return fd;
}

Socket* Kernel::socket(int fd) {
    const auto at = static_cast<std::size_t>(fd - first_fd);
    return fd >= first_fd && at < sockets_.size() ? sockets_[at].get() : nullptr;
}

void Kernel::wake_mailbox() {
    mailbox_woken_ = mailbox_op_ == nullptr;
    if (!mailbox_woken_) {
        complete(*std::exchange(mailbox_op_, nullptr), 8);
    }
}

io_uring_sqe* Kernel::next_sqe() {
    if (sqe_count_ == sqes_.size()) {
        submit();
    }
    io_uring_sqe* sqe = &sqes_[sqe_count_++];
    *sqe = {};
    return sqe;
}

void Kernel::submit() {
    const unsigned count = std::exchange(sqe_count_, 0);
    for (unsigned i = 0; i < count; ++i) {
        submit_one(sqes_[i]);
    }
}

void Kernel::submit_one(const io_uring_sqe& sqe) {
    if (sqe.opcode == IORING_OP_ASYNC_CANCEL) {
        return cancel(*reinterpret_cast<ring::Op*>(sqe.addr));
    }
    auto& op = *reinterpret_cast<ring::Op*>(sqe.user_data);
    if (sqe.opcode == IORING_OP_READ && sqe.fd == mailbox_fd) {
        mailbox_op_ = &op;
        if (std::exchange(mailbox_woken_, false)) {
            wake_mailbox();
        }
        return;
    }
    if (sqe.opcode == IORING_OP_READ) {
        return file_reads_.push_back({sqe.fd, reinterpret_cast<void*>(sqe.addr), sqe.len, &op});
    }
    if (datagrams.has(sqe.fd)) {
        base::check(sqe.opcode == IORING_OP_RECVMSG, "the simulated kernel knows the operation");
        return datagrams.receive(sqe.fd, op, reinterpret_cast<msghdr*>(sqe.addr));
    }
    Socket* target = socket(sqe.fd);
    base::check(target != nullptr, "the simulated kernel knows the descriptor");
    auto* message = reinterpret_cast<msghdr*>(sqe.addr);
    switch (sqe.opcode) {
    case IORING_OP_CONNECT:
        return target->connect(op);
    case IORING_OP_RECV:
        return target->receive(op, nullptr, {reinterpret_cast<std::byte*>(sqe.addr), sqe.len}, sqe.msg_flags);
    case IORING_OP_RECVMSG:
        return target->receive(op, message, {}, sqe.msg_flags);
    case IORING_OP_POLL_ADD: // one that stays
        return target->watch(op);
    case IORING_OP_SENDMSG:
        return target->send(op, *message);
    default:
        base::check(false, "the simulated kernel knows the operation");
    }
}

void Kernel::read_files() {
    std::erase_if(file_reads_, [this](const FileRead& read) {
        pollfd ready{read.fd, POLLIN, 0};
        if (::poll(&ready, 1, 0) != 1) {
            return false;
        }
        complete(*read.op, static_cast<int>(::read(read.fd, read.room, read.bytes)));
        return true;
    });
}

void Kernel::cancel(ring::Op& op) {
    if (datagrams.cancel(op)) {
        return;
    }
    for (const auto& socket : sockets_) {
        if (socket && socket->cancel(op)) {
            return;
        }
    }
    const auto reading = std::ranges::find(file_reads_, &op, &FileRead::op);
    if (reading != file_reads_.end()) {
        file_reads_.erase(reading);
        complete(op, -ECANCELED);
    }
}

} // namespace iscsi::sim

// --- What the product calls.

namespace iscsi::ring {

base::Result<Ring> Ring::create(unsigned, SqeSize) {
    Ring ring;
    ring.can_keep_polling_ = sim::Kernel::current()->stage().seed() % 2 == 0; // else: Linux before 5.17
    return ring;
}

Ring::Ring(Ring&& other) noexcept
    : ring_(other.ring_), live_(other.live_), sqe_bytes_(other.sqe_bytes_),
      can_skip_success_(other.can_skip_success_), can_update_timeout_(other.can_update_timeout_),
      can_poll_first_(other.can_poll_first_), can_keep_polling_(other.can_keep_polling_),
      deferred_(other.deferred_) {}

Ring::~Ring() = default;

io_uring_sqe* Ring::raw_sqe() {
    return sim::Kernel::current()->next_sqe();
}

io_uring_sqe* Ring::sqe(Op& op) {
    base::check(!op.pending_, "an Op is submitted once at a time");
    io_uring_sqe* sqe = raw_sqe();
    io_uring_sqe_set_data(sqe, &op);
    op.pending_ = true;
    return sqe;
}

void Ring::cancel(Op& op) {
    if (op.pending_) {
        io_uring_prep_cancel(raw_sqe(), &op, 0);
    }
}

void Ring::enter(base::Deadline deadline) {
    sim::Kernel& kernel = *sim::Kernel::current();
    kernel.submit();
    kernel.read_files();
    if (!kernel.ready()) {
        kernel.wait(deadline);
    }
}

void Ring::enter_without_wait() {
    sim::Kernel::current()->submit();
}

void Ring::drain_task_work() {}

unsigned Ring::run_completions() {
    thread_local std::vector<sim::Kernel::Ready> ready;
    ready.clear();
    sim::Kernel::current()->take_ready(ready);
    for (const sim::Kernel::Ready& one : ready) {
        one.op->pending_ = (one.completion.flags & IORING_CQE_F_MORE) != 0;
        one.op->handler_(one.op->owner_, one.completion);
    }
    return static_cast<unsigned>(ready.size());
}

} // namespace iscsi::ring

// The linker sends the product's system calls here (CMakeLists.txt: --wrap). What is not of the simulation
// goes on to the C library.
extern "C" {

// NOLINTBEGIN(bugprone-reserved-identifier): the linker's names.
int __real_clock_gettime(clockid_t clock, timespec* out);
int __real_socket(int family, int type, int protocol);
int __real_eventfd(unsigned count, int flags);
int __real_close(int fd);
int __real_setsockopt(int fd, int level, int name, const void* value, socklen_t bytes);
int __real_getsockname(int fd, sockaddr* address, socklen_t* bytes);
int __real_bind(int fd, const sockaddr* address, socklen_t bytes);
ssize_t __real_sendto(int fd, const void* bytes, std::size_t count, int flags, const sockaddr* to,
                      socklen_t to_bytes);
ssize_t __real_sendmsg(int fd, const msghdr* message, int flags);
ssize_t __real_send(int fd, const void* bytes, std::size_t count, int flags);
ssize_t __real_recvmsg(int fd, msghdr* message, int flags);
ssize_t __real_recv(int fd, void* room, std::size_t bytes, int flags);
ssize_t __real_write(int fd, const void* bytes, std::size_t count);

int __wrap_clock_gettime(clockid_t clock, timespec* out) {
    iscsi::sim::Kernel* kernel = iscsi::sim::Kernel::current();
    if (kernel == nullptr) {
        return __real_clock_gettime(clock, out);
    }
    const std::int64_t now = kernel->stage().now.time_since_epoch().count();
    out->tv_sec = now / 1'000'000'000;
    out->tv_nsec = now % 1'000'000'000;
    return 0;
}

int __wrap_socket(int family, int type, int protocol) {
    iscsi::sim::Kernel* kernel = iscsi::sim::Kernel::current();
    if (kernel == nullptr || (family != AF_INET && family != AF_INET6)) {
        return __real_socket(family, type, protocol);
    }
    return (type & SOCK_DGRAM) != 0 ? kernel->open_datagram_socket() : kernel->open_socket(family);
}

int __wrap_eventfd(unsigned count, int flags) {
    return iscsi::sim::Kernel::current() != nullptr ? iscsi::sim::Kernel::mailbox_fd
                                                    : __real_eventfd(count, flags);
}

int __wrap_close(int fd) {
    if (fd < iscsi::sim::Kernel::mailbox_fd) {
        return __real_close(fd);
    }
    iscsi::sim::Kernel* kernel = iscsi::sim::Kernel::current();
    if (iscsi::sim::Socket* socket = kernel == nullptr ? nullptr : kernel->socket(fd)) {
        socket->close_by_initiator();
    } else if (kernel != nullptr) {
        kernel->datagrams.close(fd);
    }
    return 0;
}

int __wrap_setsockopt(int fd, int level, int name, const void* value, socklen_t bytes) {
    if (fd < iscsi::sim::Kernel::mailbox_fd) {
        return __real_setsockopt(fd, level, name, value, bytes);
    }
    if (level == SOL_SOCKET && name == SO_LINGER) {
        iscsi::sim::Kernel::current()->socket(fd)->set_abort_on_close();
    } else if (level == SOL_SOCKET && name == SO_RCVLOWAT) {
        int bytes_at_least = 1;
        std::memcpy(&bytes_at_least, value, sizeof bytes_at_least);
        iscsi::sim::Kernel::current()->socket(fd)->set_low_water(static_cast<std::size_t>(bytes_at_least));
    }
    return 0;
}

int __wrap_getsockname(int fd, sockaddr* address, socklen_t* bytes) {
    if (fd < iscsi::sim::Kernel::mailbox_fd) {
        return __real_getsockname(fd, address, bytes);
    }
    iscsi::sim::Kernel& kernel = *iscsi::sim::Kernel::current();
    if (kernel.datagrams.has(fd)) {
        kernel.datagrams.address(fd).copy_to(address, bytes);
    } else {
        const bool is_ipv6 = kernel.socket(fd)->family() == AF_INET6;
        const char* here = is_ipv6 ? kernel.ipv6_address : kernel.ipv4_address;
        iscsi::sim::SocketAddress::of(here, 50000).copy_to(address, bytes);
    }
    return 0;
}

int __wrap_bind(int fd, const sockaddr* address, socklen_t bytes) {
    if (fd < iscsi::sim::Kernel::mailbox_fd) {
        return __real_bind(fd, address, bytes);
    }
    iscsi::sim::Kernel::current()->datagrams.bind(fd, iscsi::sim::SocketAddress::from(address, bytes));
    return 0;
}

ssize_t __wrap_sendto(int fd, const void* bytes, std::size_t count, int flags, const sockaddr* to,
                      socklen_t to_bytes) {
    if (fd < iscsi::sim::Kernel::mailbox_fd) {
        return __real_sendto(fd, bytes, count, flags, to, to_bytes);
    }
    iscsi::sim::Kernel::current()->datagrams.send({static_cast<const std::byte*>(bytes), count},
                                                  iscsi::sim::SocketAddress::from(to, to_bytes));
    return static_cast<ssize_t>(count);
}

ssize_t __wrap_sendmsg(int fd, const msghdr* message, int flags) {
    if (fd < iscsi::sim::Kernel::mailbox_fd) {
        return __real_sendmsg(fd, message, flags);
    }
    return iscsi::sim::as_call(iscsi::sim::Kernel::current()->socket(fd)->send_now(*message));
}

ssize_t __wrap_send(int fd, const void* bytes, std::size_t count, int flags) {
    if (fd < iscsi::sim::Kernel::mailbox_fd) {
        return __real_send(fd, bytes, count, flags);
    }
    iovec span{const_cast<void*>(bytes), count};
    msghdr message{};
    message.msg_iov = &span;
    message.msg_iovlen = 1;
    return __wrap_sendmsg(fd, &message, flags);
}

ssize_t __wrap_recvmsg(int fd, msghdr* message, int flags) {
    if (fd < iscsi::sim::Kernel::mailbox_fd) {
        return __real_recvmsg(fd, message, flags);
    }
    return iscsi::sim::as_call(
        iscsi::sim::Kernel::current()->socket(fd)->receive_now({message->msg_iov, message->msg_iovlen}));
}

ssize_t __wrap_recv(int fd, void* room, std::size_t bytes, int flags) {
    if (fd < iscsi::sim::Kernel::mailbox_fd) {
        return __real_recv(fd, room, bytes, flags);
    }
    iovec place{room, bytes};
    return iscsi::sim::as_call(iscsi::sim::Kernel::current()->socket(fd)->receive_now({&place, 1}));
}

ssize_t __wrap_write(int fd, const void* bytes, std::size_t count) {
    if (fd != iscsi::sim::Kernel::mailbox_fd) {
        return __real_write(fd, bytes, count);
    }
    iscsi::sim::Kernel::current()->wake_mailbox();
    return static_cast<ssize_t>(count);
}

/// std::thread's start, by the name that the C++ ABI gives it.
#define THREAD_START _ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE
#define JOINED(a, b) a##b
#define WITH_PREFIX(prefix, name) JOINED(prefix, name)
void WITH_PREFIX(__real_, THREAD_START)(std::thread*, std::unique_ptr<std::thread::_State>, void (*)());
void WITH_PREFIX(__wrap_, THREAD_START)(std::thread* self, std::unique_ptr<std::thread::_State> state,
                                        void (*depend)()) {
    if (iscsi::sim::Kernel::current() != nullptr) {
        throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
    }
    WITH_PREFIX(__real_, THREAD_START)(self, std::move(state), depend);
}
// NOLINTEND(bugprone-reserved-identifier)

} // extern "C"
