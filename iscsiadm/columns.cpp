#include "columns.hpp"

#include <algorithm>
#include <clocale>
#include <cwchar>
#include <utility>
#include <vector>

namespace iscsi::adm {
namespace {

/// While it lives, text is UTF-8, whatever the environment says.
class Utf8 {
public:
    Utf8() : own_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)) {
        if (own_ != nullptr) {
            before_ = ::uselocale(own_);
        }
    }
    Utf8(const Utf8&) = delete;
    Utf8& operator=(const Utf8&) = delete;
    ~Utf8() {
        if (own_ != nullptr) {
            ::uselocale(before_);
            ::freelocale(own_);
        }
    }

private:
    locale_t own_;
    locale_t before_ = nullptr;
};

/// The columns of each character, with the place in the text where it begins.
std::vector<std::pair<std::size_t, std::size_t>> characters_of(std::string_view text) {
    const Utf8 in_utf8;
    std::vector<std::pair<std::size_t, std::size_t>> characters;
    std::mbstate_t state{};
    for (std::size_t at = 0; at < text.size();) {
        wchar_t character = 0;
        const std::size_t bytes = std::mbrtowc(&character, text.data() + at, text.size() - at, &state);
        const bool is_one = bytes != 0 && bytes <= text.size() - at;
        const int columns = is_one ? ::wcwidth(character) : 1;
        state = is_one ? state : std::mbstate_t{};
        characters.emplace_back(at, columns < 0 ? 1 : static_cast<std::size_t>(columns));
        at += is_one ? bytes : 1;
    }
    return characters;
}

} // namespace

std::size_t columns_of(std::string_view text) {
    if (std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; })) {
        return text.size(); // as most are
    }
    std::size_t sum = 0;
    for (const auto& [at, columns] : characters_of(text)) {
        sum += columns;
    }
    return sum;
}

std::string_view last_columns(std::string_view text, std::size_t columns) {
    const auto characters = characters_of(text);
    std::size_t begin = text.size();
    for (auto one = characters.rbegin(); one != characters.rend() && one->second <= columns; ++one) {
        begin = one->first;
        columns -= one->second;
    }
    return text.substr(begin);
}

} // namespace iscsi::adm
