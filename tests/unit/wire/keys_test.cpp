#include "wire/keys.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using iscsi::base::Errc;
using iscsi::wire::is_key_name;
using iscsi::wire::KeyReader;
using iscsi::wire::KeyValue;
using iscsi::wire::KeyWriter;

namespace {

std::string text(std::string with_newlines) {
    for (char& c : with_newlines) {
        c = c == '\n' ? '\0' : c;
    }
    return with_newlines;
}

/// The first error of reading `raw` to its end; unknown when there is none.
Errc read_all(const std::string& raw) {
    KeyReader reader(raw);
    for (;;) {
        auto pair = reader.next();
        if (!pair) {
            return pair.error().code;
        }
        if (!*pair) {
            return Errc::unknown;
        }
    }
}

} // namespace

TEST_CASE("pairs are read in order, values reach to the NUL", "[rfc7143-6.1][TEXT-01]") {
    std::string raw = text("A=b\nKey.with-all+chars@_9=x=y==\nEmpty=\n\n\nLast=1\n");
    KeyReader reader(raw);
    CHECK(**reader.next() == KeyValue{"A", "b"});
    CHECK(**reader.next() == KeyValue{"Key.with-all+chars@_9", "x=y=="});
    CHECK(**reader.next() == KeyValue{"Empty", ""});
    CHECK(**reader.next() == KeyValue{"Last", "1"});
    CHECK_FALSE(reader.next()->has_value());
    CHECK_FALSE(reader.next()->has_value());
}

TEST_CASE("a key name begins with a capital and has at most 63 of its characters", "[rfc7143-6.1][TEXT-01]") {
    CHECK(is_key_name("A"));
    CHECK(is_key_name("A" + std::string(62, 'a')));
    CHECK(is_key_name("iSCSIProtocolLevel"));
    CHECK(is_key_name("X#NodeArchitecture")); // RFC 7143 section 13.26
    auto bad = GENERATE(as<std::string>{}, "", "a", "1A", "-A", "A b", "A\tb", "A/b", "A:b", "A,b",
                        "\xc3\x84", "A" + std::string(63, 'a'), "X#", "A#b", "X#a#b", "#X");
    CHECK_FALSE(is_key_name(bad));
}

TEST_CASE("malformed key text is an error and never read past", "[rfc7143-6.1][TEXT-01]") {
    auto bad =
        GENERATE(as<std::string>{}, "A=b", "A", "A=b\nC", "A\n", "=b\n", "a=b\n", "A b=c\n", "\x01=\n");
    CHECK(read_all(text(bad)) == Errc::protocol);
    CHECK(read_all(text("A=" + std::string(2050, 'x') + "\n")) == Errc::unknown);
    CHECK(read_all(text("A=" + std::string(2051, 'x') + "\n")) == Errc::protocol);
    CHECK(read_all("") == Errc::unknown);
}

TEST_CASE("every prefix of good text is good only where a pair ends", "[rfc7143-6.1][TEXT-01]") {
    std::string raw = text("TargetName=x\nTargetAddress=y\n");
    for (std::size_t n = 0; n <= raw.size(); ++n) {
        bool whole = n == 0 || raw[n - 1] == '\0';
        CHECK(read_all(raw.substr(0, n)) == (whole ? Errc::unknown : Errc::protocol));
    }
}

TEST_CASE("what is written is what is read", "[rfc7143-6.1]") {
    KeyWriter writer(100);
    REQUIRE(writer.add("MaxBurstLength", std::uint64_t{262144}).has_value());
    REQUIRE(writer.add("InitialR2T", false).has_value());
    REQUIRE(writer.add("HeaderDigest", "None").has_value());
    CHECK(iscsi::base::text_of(writer.bytes()) ==
          text("MaxBurstLength=262144\nInitialR2T=No\nHeaderDigest=None\n"));
    CHECK(writer.take().size() == 54);
    CHECK(writer.empty());
}

TEST_CASE("the writer keeps its bound and refuses what would break the text", "[rfc7143-6.1]") {
    KeyWriter writer(8);
    CHECK(writer.add("A", "bcdef").has_value());
    CHECK(writer.add("B", "").error().code == Errc::invalid);
    CHECK(writer.bytes().size() == 8);
    KeyWriter other(100);
    CHECK(other.add("A", std::string_view("b\0C=d", 5)).error().code == Errc::invalid);
    CHECK(other.add("a b", "c").error().code == Errc::invalid);
    CHECK(other.empty());
}
