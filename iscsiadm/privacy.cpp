#include "privacy.hpp"

#include "base/wiped.hpp"

#include <cstring>
#include <span>
#include <sys/prctl.h>
#include <sys/stat.h>

namespace iscsi::adm {

void make_private() {
    ::umask(S_IRWXG | S_IRWXO);
    // Not a limit on its size: one that is written to a program is not held back by that.
    ::prctl(PR_SET_DUMPABLE, 0);
}

void hide_word(char* word) {
    base::wipe(std::as_writable_bytes(std::span(word, std::strlen(word))));
}

} // namespace iscsi::adm
