// A directory for one test, with a short path, gone with everything in it when the object goes. Any thread.
#pragma once

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

namespace iscsi::test {

class TemporaryDirectory {
public:
    TemporaryDirectory() : path_("/tmp/t.XXXXXX") { REQUIRE(::mkdtemp(path_.data()) != nullptr); }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    ~TemporaryDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    const std::string& path() const { return path_; }

private:
    std::string path_;
};

} // namespace iscsi::test
