// Where a line of the log goes: the journal with its fields, syslog behind it, and nobody waits for either.
#include "control/journal.hpp"
#include "control/log.hpp"
#include "control/log_lines.hpp"
#include "control/told_lately.hpp"
#include "support/temporary_directory.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <memory>
#include <optional>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

using namespace iscsi;
using namespace iscsi::control;

namespace {

/// A logger: takes datagrams at a path.
class Logger {
public:
    explicit Logger(std::string path) : path_(std::move(path)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path_.copy(address.sun_path, sizeof address.sun_path - 1);
        fd_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        REQUIRE(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    }
    ~Logger() {
        ::close(fd_);
        ::unlink(path_.c_str());
    }
    Logger(const Logger&) = delete;
    Logger& operator=(const Logger&) = delete;

    std::optional<std::string> next() const {
        std::string bytes(65536, '\0');
        const ssize_t n = ::recv(fd_, bytes.data(), bytes.size(), 0);
        if (n < 0) {
            return std::nullopt;
        }
        bytes.resize(static_cast<std::size_t>(n));
        return bytes;
    }

private:
    std::string path_;
    int fd_;
};

struct Bench {
    Bench() : loggers{directory.path() + "/syslog", directory.path() + "/journal"} {}
    ~Bench() { log::open(log::Sink::standard_error, 0); }
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;

    test::TemporaryDirectory directory;
    log::Loggers loggers;
};

log::About unit() {
    log::About about;
    about.event = log::Event::resized;
    about.sid = 7;
    about.target = "iqn.2026-01.example:disk";
    about.portal = "10.0.0.1:3260";
    about.iface = "default";
    about.lun = base::Lun(std::uint64_t{3} << 48);
    about.device = "/dev/ublkb0";
    return about;
}

bool has_field(const std::string& entry, const std::string& field) {
    return ("\n" + entry).find("\n" + field + "\n") != std::string::npos;
}

} // namespace

TEST_CASE("a field whose value has a newline carries its length, any other is a line") {
    CHECK(journal_field("MESSAGE", "one line") == "MESSAGE=one line\n");
    CHECK(journal_field("MESSAGE", "") == "MESSAGE=\n");
    CHECK(journal_field("A", "b\nc") == std::string("A\n\x03\0\0\0\0\0\0\0b\nc\n", 14));
    const std::string long_one = "\n" + std::string(0x1234, 'x');
    const std::string field = journal_field("A", long_one);
    CHECK(field.substr(0, 10) == std::string("A\n\x35\x12\0\0\0\0\0\0", 10));
    CHECK(field.substr(10) == long_one + "\n");
}

TEST_CASE("an entry of the journal has the line, its level, and what it is about") {
    const std::string entry = journal_entry(log::Level::warning, unit(), "16 blocks, were 8");
    for (const char* field : {"MESSAGE=16 blocks, were 8", "PRIORITY=4", "SYSLOG_FACILITY=3",
                              "SYSLOG_IDENTIFIER=iscsid", "ISCSI_EVENT=resized", "ISCSI_SESSION=7",
                              "ISCSI_TARGET=iqn.2026-01.example:disk", "ISCSI_PORTAL=10.0.0.1:3260",
                              "ISCSI_INTERFACE=default", "ISCSI_LUN=3", "ISCSI_DEVICE=/dev/ublkb0"}) {
        INFO(field);
        CHECK(has_field(entry, field));
    }
    const std::string plain = journal_entry(log::Level::error, {}, "x");
    CHECK(has_field(plain, "PRIORITY=3"));
    CHECK(has_field(plain, "ISCSI_EVENT=message"));
    CHECK(plain.find("ISCSI_SESSION") == std::string::npos);
    CHECK(plain.find("ISCSI_LUN") == std::string::npos);
    CHECK(plain.find("ISCSI_DEVICE") == std::string::npos);
    CHECK(has_field(journal_entry(log::Level::info, {}, "x"), "PRIORITY=5"));
    CHECK(has_field(journal_entry(log::Level::debug, {}, "x"), "PRIORITY=7"));
}

TEST_CASE("standard error is the journal's only where its file is the one that systemd named") {
    struct stat info {};
    REQUIRE(::fstat(STDERR_FILENO, &info) == 0);
    const std::string named = fmt::format("{}:{}", info.st_dev, info.st_ino);
    CHECK(is_journal(named.c_str(), STDERR_FILENO));
    CHECK_FALSE(is_journal((named + "1").c_str(), STDERR_FILENO));
    CHECK_FALSE(is_journal(("1" + named).c_str(), STDERR_FILENO));
    CHECK_FALSE(is_journal(named.c_str(), -1));
    for (const char* none : {"", ":", "1", "a:b", "1:2:3", " 1:2"}) {
        CHECK_FALSE(is_journal(none, STDERR_FILENO));
    }
    CHECK_FALSE(is_journal(nullptr, STDERR_FILENO));
}

TEST_CASE("in the background a line goes to the journal, with its fields") {
    Bench bench;
    const Logger syslog(bench.loggers.syslog);
    const Logger journal(bench.loggers.journal);
    log::open(log::Sink::syslog, 0, bench.loggers);
    log::event(unit(), "{} blocks, were {}", 16, 8);
    const auto entry = journal.next();
    REQUIRE(entry);
    CHECK(has_field(*entry, "MESSAGE=session 7 LUN 3: 16 blocks, were 8"));
    CHECK(has_field(*entry, "PRIORITY=5"));
    CHECK(has_field(*entry, "ISCSI_EVENT=resized"));
    log::error("first\nsecond\x1b\x01");
    CHECK(has_field(journal.next().value_or(""), "MESSAGE=first"));
    CHECK(has_field(journal.next().value_or(""), "MESSAGE=second\\x1b\\x01"));
    CHECK_FALSE(journal.next());
    CHECK_FALSE(syslog.next());
}

TEST_CASE("a journal that is gone leaves its lines to syslog, and has them again when it is back") {
    Bench bench;
    const Logger syslog(bench.loggers.syslog);
    auto journal = std::make_unique<Logger>(bench.loggers.journal);
    log::open(log::Sink::syslog, 0, bench.loggers);
    journal.reset();
    log::warning("to syslog");
    CHECK(syslog.next().value_or("").ends_with(": to syslog"));
    journal = std::make_unique<Logger>(bench.loggers.journal);
    log::warning("to the journal");
    CHECK(has_field(journal->next().value_or(""), "MESSAGE=to the journal"));
    CHECK_FALSE(syslog.next());
    // Started anew between two lines.
    journal.reset();
    journal = std::make_unique<Logger>(bench.loggers.journal);
    log::warning("to the next one");
    CHECK(has_field(journal->next().value_or(""), "MESSAGE=to the next one"));
}

TEST_CASE("without a journal all is as ever, and nobody at all is no reason to end") {
    Bench bench;
    log::open(log::Sink::syslog, 0, bench.loggers);
    log::warning("to nobody");
    const Logger syslog(bench.loggers.syslog);
    const Logger journal(bench.loggers.journal); // not there when the log was opened
    log::warning("to syslog");
    CHECK(syslog.next() == fmt::format("<28>iscsid[{}]: to syslog", ::getpid()));
    CHECK_FALSE(journal.next());
}

TEST_CASE("a logger that does not read is not waited for") {
    Bench bench;
    const Logger journal(bench.loggers.journal);
    log::open(log::Sink::syslog, 0, bench.loggers);
    const std::string words(1500, 'w');
    constexpr unsigned many = 5000; // the kernel keeps some ten datagrams of a socket, or so many bytes
    for (unsigned i = 0; i < many; ++i) {
        log::warning("{}", words);
    }
    unsigned kept = 0;
    while (journal.next()) {
        ++kept;
    }
    CHECK(kept > 0);
    CHECK(kept < many);
    log::warning("read again");
    CHECK(has_field(journal.next().value_or(""), "MESSAGE=read again"));
}

TEST_CASE("in the foreground the journal has a line only where standard error is its own") {
    Bench bench;
    const Logger journal(bench.loggers.journal);
    test::LogLines lines;
    struct stat info {};
    REQUIRE(::fstat(STDERR_FILENO, &info) == 0);
    ::setenv("JOURNAL_STREAM", fmt::format("{}:{}", info.st_dev, info.st_ino).c_str(), 1);
    log::open(log::Sink::standard_error, 0, bench.loggers);
    log::info("to the journal");
    CHECK(has_field(journal.next().value_or(""), "MESSAGE=to the journal"));
    CHECK(lines.with("to the journal").empty());
    ::setenv("JOURNAL_STREAM", "1:1", 1);
    log::open(log::Sink::standard_error, 0, bench.loggers);
    log::info("to standard error");
    ::unsetenv("JOURNAL_STREAM");
    CHECK(lines.with("iscsid: to standard error").size() == 1);
    CHECK_FALSE(journal.next());
}

TEST_CASE("a line that repeats itself is left out of the log, and counted; a listener hears of each") {
    Bench bench;
    test::LogLines lines;
    unsigned heard = 0;
    log::set_listener(
        [&heard](const ipc::EventReply& event) { heard += event.event == "resized" ? 1U : 0U; });
    log::About about = unit();
    about.sid = 4'000'000'000; // of no other test
    for (unsigned i = 0; i < 500; ++i) {
        log::event(about, "16 blocks, were 8");
    }
    log::debug("nobody hears of this");
    log::set_listener({});
    log::event(about, "16 blocks, were 8");
    CHECK(heard == 500);
    CHECK(lines.with("session 4000000000 LUN 3: 16 blocks, were 8").size() == EventLimiter::lines_a_minute);
}

TEST_CASE("each of many targets that a discovery tells of has its line; one that repeats itself has not") {
    Bench bench;
    test::LogLines lines;
    constexpr unsigned portals = 200;
    const auto about_target = [](unsigned i) {
        log::About about;
        about.event = ipc::Event::target_found;
        about.target = "iqn.2026-01.example:many";
        about.portal = fmt::format("10.0.0.{}:3260", i);
        about.iface = "default";
        return about;
    };
    for (unsigned i = 0; i < portals; ++i) {
        log::event(about_target(i), "portal {} of many was found", i);
    }
    CHECK(lines.with(" of many was found").size() == portals);
    for (unsigned i = 0; i < 500; ++i) {
        log::event(about_target(0), "found once more");
    }
    CHECK(lines.with("found once more").size() == EventLimiter::lines_a_minute - 1);
}
