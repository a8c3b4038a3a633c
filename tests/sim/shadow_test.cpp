// The shadow disk itself: what it allows and what it does not.
#include "sim/shadow.hpp"

#include <catch2/catch.hpp>

using namespace iscsi::sim;

namespace {

constexpr Content initial = Shadow::content_of_version(0);

struct Fixture {
    Stage stage{1, false};
    Shadow shadow{stage, 16};
    bool may(Content content) const { return shadow.may_hold(0, content); }
    bool may_stay(Content content) const { return shadow.may_be_stable(0, content); }
    /// A write of block 0 from its beginning to its end.
    Content written(bool durable) {
        const unsigned version = shadow.begin(Shadow::Kind::write, {0, 1});
        shadow.end_well(version, durable);
        return Shadow::content_of_version(version);
    }
};

} // namespace

TEST_CASE("while a write runs a block is old or new, and new when it has ended") {
    Fixture on;
    const unsigned version = on.shadow.begin(Shadow::Kind::write, {0, 1});
    const Content content = Shadow::content_of_version(version);
    CHECK(on.may(initial));
    CHECK(on.may(content));
    on.shadow.end_well(version, true);
    CHECK_FALSE(on.may(initial));
    CHECK(on.may(content));
    CHECK_FALSE(on.may(zeroes));
}

TEST_CASE("writes side by side end in either order; one that follows settles both") {
    Fixture on;
    const unsigned one = on.shadow.begin(Shadow::Kind::write, {0, 1});
    const unsigned other = on.shadow.begin(Shadow::Kind::write, {0, 1});
    on.shadow.end_well(one, true);
    on.shadow.end_well(other, true);
    CHECK(on.may(Shadow::content_of_version(one)));
    CHECK(on.may(Shadow::content_of_version(other)));
    const Content last = on.written(true);
    CHECK_FALSE(on.may(Shadow::content_of_version(one)));
    CHECK_FALSE(on.may(Shadow::content_of_version(other)));
    CHECK(on.may(last));
}

TEST_CASE("a write that failed may have been done, a discard may not") {
    Fixture on;
    const unsigned failed = on.shadow.begin(Shadow::Kind::write, {0, 1});
    on.shadow.end_badly(failed);
    CHECK(on.may(initial));
    CHECK(on.may(Shadow::content_of_version(failed)));
    const unsigned hint = on.shadow.begin(Shadow::Kind::discard, {0, 1});
    on.shadow.end_well(hint, true);
    CHECK(on.may(zeroes));
    CHECK(on.may(initial));
}

TEST_CASE("a lost cache brings back what was not settled on the medium") {
    Fixture on;
    const Content first = on.written(true);
    const Content second = on.written(false);
    CHECK_FALSE(on.may(first));
    CHECK(on.may_stay(first));
    SECTION("without a flush") {
        on.shadow.on_cache_lost();
        CHECK(on.may(first));
        CHECK(on.may(second));
        CHECK_FALSE(on.may(initial));
    }
    SECTION("with a flush behind the write") {
        on.shadow.end_flush(on.shadow.begin_flush());
        on.shadow.on_cache_lost();
        CHECK_FALSE(on.may(first));
        CHECK(on.may(second));
    }
    SECTION("a flush that ends behind the loss settles nothing of before") {
        const Shadow::Flushing flushing = on.shadow.begin_flush();
        on.shadow.on_cache_lost();
        on.shadow.end_flush(flushing);
        CHECK(on.may(first));
        CHECK(on.may_stay(first));
    }
}

TEST_CASE("a read may find what was there at any moment of it, and whole blocks only") {
    Fixture on;
    auto reading = std::make_unique<Shadow::Reading>();
    std::vector<std::byte> bytes(block_bytes);
    on.shadow.begin_read(*reading, {0, 1});
    const Content content = on.written(true);
    SECTION("what was there before") {
        fill_block(bytes.data(), initial, 0);
        on.shadow.end_read(*reading, bytes);
        CHECK_FALSE(on.stage.broken());
    }
    SECTION("what came meanwhile") {
        fill_block(bytes.data(), content, 0);
        on.shadow.end_read(*reading, bytes);
        CHECK_FALSE(on.stage.broken());
    }
    SECTION("what nobody wrote") {
        fill_block(bytes.data(), zeroes, 0);
        on.shadow.end_read(*reading, bytes);
        CHECK(on.stage.broken());
    }
    SECTION("another block's bytes") {
        fill_block(bytes.data(), content, 1);
        on.shadow.end_read(*reading, bytes);
        CHECK(on.stage.broken());
    }
    SECTION("one wrong byte") {
        fill_block(bytes.data(), content, 0);
        bytes[100] ^= std::byte{1};
        on.shadow.end_read(*reading, bytes);
        CHECK(on.stage.broken());
    }
}

TEST_CASE("a block lands only while its write runs, or after it has failed") {
    Fixture on;
    const unsigned running = on.shadow.begin(Shadow::Kind::write, {0, 1});
    on.shadow.on_landing(0, Shadow::content_of_version(running));
    CHECK_FALSE(on.stage.broken());
    SECTION("not beside its place") {
        on.shadow.on_landing(1, Shadow::content_of_version(running));
        CHECK(on.stage.broken());
    }
    SECTION("not after its end") {
        on.shadow.end_well(running, true);
        on.shadow.on_landing(0, Shadow::content_of_version(running));
        CHECK(on.stage.broken());
    }
    SECTION("after its failure") {
        on.shadow.end_badly(running);
        on.shadow.on_landing(0, Shadow::content_of_version(running));
        CHECK_FALSE(on.stage.broken());
    }
}
