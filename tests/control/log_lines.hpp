// What the log says while an object of this lives, instead of on standard error. One at a time, one thread.
#pragma once

#include <algorithm>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace iscsi::test {

class LogLines {
public:
    LogLines() : kept_(::dup(STDERR_FILENO)), file_(::memfd_create("log", MFD_CLOEXEC)) {
        ::dup2(file_, STDERR_FILENO);
    }
    ~LogLines() {
        ::dup2(kept_, STDERR_FILENO);
        ::close(kept_);
        ::close(file_);
    }
    LogLines(const LogLines&) = delete;
    LogLines& operator=(const LogLines&) = delete;

    /// Those that have `words` in them, so far.
    std::vector<std::string> with(const std::string& words) const {
        std::string all(static_cast<std::size_t>(::lseek(file_, 0, SEEK_END)), '\0');
        all.resize(static_cast<std::size_t>(::pread(file_, all.data(), all.size(), 0)));
        std::vector<std::string> found;
        for (std::size_t at = 0; at < all.size();) {
            const std::size_t end = std::min(all.find('\n', at), all.size());
            std::string line = all.substr(at, end - at);
            if (line.find(words) != std::string::npos) {
                found.push_back(std::move(line));
            }
            at = end + 1;
        }
        return found;
    }

private:
    int kept_;
    int file_;
};

} // namespace iscsi::test
