#include "progress.hpp"

#include "json_output.hpp"
#include "messages.hpp"
#include "terminal.hpp"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <span>
#include <unistd.h>
#include <utility>

namespace iscsi::adm {

Progress::Progress(std::string what, std::size_t total)
    : what_(std::move(what)), total_(total), is_wanted_(!is_json() && can_rewrite(STDERR_FILENO)),
      begun_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
    clear();
}

base::Result<ipc::Reply> Progress::wait(Client& client, std::uint64_t id) {
    constexpr auto tick = std::chrono::seconds(1);
    while (is_wanted_ && !client.wait_any(std::span(&id, 1), std::chrono::steady_clock::now() + tick)) {
        show(done_ + client.successes());
    }
    clear();
    auto reply = client.wait(id);
    done_ += reply ? 1U : 0U;
    return reply;
}

void Progress::show(std::size_t done) {
    using std::chrono::seconds;
    const auto passed = std::chrono::floor<seconds>(std::chrono::steady_clock::now() - begun_).count();
    std::string line = total_ > 1 ? fmt::format("{} of {} {}, {} s", done, total_, what_, passed)
                                  : fmt::format("{}, {} s", what_, passed);
    // A line that the terminal breaks could not be taken away.
    const std::size_t room = terminal_width(STDERR_FILENO).value_or(1) - 1;
    line.resize(std::min(line.size(), room));
    flush_output();
    std::fputs(("\r" + line + "\x1b[K").c_str(), stderr);
    std::fflush(stderr);
    is_shown_ = true;
}

void Progress::clear() {
    if (is_shown_) {
        std::fputs("\r\x1b[K", stderr);
        std::fflush(stderr);
        is_shown_ = false;
    }
}

} // namespace iscsi::adm
