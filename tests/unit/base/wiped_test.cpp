// Text that is not left in memory where it dies or leaves.
#include "base/wiped.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <new>
#include <utility>

using iscsi::base::WipedText;
namespace base = iscsi::base;

namespace {

/// A place whose bytes can be looked at when nobody lives there any more.
class Place {
public:
    WipedText& make(std::string_view text) { return *new (bytes_.data()) WipedText(text); }
    bool has(std::string_view text) const {
        return base::text_of(bytes_).find(text) != std::string_view::npos;
    }

private:
    alignas(WipedText) std::array<std::byte, sizeof(WipedText)> bytes_{};
};

constexpr std::string_view brief = "fits inside"; // a std::string, that is
// A std::string that was moved from ends its text with a zero in the place of the first byte.
constexpr std::string_view rest = "its inside";

} // namespace

TEST_CASE("a short text is not left where it was moved from", "[base][secret][CHAP-11]") {
    Place place;
    WipedText& first = place.make(brief);
    REQUIRE(place.has(brief));
    WipedText second(std::move(first));
    CHECK_FALSE(place.has(rest));
    CHECK(second == brief);
    first = std::move(second);
    CHECK(place.has(brief));
    second = std::move(first);
    CHECK_FALSE(place.has(rest));
    CHECK(second.text() == brief);
    first.~WipedText();
}

TEST_CASE("a short text is not left where it died, or was replaced", "[base][secret][CHAP-11]") {
    Place place;
    WipedText& text = place.make(brief);
    WipedText shorter("x");
    text = shorter;
    CHECK_FALSE(place.has(rest));
    text = WipedText(brief);
    CHECK(place.has(brief));
    WipedText& self = text;
    text = self;
    CHECK(text == brief);
    text.~WipedText();
    CHECK_FALSE(place.has(rest));
}

TEST_CASE("all that a string holds is wiped, also behind its end", "[base][secret]") {
    std::string text(100, 'x');
    const char* at = text.data();
    text.resize(3);
    base::wipe(text);
    CHECK(text.empty());
    text.resize(100);
    CHECK(text.data() == at);
    CHECK(text == std::string(100, '\0'));
}
