// Who takes the data of one read in pieces, as they arrive, instead of lending memory for the whole of it.
// The thread of the session that has the read.
#pragma once

#include "base/bytes.hpp"

#include <cstdint>

namespace iscsi::base {

class DataSink {
public:
    DataSink() = default;
    DataSink(const DataSink&) = delete;
    DataSink& operator=(const DataSink&) = delete;
    virtual ~DataSink() = default;

    /// Takes `bytes`, which lie at `offset` of what is read. Their digest may not have been seen yet, and the
    /// same place may come again: only the end of the read says that all of it is there and right. A sink
    /// that could not take a piece has to remember that until then.
    virtual void put(std::uint64_t offset, Bytes bytes) = 0;
};

} // namespace iscsi::base
