// Descriptors 0, 1 and 2 of a program that was started without one of them: what it opens next would get that
// number, and what is written to stdout would go into a socket. Called first in main(), by its one thread.
#pragma once

#include <cstdint>

namespace iscsi::base {

/// What becomes of text for an stdout or stderr that was closed.
enum class ClosedOutput : std::uint8_t {
    swallowed, ///< nobody misses it
    refused,   ///< to write it fails, so that the program can say that it did not get out
};

/// Puts /dev/null where a standard descriptor is closed; one that is open stays as it is.
void fill_standard_descriptors(ClosedOutput output);

} // namespace iscsi::base
