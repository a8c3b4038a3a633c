// Waiting for the daemon with a line that says how far it is: on stderr, from the first second on, gone when
// the wait is over. Nothing at all is written where stderr is no terminal that a line can be written over on,
// and with -j. One thread.
#pragma once

#include "base/result.hpp"
#include "client.hpp"
#include "ipc/requests.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

namespace iscsi::adm {

class Progress {
public:
    /// "12 of 128 logged in, 3 s"; with a `total` of 0 or 1 there is nothing to count: "`what`, 3 s".
    Progress(std::string what, std::size_t total);
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;
    ~Progress();

    /// As client.wait(id).
    base::Result<ipc::Reply> wait(Client& client, std::uint64_t id);

private:
    void show(std::size_t done);
    void clear();

    std::string what_;
    std::size_t total_;
    std::size_t done_ = 0; ///< answers taken that were no errors
    bool is_wanted_;
    bool is_shown_ = false;
    std::chrono::steady_clock::time_point begun_;
};

} // namespace iscsi::adm
