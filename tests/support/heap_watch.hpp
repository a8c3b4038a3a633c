// What is left in memory: every block of the heap is searched when it is given back; and how often memory is
// taken. Replaces the allocation
// functions of the program: one file of a test program includes it. One thread.
#pragma once

#include <cstdlib>
#include <cstring>
#include <malloc.h>
#include <new>

namespace iscsi::test {

/// What is looked for while a HeapWatch lives; a literal, so that it is not itself on the heap.
struct Needle {
    const char* text = nullptr;
    std::size_t found = 0;
};
inline Needle needle;
/// Blocks that were taken.
inline std::size_t allocations = 0;

class HeapWatch {
public:
    explicit HeapWatch(const char* text) {
        needle.text = text;
        needle.found = 0;
    }
    HeapWatch(const HeapWatch&) = delete;
    HeapWatch& operator=(const HeapWatch&) = delete;
    ~HeapWatch() { needle.text = nullptr; }
    /// Blocks that were given back with the text in them.
    static std::size_t found() { return needle.found; }
};

inline void search_and_free(void* block) {
    if (block != nullptr && needle.text != nullptr) {
        bool there =
            ::memmem(block, ::malloc_usable_size(block), needle.text, std::strlen(needle.text)) != nullptr;
        needle.found += there ? 1U : 0U;
    }
    std::free(block);
}

} // namespace iscsi::test

void* operator new(std::size_t bytes) {
    ++iscsi::test::allocations;
    if (void* block = std::malloc(bytes == 0 ? 1 : bytes)) {
        return block;
    }
    throw std::bad_alloc();
}

void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    ++iscsi::test::allocations;
    return std::malloc(bytes == 0 ? 1 : bytes);
}

void operator delete(void* block) noexcept {
    iscsi::test::search_and_free(block);
}

void operator delete(void* block, std::size_t) noexcept {
    iscsi::test::search_and_free(block);
}
