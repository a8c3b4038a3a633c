// For a test program whose main is Catch's: a device helper is the same program once more, and must be told
// from a run of the tests. In one file of a program.
#pragma once

#include "block/device_helper.hpp"

#include <cstdlib>

namespace iscsi::test {

/// glibc hands the arguments of main to constructors, too.
[[gnu::constructor, gnu::used]] inline void serve_as_device_helper(int argc, char** argv) {
    if (block::is_device_helper(argc, argv)) {
        std::_Exit(block::device_helper_main());
    }
}

} // namespace iscsi::test
