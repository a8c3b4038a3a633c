#include "top_pace.hpp"

#include "base/text.hpp"

#include <string>

namespace iscsi::adm {

std::optional<std::chrono::milliseconds> parse_interval(std::string_view text) {
    constexpr std::uint64_t longest_s = 86400;
    constexpr std::chrono::milliseconds shortest(100);
    constexpr std::chrono::milliseconds longest = std::chrono::seconds(longest_s);
    constexpr std::size_t digits = 3;
    const std::size_t point = text.find('.');
    std::string fraction(point == std::string_view::npos ? "0" : text.substr(point + 1));
    if (fraction.empty() || fraction.size() > digits) {
        return std::nullopt;
    }
    fraction.resize(digits, '0');
    const auto whole = base::parse_decimal(text.substr(0, point), longest_s);
    const auto thousandths = base::parse_decimal(fraction);
    if (!whole || !thousandths) {
        return std::nullopt;
    }
    const std::chrono::milliseconds interval(*whole * 1000 + *thousandths);
    return interval < shortest || interval > longest ? std::nullopt : std::optional(interval);
}

std::optional<std::uint64_t> parse_refreshes(std::string_view text) {
    const auto count = base::parse_decimal(text);
    return count && *count > 0 ? count : std::nullopt;
}

std::chrono::steady_clock::time_point next_refresh(std::chrono::steady_clock::time_point begun,
                                                   std::chrono::milliseconds interval,
                                                   std::chrono::steady_clock::time_point now) {
    return begun + ((now - begun) / interval + 1) * interval;
}

} // namespace iscsi::adm
