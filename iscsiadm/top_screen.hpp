// The terminal of `iscsiadm top` while it is refreshed in place: the alternate screen, without a cursor, keys
// not echoed; all of it is given back when the object ends, and while the process is stopped (Ctrl-Z). The
// signals that would end or stop it, or tell of another size, are taken meanwhile. One at a time; one thread,
// in a process that has no other.
#pragma once

#include "top_table.hpp"

#include <chrono>
#include <csignal>
#include <cstdint>
#include <optional>
#include <string_view>
#include <termios.h>
#include <vector>

namespace iscsi::adm {

class Screen {
public:
    enum class Event : std::uint8_t { none, redraw, quit };

    /// Of stdout, which can_rewrite(); keys come from stdin if that is a terminal, too.
    Screen();
    Screen(const Screen&) = delete;
    Screen& operator=(const Screen&) = delete;
    ~Screen();

    /// All of the screen, in one write: nothing flickers.
    void draw(const std::vector<TopLine>& lines);

    /// What comes first: `quit` (q, Ctrl-C, a signal that ends, the terminal went away) stays; `redraw`: the
    /// size is another one, or the process was stopped and goes on; `none`: `deadline` was there.
    Event wait(std::chrono::steady_clock::time_point deadline);

    std::size_t columns() const;
    std::size_t lines() const;

private:
    void enter();
    void leave();
    void write_out(std::string_view text);
    Event take_signal();
    void take_keys();

    bool is_coloured_;
    bool has_keys_ = false;
    bool is_over_ = false;
    int signals_ = -1;
    sigset_t mask_before_{};
    std::optional<termios> settings_before_; ///< of stdin
};

} // namespace iscsi::adm
