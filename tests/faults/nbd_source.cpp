#include "faults/nbd_source.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <libnbd.h>
#include <stdexcept>
#include <thread>
#include <utility>

namespace iscsi::faults {
namespace {

using namespace std::chrono_literals;

constexpr auto between_attempts = 20ms;
constexpr auto one_attempt = 2s;

/// These say that the export went, not what the disk made of the request.
bool is_loss(int error) {
    return error == ENOTCONN || error == ESHUTDOWN || error == EPIPE || error == ECONNRESET;
}

} // namespace

NbdSource::NbdSource(std::string uri, std::chrono::milliseconds patience)
    : uri_(std::move(uri)), handle_(nullptr, nbd_close) {
    const auto end = Clock::now() + patience;
    connect();
    while (!ready()) {
        if (Clock::now() > end) {
            throw std::runtime_error(fmt::format("no connection to {}: {}", uri_, nbd_get_error()));
        }
        pollfd one = waits_for();
        poll(&one, 1, 10);
        std::vector<Answer> none;
        progress(one.revents, none);
    }
}

NbdSource::~NbdSource() {
    handle_.reset(); // calls back for what is in progress
}

void NbdSource::connect() {
    known_ = false;
    began_ = Clock::now();
    handle_.reset(nbd_create());
    if (!handle_ || nbd_aio_connect_uri(handle_.get(), uri_.c_str()) == -1) {
        handle_.reset();
    }
}

void NbdSource::learn() {
    nbd_handle* const handle = handle_.get();
    const auto size = static_cast<std::uint64_t>(nbd_get_size(handle));
    if (connections_ > 0 && size != size_bytes_) {
        throw std::runtime_error(fmt::format("{} had {} bytes and has {} now", uri_, size_bytes_, size));
    }
    size_bytes_ = size;
    can_fua_ = nbd_can_fua(handle) == 1;
    can_zero_ = nbd_can_zero(handle) == 1;
    can_trim_ = nbd_can_trim(handle) == 1;
    can_flush_ = nbd_can_flush(handle) == 1;
    ++connections_;
    known_ = true;
}

bool NbdSource::can(Verb verb) const {
    switch (verb) {
    case Verb::flush:
        return can_flush_;
    case Verb::zero:
        return can_zero_;
    case Verb::trim:
        return can_trim_;
    case Verb::read:
    case Verb::write:
        return true;
    }
    return false;
}

bool NbdSource::ready() const {
    return known_ && handle_ && nbd_aio_is_ready(handle_.get()) == 1;
}

int NbdSource::on_answer(void* user, int* error) {
    const auto* const call = static_cast<Call*>(user);
    call->owner->answers_.push_back({call->slot, *error, is_loss(*error)});
    return 1; // libnbd may forget it
}

void NbdSource::forget(void* user) {
    delete static_cast<Call*>(user);
}

void NbdSource::submit(const Request& request) {
    nbd_handle* const handle = handle_.get();
    const nbd_completion_callback done{on_answer, new Call{this, request.slot}, forget};
    const std::uint32_t flags = request.fua ? LIBNBD_CMD_FLAG_FUA : 0;
    std::int64_t cookie = -1;
    switch (request.verb) {
    case Verb::read:
        cookie = nbd_aio_pread(handle, request.data.data(), request.length, request.offset, done, 0);
        break;
    case Verb::write:
        cookie = nbd_aio_pwrite(handle, request.data.data(), request.length, request.offset, done, flags);
        break;
    case Verb::flush:
        cookie = nbd_aio_flush(handle, done, 0);
        break;
    case Verb::zero:
        cookie = nbd_aio_zero(handle, request.length, request.offset, done, flags);
        break;
    case Verb::trim:
        cookie = nbd_aio_trim(handle, request.length, request.offset, done, 0);
        break;
    }
    if (cookie == -1) {
        // It was not taken, so nothing will call back.
        answers_.push_back({request.slot, ENOTCONN, true});
    }
}

pollfd NbdSource::waits_for() {
    if (!handle_) {
        return {-1, 0, 0};
    }
    const unsigned direction = nbd_aio_get_direction(handle_.get());
    const auto events = static_cast<short>(((direction & LIBNBD_AIO_DIRECTION_READ) != 0 ? POLLIN : 0) |
                                           ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0 ? POLLOUT : 0));
    return {nbd_aio_get_fd(handle_.get()), events, 0};
}

void NbdSource::progress(short events, std::vector<Answer>& answers) {
    nbd_handle* const handle = handle_.get();
    const unsigned direction = handle != nullptr ? nbd_aio_get_direction(handle) : 0;
    if ((direction & LIBNBD_AIO_DIRECTION_READ) != 0 && (events & (POLLIN | POLLHUP | POLLERR)) != 0) {
        nbd_aio_notify_read(handle);
    } else if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0 &&
               (events & (POLLOUT | POLLHUP | POLLERR)) != 0) {
        nbd_aio_notify_write(handle);
    }
    const bool gone = handle == nullptr || nbd_aio_is_dead(handle) == 1 || nbd_aio_is_closed(handle) == 1;
    if (gone && (handle == nullptr || known_ || Clock::now() - began_ > between_attempts)) {
        handle_.reset();
        known_ = false;
        if (Clock::now() - began_ > between_attempts) {
            connect();
        }
    } else if (!gone && !known_) {
        if (nbd_aio_is_ready(handle) == 1) {
            learn();
        } else if (Clock::now() - began_ > one_attempt) {
            connect();
        }
    }
    answers.insert(answers.end(), answers_.begin(), answers_.end());
    answers_.clear();
}

} // namespace iscsi::faults
