// The daemon's heap: every block is wiped when it is given back. Secrets of records pass through messages,
// JSON and the frames of procedures, whose memory is not in their hands; here nobody has to think of them.
// Replaces the allocation functions of the program iscsid, and of nothing else: a library may not. The path
// of an I/O takes no memory, so it costs that path nothing. Blocks of more than the usual alignment are left
// to the library: no text is in one. Any thread.
#include "base/bytes.hpp"
#include "base/wiped.hpp"

#include <cstdlib>
#include <malloc.h>
#include <new>

namespace {

void* take(std::size_t bytes) {
    return std::malloc(bytes == 0 ? 1 : bytes);
}

void give_back(void* block) {
    if (block != nullptr) {
        // All of it: more than was asked for may have been used, by the owner before.
        iscsi::base::wipe({static_cast<std::byte*>(block), ::malloc_usable_size(block)});
        std::free(block);
    }
}

} // namespace

void* operator new(std::size_t bytes) {
    if (void* block = take(bytes)) {
        return block;
    }
    throw std::bad_alloc();
}

void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    return take(bytes);
}

void operator delete(void* block) noexcept {
    give_back(block);
}

void operator delete(void* block, std::size_t) noexcept {
    give_back(block);
}
