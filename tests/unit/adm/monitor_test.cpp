// The lines of iscsiadm monitor, which of them are wanted, and who holds a lock.
#include "ipc/json.hpp"
#include "monitor_lines.hpp"
#include "run_lock.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <ctime>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/sysmacros.h>
#include <unistd.h>

using namespace iscsi;
using adm::EventFilter;
using adm::json_line;
using adm::lock_holder_in;
using adm::text_line;
using adm::wanted;

namespace {

ipc::EventReply resized() {
    ipc::EventReply event;
    event.time_us = 1'700'000'000'120'999; // 2023-11-14 22:13:20 UTC
    event.event = "resized";
    event.level = "info";
    event.message = "session 3 LUN 0: 16 blocks, were 8";
    event.sid = 3;
    event.target = "iqn.x:disk";
    event.portal = "10.0.0.1:3260";
    event.iface = "default";
    event.lun = 0;
    return event;
}

} // namespace

TEST_CASE("a line for people has the local time", "[adm]") {
    ::setenv("TZ", "UTC-2", 1);
    ::tzset();
    CHECK(text_line(resized()) ==
          "2023-11-15 00:13:20.120 info resized: session 3 LUN 0: 16 blocks, were 8\n");
    ::unsetenv("TZ");
    ::tzset();
}

TEST_CASE("a line for programs has all members, and the time in UTC", "[adm]") {
    CHECK(json_line(resized()) ==
          R"({"device":"","event":"resized","iface":"default","level":"info","lost":0,"lun":0,)"
          R"("message":"session 3 LUN 0: 16 blocks, were 8","portal":"10.0.0.1:3260","sid":3,)"
          R"("target":"iqn.x:disk","time":"2023-11-14T22:13:20.120Z"})"
          "\n");
    const ipc::Json of_none = ipc::Json::parse(json_line(ipc::EventReply()));
    CHECK(of_none["sid"].is_null());
    CHECK(of_none["lun"].is_null());
    CHECK(of_none.size() == 11);
}

TEST_CASE("whatever a daemon says, the terminal gets one line, and times are times", "[adm]") {
    ipc::EventReply event = resized();
    event.message = "two\nlines \x1b[31m";
    event.event = "new\nname";
    event.level = "\x07";
    for (std::int64_t time : {INT64_MIN, std::int64_t{-1}, INT64_MAX}) {
        event.time_us = time;
        for (const std::string& line : {text_line(event), json_line(event)}) {
            CHECK(line.find('\n') == line.size() - 1);
            CHECK(line.find('\x1b') == std::string::npos);
            CHECK(line.find('\x07') == std::string::npos);
        }
    }
    CHECK(json_line(event).find("\"9999-12-31T23:59:59.000Z\"") != std::string::npos);
}

TEST_CASE("filters leave out what is about another one, never what is said of the daemon", "[adm]") {
    EventFilter filter;
    CHECK(wanted(resized(), filter));
    filter.sid = 3;
    CHECK(wanted(resized(), filter));
    filter.sid = 4;
    CHECK_FALSE(wanted(resized(), filter));
    filter = {};
    filter.node.target = "iqn.x:disk";
    filter.node.portal = records::Portal{"10.0.0.1", 3260};
    CHECK(wanted(resized(), filter));
    filter.node.portal->port = 3261;
    CHECK_FALSE(wanted(resized(), filter));
    filter.node.portal.reset();
    filter.node.target = "iqn.x:dis";
    CHECK_FALSE(wanted(resized(), filter));
    ipc::EventReply general;
    general.event = "message";
    CHECK_FALSE(wanted(general, filter));
    for (const char* name : {"daemon_ending", "daemon_gone", "monitoring", "events_lost"}) {
        general.event = name;
        CHECK(wanted(general, filter));
    }
}

TEST_CASE("who has the lock stands in the kernel's list, who waits for it does not count", "[adm]") {
    const dev_t device = makedev(0, 0x19);
    const std::string others = "1: POSIX  ADVISORY  WRITE 11 00:19:77 0 EOF\n"
                               "2: FLOCK  ADVISORY  WRITE 12 00:1a:77 0 EOF\n"
                               "3: FLOCK  ADVISORY  READ  13 00:19:77 0 EOF\n"
                               "3: -> FLOCK  ADVISORY  WRITE 14 00:19:77 0 EOF\n"
                               "4: FLOCK ADVISORY WRITE\n\n5: FLOCK  ADVISORY  WRITE x 00:19:78 0 EOF\n";
    CHECK_FALSE(lock_holder_in(others, device, 77));
    CHECK_FALSE(lock_holder_in(others, device, 78));
    CHECK(lock_holder_in(others + "6: FLOCK  ADVISORY  WRITE 4711 00:19:77 0 EOF\n", device, 77) == 4711);
}

TEST_CASE("a lock of this very process is found", "[adm]") {
    char directory[] = "/tmp/iscsi-lock-XXXXXX";
    REQUIRE(::mkdtemp(directory) != nullptr);
    CHECK_FALSE(adm::lock_holder(directory));
    const int fd = ::open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    REQUIRE(::flock(fd, LOCK_EX | LOCK_NB) == 0);
    CHECK(adm::lock_holder(directory) == ::getpid());
    ::close(fd);
    CHECK_FALSE(adm::lock_holder(directory));
    ::rmdir(directory);
    CHECK_FALSE(adm::lock_holder(directory));
}
