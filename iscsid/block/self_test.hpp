// What the self-tests of the kernel's drivers share: a disk that is one pattern all over, and a look at it
// through the kernel. Control's thread.
#pragma once

#include "block/block.hpp"
#include "block/kernel_device.hpp"
#include "ring/loop.hpp"
#include "ring/task.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

namespace iscsi::block {

/// Serves the test's device.
class PatternDisk final : public RequestHandler {
public:
    void start(Request& request) override;
    BlockQueue* queue = nullptr;
};

/// The test's device: small, named by `cookie`, of no interest to udev.
KernelDeviceRequest self_test_request(std::uint64_t cookie);

/// Reads a block of the device at `path`, past the page cache. A helper reads: only it waits when the kernel
/// does not answer. Errors: internal (other data than the pattern's, an I/O error, or no answer for 10 s).
ring::Task<base::Result<void>> see_pattern(ring::Loop& loop, std::string path);

/// Until the queue can be destroyed.
ring::Task<void> close_queue(BlockQueue& queue);

} // namespace iscsi::block
