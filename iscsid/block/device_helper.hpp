// A process of its own for what must not be waited for by the daemon: a few things that the kernel does with
// a block device (to flush it, to read its partition table, to wait until it is idle) end only when I/O of
// that device ends, which the daemon serves. A task of the daemon that stood in the kernel for them, a worker
// of its rings too, could not be killed; all files of the daemon would stay open behind it, and so no device
// of any session could be taken back. The helper is this program once more, with memory and files of its own:
// it may stand in the kernel as long as it takes. When the daemon is gone it ends, as soon as it is out of
// the kernel. One request and one answer at a time, a message each, on a socket that is the helper's standard
// input. Control's thread.
#pragma once

#include "base/result.hpp"
#include "base/time.hpp"
#include "ring/loop.hpp"
#include "ring/task.hpp"

#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace iscsi::block {

/// The first argument of a helper; it stands for nothing in the usage text, since nobody else can use it.
constexpr std::string_view device_helper_word = "--device-helper";

/// A program's arguments say that it is the helper of another: it must call device_helper_main() at once.
bool is_device_helper(int argc, char** argv);

/// The helper's life, until whoever started it is gone. Gives the exit status.
int device_helper_main();

class DeviceHelper {
public:
    struct Answer {
        int result = -EPIPE; ///< 0, or what the request's failure is called: -errno. -EPIPE: the helper has
                             ///< ended.
        std::string text;    ///< more about a failure; may be empty
    };

    /// Errors: not_found, no_memory, internal.
    static base::Result<std::unique_ptr<DeviceHelper>> start(ring::Loop& loop);

    DeviceHelper(const DeviceHelper&) = delete;
    DeviceHelper& operator=(const DeviceHelper&) = delete;
    /// The helper ends by itself, and is reaped when it has. Nothing may be in progress.
    ~DeviceHelper();

    // What there is to ask for; the requests that take an argument have it behind a space.
    //   claim exclusive|shared PATH       opens a device and holds its lock against udev's probing (waits
    //                                     5 s for that at most); the device stays open
    //   flush                             fsync() of the claimed device
    //   release                           closes it
    //   compare PATH BYTE                 reads a block past the page cache; -EILSEQ unless all of it is BYTE
    //   start-ublk NUMBER PID             START_DEV for the process PID, -EINTR when tags are missing
    //   stop-ublk NUMBER                  STOP_DEV
    //   recover-ublk NUMBER               START_USER_RECOVERY
    //   resize-nbd INDEX BACKEND DEAD_SECONDS BYTES
    //                                     -EBUSY when requests in progress do not end
    //   settle-nbd INDEX BACKEND DEAD_SECONDS
    //                                     puts right what a resize-nbd that was killed has left
    /// Asks and waits; after `deadline` the result is -ETIME. As long as the helper stands in the kernel for
    /// that request, it is -ETIME at once for the next, too.
    ring::Task<Answer> ask(std::string request, base::Deadline deadline);
    /// Starts a helper for one request whose answer nobody waits for.
    static void tell(ring::Loop& loop, const std::string& request);

private:
    DeviceHelper(ring::Loop& loop, int socket, int pidfd);
    bool is_standing_still();

    ring::Loop& loop_;
    int socket_;
    int pidfd_;
    bool late_ = false; ///< owes the answer to a request that nobody waits for any more
    std::array<char, 512> answer_{};
};

/// Starts a helper for one request.
ring::Task<DeviceHelper::Answer> ask_device_helper(ring::Loop& loop, std::string request,
                                                   base::Deadline deadline);

/// START_DEV of a ublk device that this process serves: before Linux 7 the kernel reads the partition table
/// in it, and so waits for I/O of this process. 0 or -errno.
ring::Task<int> start_ublk_in_helper(ring::Loop& loop, std::uint32_t dev_id);

} // namespace iscsi::block
