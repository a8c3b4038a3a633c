// Counts the calls of operator new in this whole program: an I/O must not make any.
#include "nbd_bench.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::size_t> allocations = 0;

} // namespace

void* operator new(std::size_t bytes) {
    ++allocations;
    if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) {
        return memory;
    }
    throw std::bad_alloc();
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    ++allocations;
    return std::malloc(bytes == 0 ? 1 : bytes);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}

using namespace iscsi;

namespace {

/// Says `text` without strings that grow: the bytes go in, what comes out is counted and dropped.
std::size_t drive(block::NbdConnection& connection, std::string_view text) {
    std::array<iovec, 512> out;
    std::size_t heard = 0;
    bool moved = true;
    while (moved) {
        moved = false;
        const base::RxSpans spans = connection.rx_spans();
        std::size_t n = 0;
        for (base::MutableBytes span : {spans.direct, spans.staging}) {
            const std::size_t part = std::min(span.size(), text.size() - n);
            std::copy_n(base::bytes_of(text).begin() + static_cast<std::ptrdiff_t>(n), part, span.begin());
            n += part;
        }
        if (n > 0) {
            text.remove_prefix(n);
            moved = connection.rx_done(n, base::TimePoint{}).has_value();
        }
        std::size_t sent = 0;
        for (const iovec& span : connection.tx_spans(out)) {
            sent += span.iov_len;
        }
        if (sent > 0) {
            connection.tx_done(sent);
            heard += sent;
            moved = true;
        }
    }
    return heard;
}

} // namespace

TEST_CASE("a request costs no allocation", "[nbd]") {
    auto pool = test::make_pool(8 * 1024 * 1024);
    test::NbdBench bench(*pool);
    bench.open_and_go(true);
    std::string said;
    for (std::uint64_t cookie = 0; cookie < 300; ++cookie) {
        said += test::request({.type = 0, .offset = 4096, .length = 4096, .cookie = cookie});
        said +=
            test::request({.type = 1, .offset = 0, .length = 4096, .cookie = cookie}) + test::pattern(4096);
        said += test::request({.type = 1, .offset = 1, .length = 512, .cookie = cookie}) + test::pattern(512);
        said += test::request({.type = 3, .cookie = cookie});
    }
    const std::size_t before = allocations;
    const std::size_t heard = drive(bench.connection, said);
    const std::size_t after = allocations;
    CHECK(heard == 300 * ((28 + 4096) + 16 + 26 + 16));
    CHECK(after - before == 0);
    CHECK(before > 0);
}
