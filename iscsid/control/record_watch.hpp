// Hears when discovery records change, whoever changes them: iscsiadm, open-iscsi's, a person with an editor.
// inotify(7). Control's thread, but for watch_all().
#pragma once

#include "base/result.hpp"
#include "records/paths.hpp"
#include "ring/await.hpp"

namespace iscsi::control {

class RecordWatch {
public:
    RecordWatch(ring::Loop& loop, records::Paths paths) : loop_(loop), paths_(std::move(paths)) {}
    RecordWatch(const RecordWatch&) = delete;
    RecordWatch& operator=(const RecordWatch&) = delete;
    ~RecordWatch();

    /// Errors: internal, with the system call.
    base::Result<void> open();
    /// Watches the directories that there are now; what is read afterwards may be old only if changed() says
    /// so. Waits for the disk: on a thread aside.
    void watch_all() const;
    /// Until something changed since the last call, or until end().
    ring::Task<void> changed();
    /// changed() ends soon, now and from now on. Idempotent.
    void end();

private:
    void watch(const std::string& directory) const;

    ring::Loop& loop_;
    records::Paths paths_;
    int fd_ = -1;
    bool ended_ = false;
    ring::OpWait* reading_ = nullptr;
};

} // namespace iscsi::control
