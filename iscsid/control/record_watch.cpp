#include "control/record_watch.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <sys/inotify.h>
#include <system_error>
#include <unistd.h>

namespace iscsi::control {

namespace fs = std::filesystem;

RecordWatch::~RecordWatch() {
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

base::Result<void> RecordWatch::open() {
    // A descriptor that blocks: at one that does not the ring would not wait.
    fd_ = ::inotify_init1(IN_CLOEXEC);
    if (fd_ < 0) {
        return base::fail(base::Errc::internal, std::string("inotify_init1: ") + std::strerror(errno));
    }
    return {};
}

void RecordWatch::watch(const std::string& directory) const {
    constexpr unsigned changes = IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE;
    // One that is not there comes with a change of the one above it.
    ::inotify_add_watch(fd_, directory.c_str(), changes | IN_ONLYDIR);
}

void RecordWatch::watch_all() const {
    watch(paths_.db_dir());
    for (const char* kind : {"send_targets", "isns"}) {
        const std::string directory = paths_.db_dir() + "/" + kind;
        watch(directory);
        std::error_code error;
        for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
             entry.increment(error)) {
            watch(entry->path());
        }
    }
}

ring::Task<void> RecordWatch::changed() {
    // What changed is not asked: all is read anew. More events than fit are still a change.
    std::array<char, 4096> events;
    if (ended_) {
        co_return;
    }
    ring::OpWait reading(loop_);
    io_uring_prep_read(reading.sqe(), fd_, events.data(), events.size(), 0);
    reading_ = &reading;
    co_await reading;
    reading_ = nullptr;
}

void RecordWatch::end() {
    ended_ = true;
    if (reading_ != nullptr) {
        reading_->cancel();
    }
}

} // namespace iscsi::control
