#include "records/store_lock.hpp"

#include "unit/records/temp_store.hpp"

#include <catch2/catch.hpp>
#include <csignal>
#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/wait.h>

using namespace iscsi;
using namespace iscsi::records;
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

TEST_CASE("a link of open-iscsi's that nobody living can have made is taken over when it is old", "[store]") {
    TempRoot root;
    std::string dir = root.path();
    write_file(dir + "/lock", "");
    fs::create_hard_link(dir + "/lock", dir + "/lock.write");
    constexpr std::chrono::hours old_some_day{1};
    CHECK_FALSE(Lock::take(dir, no_wait, old_some_day));
    {
        auto lock = Lock::take(dir, no_wait, std::chrono::milliseconds(0));
        REQUIRE(lock);
        CHECK(fs::exists(dir + "/lock.write"));
        CHECK_FALSE(fs::equivalent(dir + "/lock", dir + "/lock.write"));
    }
    CHECK_FALSE(fs::exists(dir + "/lock.write"));
}

TEST_CASE("a record that open-iscsi is just writing is read when it has done so", "[store]") {
    TempStore temp;
    Record node = new_node("iqn.2001-04.com.example:t1", {"10.0.0.1", 3260, 1});
    REQUIRE(node.set(Key::session_username, "bob"));
    REQUIRE(temp.store.write_node(node));
    std::string file = temp.db("nodes/iqn.2001-04.com.example:t1/10.0.0.1,3260,1/default");
    std::string whole = read_back(file);
    std::string locks = temp.store.paths().lock_dir();
    write_file(file, whole.substr(0, 100));
    fs::create_hard_link(locks + "/lock", locks + "/lock.write");
    pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        // The reader waits for the link as soon as it has the flock.
        int fd = ::open((locks + "/lock").c_str(), O_RDWR | O_CLOEXEC);
        while (::flock(fd, LOCK_EX | LOCK_NB) == 0) {
            ::flock(fd, LOCK_UN);
            ::sched_yield();
        }
        write_file(file, whole);
        fs::remove(locks + "/lock.write");
        ::_exit(0);
    }
    Warnings warnings;
    auto nodes = temp.store.nodes({}, warnings);
    ::kill(child, SIGKILL);
    REQUIRE(::waitpid(child, nullptr, 0) == child);
    REQUIRE(nodes);
    CHECK(warnings == Warnings{});
    REQUIRE(nodes->size() == 1);
    CHECK(nodes->front() == node);
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

TEST_CASE("a lock directory that another user can use is refused, and named with the reason", "[store]") {
    TempRoot root;
    std::string dir = root.path() + "/lock";
    fs::create_directory(dir);
    fs::permissions(dir, fs::perms(0777));
    auto lock = Lock::take(dir, no_wait);
    REQUIRE_FALSE(lock);
    CHECK(lock.error().code == base::Errc::database);
    CHECK(lock.error().detail == dir + ": every user may write it; remove it");
    CHECK(fs::is_empty(dir));
    fs::permissions(dir, fs::perms(0755));
    CHECK(Lock::take(dir, no_wait));
    if (::geteuid() != 0) {
        return; // only root can make what follows
    }
    constexpr uid_t nobody = 65534;
    std::string link = root.path() + "/link";
    fs::create_directory_symlink(dir, link);
    CHECK(Lock::take(link, no_wait));
    REQUIRE(::lchown(link.c_str(), nobody, nobody) == 0);
    CHECK(Lock::take(link, no_wait).error().detail == link + ": the link belongs to user 65534; remove it");
    REQUIRE(::chown(dir.c_str(), nobody, nobody) == 0);
    CHECK(Lock::take(dir, no_wait).error().detail == dir + ": belongs to user 65534; remove it");
}
