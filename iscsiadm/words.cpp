#include "words.hpp"

#include <array>
#include <fmt/format.h>
#include <string_view>

namespace iscsi::adm {

std::string duration_words(std::uint64_t seconds) {
    constexpr std::uint64_t minute = 60;
    constexpr std::uint64_t hour = 60 * minute;
    constexpr std::uint64_t day = 24 * hour;
    if (seconds < minute) {
        return fmt::format("{} s", seconds);
    }
    if (seconds < hour) {
        return fmt::format("{} min", seconds / minute);
    }
    if (seconds < 2 * day) {
        return fmt::format("{} h {} min", seconds / hour, seconds % hour / minute);
    }
    return fmt::format("{} d {} h", seconds / day, seconds % day / hour);
}

std::string size_words(std::uint64_t bytes) {
    constexpr std::array<std::string_view, 7> units{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    constexpr std::uint64_t step = 1024;
    std::size_t unit = 0;
    std::uint64_t tenths = 0;
    while (bytes >= step && unit + 1 < units.size()) {
        tenths = bytes % step * 10 / step;
        bytes /= step;
        ++unit;
    }
    return tenths == 0 || bytes >= 100 ? fmt::format("{} {}", bytes, units.at(unit))
                                       : fmt::format("{}.{} {}", bytes, tenths, units.at(unit));
}

} // namespace iscsi::adm
