#include "base/bytes.hpp"
#include "base/check.hpp"
#include "base/endian.hpp"
#include "base/limits.hpp"
#include "base/serial.hpp"
#include "base/time.hpp"
#include "base/units.hpp"

#include <catch2/catch.hpp>
#include <type_traits>

using namespace std::chrono_literals;
namespace base = iscsi::base;

namespace {

template <class T>
constexpr bool has_less = requires(T a, T b) {
    a < b;
};

} // namespace

TEST_CASE("serial numbers are ordered across the wrap", "[rfc1982-3.2]") {
    using base::CmdSn;
    CHECK(CmdSn(1).before(CmdSn(2)));
    CHECK(CmdSn(2).after(CmdSn(1)));
    CHECK_FALSE(CmdSn(2).before(CmdSn(2)));
    CHECK_FALSE(CmdSn(2).after(CmdSn(2)));
    CHECK(CmdSn(0xffffffff).before(CmdSn(0)));
    CHECK(CmdSn(0).after(CmdSn(0xfffffff0)));
    CHECK(CmdSn(0x7fffffff).before(CmdSn(0x80000000)));
    CHECK(CmdSn(0).before(CmdSn(0x7fffffff)));
    CHECK(CmdSn(0x80000001).before(CmdSn(0)));
}

TEST_CASE("serial numbers half the circle apart have no order", "[rfc1982-3.2]") {
    using base::StatSn;
    for (std::uint32_t start : {0U, 1U, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
        StatSn a(start);
        StatSn b = a + 0x80000000U;
        CHECK_FALSE(a.before(b));
        CHECK_FALSE(b.before(a));
        CHECK_FALSE(a.after(b));
    }
}

TEST_CASE("serial arithmetic wraps", "[rfc1982-3.1]") {
    using base::DataSn;
    DataSn sn(0xffffffff);
    ++sn;
    CHECK(sn == DataSn(0));
    CHECK(DataSn(0xfffffffe) + 5 == DataSn(3));
    CHECK(DataSn(3) - 5U == DataSn(0xfffffffe));
    CHECK(DataSn(3) - DataSn(0xfffffffe) == 5U);
}

TEST_CASE("serial numbers of different kinds, and less-than, do not compile", "[rfc1982-3.2]") {
    STATIC_REQUIRE_FALSE(has_less<base::CmdSn>);
    STATIC_REQUIRE_FALSE(std::is_convertible_v<base::CmdSn, base::StatSn>);
    STATIC_REQUIRE_FALSE(std::is_convertible_v<std::uint32_t, base::CmdSn>);
    STATIC_REQUIRE_FALSE(std::is_convertible_v<base::Lba, base::BlockCount>);
    STATIC_REQUIRE_FALSE(std::is_convertible_v<base::Lba, std::uint64_t>);
    STATIC_REQUIRE(has_less<base::Lba>);
}

TEST_CASE("big-endian fields are stored most significant byte first", "[rfc7143-11.1]") {
    base::Be32 be32 = 0x01020304U;
    auto bytes = base::bytes_of_object(be32);
    CHECK(bytes[0] == std::byte{1});
    CHECK(bytes[1] == std::byte{2});
    CHECK(bytes[2] == std::byte{3});
    CHECK(bytes[3] == std::byte{4});
    base::Be24 be24 = 0xabcdefU;
    CHECK(base::bytes_of_object(be24)[0] == std::byte{0xab});
    CHECK(base::bytes_of_object(be24)[2] == std::byte{0xef});
}

TEMPLATE_TEST_CASE_SIG("big-endian fields give back what was put in", "[rfc7143-11.1]",
                       ((class Field, std::uint64_t max), Field, max), (base::Be16, 0xffff),
                       (base::Be24, 0xffffff), (base::Be32, 0xffffffff), (base::Be48, 0xffffffffffff),
                       (base::Be64, UINT64_MAX)) {
    using Value = decltype(Field{}.get());
    STATIC_REQUIRE(alignof(Field) == 1);
    CHECK(Field{}.get() == 0);
    for (std::uint64_t value = 1; value != 0 && value <= max; value <<= 1) {
        for (std::uint64_t test : {value, value - 1, max ^ value}) {
            Field field = static_cast<Value>(test);
            REQUIRE(field.get() == test);
            field = static_cast<Value>(test ^ max);
            REQUIRE(static_cast<Value>(field) == (test ^ max));
        }
    }
}

TEST_CASE("segments are padded to whole words", "[rfc7143-11.1]") {
    CHECK(base::pad4(0) == 0);
    CHECK(base::pad4(1) == 4);
    CHECK(base::pad4(3) == 4);
    CHECK(base::pad4(4) == 4);
    CHECK(base::pad4(base::limits::data_segment_max) == 1U << 24);
}

TEST_CASE("a missing deadline is never due and never the earliest", "[time]") {
    base::TimePoint at_one{1s};
    base::TimePoint at_two{2s};
    CHECK(base::earliest({}, {}) == base::Deadline{});
    CHECK(base::earliest(at_one, {}) == at_one);
    CHECK(base::earliest({}, at_two) == at_two);
    CHECK(base::earliest(at_two, at_one) == at_one);
    CHECK(base::earliest(at_one, at_two) == at_one);
    CHECK_FALSE(base::is_due({}, at_two));
    CHECK_FALSE(base::is_due(at_two, at_one));
    CHECK(base::is_due(at_one, at_one));
    CHECK(base::is_due(at_one, at_two));
}

TEST_CASE("a broken invariant knows the place of its check", "[check]") {
    auto line_of = [](base::Place where = base::Place::here()) { return where.line; };
    int line = line_of();
    CHECK(line == __LINE__ - 1);
    base::check(true, "holds");
}
