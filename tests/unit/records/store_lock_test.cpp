#include "records/store_lock.hpp"

#include "unit/records/temp_store.hpp"

#include <catch2/catch.hpp>
#include <csignal>
#include <sys/wait.h>

using namespace iscsi;
using records::Lock;
using namespace iscsi::records::test;

namespace {

constexpr std::chrono::milliseconds no_wait{0};
constexpr std::chrono::milliseconds patient{20000};

} // namespace

TEST_CASE("one at a time holds the lock, and open-iscsi sees it held", "[store]") {
    TempRoot root;
    std::string dir = root.path() + "/run/lock/iscsi";
    {
        auto first = Lock::take(dir, no_wait);
        REQUIRE(first);
        CHECK(fs::exists(dir + "/lock.write"));
        CHECK((fs::status(dir).permissions() & fs::perms::all) == fs::perms::owner_all);
        auto second = Lock::take(dir, no_wait);
        REQUIRE_FALSE(second);
        CHECK(second.error().code == base::Errc::database);
        CHECK(fs::exists(dir + "/lock.write"));
    }
    CHECK_FALSE(fs::exists(dir + "/lock.write"));
    CHECK(Lock::take(dir, no_wait));
}

TEST_CASE("while open-iscsi's link is there nobody writes, and the error names it", "[store]") {
    TempRoot root;
    std::string dir = root.path();
    write_file(dir + "/lock", "");
    fs::create_hard_link(dir + "/lock", dir + "/lock.write");
    auto lock = Lock::take(dir, no_wait);
    REQUIRE_FALSE(lock);
    CHECK(lock.error().code == base::Errc::database);
    CHECK(lock.error().detail.find(dir + "/lock.write") != std::string::npos);
    CHECK(fs::exists(dir + "/lock.write"));
    fs::remove(dir + "/lock.write");
    CHECK(Lock::take(dir, no_wait));
}

TEST_CASE("the lock of a killed process is free at once", "[store]") {
    TempRoot root;
    std::string dir = root.path();
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        auto lock = Lock::take(dir, patient);
        char ok = lock ? 'y' : 'n';
        static_cast<void>(!::write(ready[1], &ok, 1));
        for (;;) {
            ::pause();
        }
    }
    char ok = 0;
    REQUIRE(::read(ready[0], &ok, 1) == 1);
    CHECK(ok == 'y');
    CHECK_FALSE(Lock::take(dir, no_wait));
    REQUIRE(::kill(child, SIGKILL) == 0);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(fs::exists(dir + "/lock.write"));
    CHECK(Lock::take(dir, no_wait));
    CHECK_FALSE(fs::exists(dir + "/lock.write"));
    ::close(ready[0]);
    ::close(ready[1]);
}

TEST_CASE("a lock whose link was taken away does not remove another's", "[store]") {
    TempRoot root;
    std::string dir = root.path();
    {
        auto lock = Lock::take(dir, no_wait);
        REQUIRE(lock);
        fs::remove(dir + "/lock.write");
        fs::create_hard_link(dir + "/lock", dir + "/lock.write");
    }
    CHECK(fs::exists(dir + "/lock.write"));
}

TEST_CASE("a lock directory that cannot be made is named", "[store]") {
    TempRoot root;
    write_file(root.path() + "/file", "");
    auto lock = Lock::take(root.path() + "/file/iscsi", no_wait);
    REQUIRE_FALSE(lock);
    CHECK(lock.error().code == base::Errc::database);
    CHECK(lock.error().detail.find("Not a directory") != std::string::npos);
}
