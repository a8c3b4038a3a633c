#include "terminal.hpp"

#include "base/text.hpp"

#include <cstdlib>
#include <string_view>
#include <sys/ioctl.h>
#include <unistd.h>

namespace iscsi::adm {
namespace {

std::string_view variable(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? std::string_view() : std::string_view(value);
}

/// One extent of the terminal: what the kernel knows, else the variable, else what is usual.
std::optional<std::size_t> extent(int fd, unsigned short winsize::*member, const char* name,
                                  std::size_t usual) {
    if (::isatty(fd) == 0) {
        return std::nullopt;
    }
    winsize size{};
    if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.*member != 0) {
        return size.*member;
    }
    constexpr std::uint64_t most = 10000;
    const auto told = base::parse_decimal(variable(name), most);
    return told && *told != 0 ? static_cast<std::size_t>(*told) : usual;
}

} // namespace

std::optional<std::size_t> terminal_width(int fd) {
    constexpr std::size_t usual = 80;
    return extent(fd, &winsize::ws_col, "COLUMNS", usual);
}

std::optional<std::size_t> terminal_height(int fd) {
    constexpr std::size_t usual = 24;
    return extent(fd, &winsize::ws_row, "LINES", usual);
}

bool wants_colour(int fd) {
    return can_rewrite(fd) && variable("NO_COLOR").empty();
}

bool can_rewrite(int fd) {
    const std::string_view term = variable("TERM");
    return ::isatty(fd) != 0 && !term.empty() && term != "dumb";
}

} // namespace iscsi::adm
