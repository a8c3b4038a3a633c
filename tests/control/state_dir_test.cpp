// The directory of the sessions' states: whole files of ours and nothing else, whatever happened to them.
#include "control/state_dir.hpp"

#include "control/state_sample.hpp"
#include "support/in_child.hpp"
#include "support/sanitized.hpp"
#include "support/temporary_directory.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <sched.h>
#include <string>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

using namespace iscsi;
using namespace iscsi::control;
namespace fs = std::filesystem;

namespace {

struct Scene {
    test::TemporaryDirectory root;
    std::string path = root.path() + "/sessions";
    StateDir dir{path};
    std::vector<std::string> warnings;

    std::string file(const std::string& name) const { return path + "/" + name; }
    std::vector<SessionState> read() {
        warnings.clear();
        return dir.read_all(warnings);
    }
    void put(const std::string& name, const std::string& content) const {
        std::ofstream(file(name)) << content;
        ::chmod(file(name).c_str(), 0600);
    }
};

/// A session with so many units.
SessionState with_units(std::uint32_t sid, unsigned units) {
    SessionState state = samples::session(sid);
    state.units.clear();
    for (unsigned i = 0; i < units; ++i) {
        state.units.push_back({samples::facts(std::uint64_t{i} << 48), block::Backend::ublk, i + 1, true});
    }
    return state;
}

} // namespace

TEST_CASE("sessions are found again by number, with what was written last") {
    Scene scene;
    CHECK(scene.read().empty());
    CHECK(scene.warnings.empty()); // nothing was ever written
    for (std::uint32_t sid : {10U, 9U, 1U}) {
        REQUIRE(scene.dir.write(with_units(sid, 0)));
    }
    REQUIRE(scene.dir.write(samples::session(9)));
    auto states = scene.read();
    CHECK(scene.warnings.empty());
    REQUIRE(states.size() == 3);
    CHECK(states[0] == with_units(1, 0));
    CHECK(states[1] == samples::session(9));
    CHECK(states[2].sid == 10);
}

TEST_CASE("a session that ended is not found, and one that never was can end") {
    Scene scene;
    CHECK(scene.dir.forget(1));
    REQUIRE(scene.dir.write(samples::session(1)));
    REQUIRE(scene.dir.write(samples::session(2)));
    CHECK(scene.dir.forget(1));
    CHECK(scene.dir.forget(1));
    auto states = scene.read();
    REQUIRE(states.size() == 1);
    CHECK(states[0].sid == 2);
    CHECK_FALSE(fs::exists(scene.file("1.json")));
}

TEST_CASE("nobody else can read the secrets") {
    Scene scene;
    mode_t before = ::umask(0);
    REQUIRE(scene.dir.write(samples::session(1)));
    ::umask(before);
    struct stat info {};
    REQUIRE(::stat(scene.file("1.json").c_str(), &info) == 0);
    CHECK((info.st_mode & 07777) == 0600);
    REQUIRE(::stat(scene.path.c_str(), &info) == 0);
    CHECK((info.st_mode & 07777) == 0700);
}

TEST_CASE("what cannot be read back is not written") {
    Scene scene;
    REQUIRE(scene.dir.write(samples::session(1)));
    SessionState wrong = samples::session(1);
    wrong.units[0].cookie = 0;
    CHECK_FALSE(scene.dir.write(wrong));
    REQUIRE(scene.read().size() == 1);
    CHECK(scene.read()[0] == samples::session(1));
}

TEST_CASE("a damaged or foreign file is told by its name and harms no other") {
    Scene scene;
    REQUIRE(scene.dir.write(samples::session(1)));
    const std::string good = state_text(samples::session(2));
    scene.put("2.json", good.substr(0, good.size() / 2));
    scene.put("3.json", good); // of another session
    scene.put("04.json", state_text(samples::session(4)));
    scene.put("0.json", "");
    scene.put("4294967296.json", "");
    scene.put("notes.txt", "x");
    scene.put("5.json", "{\"v\":9}\n");
    fs::create_directory(scene.file("6.json"));
    REQUIRE(::mkfifo(scene.file("7.json").c_str(), 0600) == 0);
    auto states = scene.read();
    REQUIRE(states.size() == 1);
    CHECK(states[0].sid == 1);
    REQUIRE(scene.warnings.size() == 9);
    for (const char* name :
         {"2.json: ", "3.json: it is of session 2", "04.json: ", "0.json: ", "4294967296.json: ",
          "notes.txt: ", "5.json: it is of version 9", "6.json: ", "7.json: it is not a regular file"}) {
        CAPTURE(name);
        auto tells = [&](const std::string& warning) {
            return warning.find(scene.file(name)) != std::string::npos;
        };
        CHECK(std::ranges::count_if(scene.warnings, tells) == 1);
    }
    for (const std::string& warning : scene.warnings) {
        CHECK(warning.find("secr3t") == std::string::npos);
    }
    CHECK(fs::exists(scene.file("2.json"))); // left for a person to look at
    auto sids = scene.dir.sids();
    std::ranges::sort(sids);
    CHECK(sids == std::vector<std::uint32_t>{1, 2, 3, 5, 6, 7}); // numbers that no new session may get
}

TEST_CASE("a file that others can have written is not believed") {
    Scene scene;
    for (std::uint32_t sid : {1U, 2U, 3U, 4U}) {
        REQUIRE(scene.dir.write(samples::session(sid)));
    }
    ::chmod(scene.file("1.json").c_str(), 0602);
    ::chmod(scene.file("2.json").c_str(), 0620);
    const std::string elsewhere = scene.root.path() + "/elsewhere";
    fs::rename(scene.file("3.json"), elsewhere);
    fs::create_symlink(elsewhere, scene.file("3.json"));
    auto states = scene.read();
    REQUIRE(states.size() == 1);
    CHECK(states[0].sid == 4);
    CHECK(scene.warnings.size() == 3);
    if (::geteuid() == 0) {
        REQUIRE(::chown(scene.file("4.json").c_str(), 12345, 12345) == 0);
        CHECK(scene.read().empty());
        CHECK(scene.warnings.size() == 4);
    }
}

TEST_CASE("a directory that others can write to is neither read nor written") {
    Scene scene;
    REQUIRE(scene.dir.write(samples::session(1)));
    ::chmod(scene.path.c_str(), 0777);
    CHECK(scene.read().empty());
    CHECK(scene.warnings.size() == 1);
    auto written = scene.dir.write(samples::session(1));
    REQUIRE_FALSE(written);
    CHECK(written.error().code == base::Errc::access_denied);
}

TEST_CASE("a crash before the rename leaves the old state, and its leavings are cleared") {
    Scene scene;
    REQUIRE(scene.dir.write(samples::session(1)));
    const std::string half = state_text(with_units(1, 0));
    scene.put(".new-4711-0", half);
    scene.put(".new-4711-1", half.substr(0, 100));
    auto states = scene.read();
    CHECK(scene.warnings.empty());
    REQUIRE(states.size() == 1);
    CHECK(states[0] == samples::session(1));
    CHECK(std::distance(fs::directory_iterator(scene.path), fs::directory_iterator()) == 1);
}

TEST_CASE("a daemon killed at any moment of writing leaves one state or the other, whole") {
    Scene scene;
    const SessionState small = with_units(1, 1);
    const SessionState large = with_units(1, 200);
    REQUIRE(scene.dir.write(small));
    for (int round = 0; round < (test::sanitized ? 3 : 10); ++round) {
        std::array<int, 2> ticks{};
        REQUIRE(::pipe(ticks.data()) == 0);
        pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            for (;;) {
                bool written =
                    scene.dir.write(large) && ::write(ticks[1], "x", 1) == 1 && scene.dir.write(small);
                if (!written) {
                    ::_exit(1);
                }
            }
        }
        char tick = 0;
        bool ticked = true;
        for (int count = 0; count <= round; ++count) {
            ticked = ticked && ::read(ticks[0], &tick, 1) == 1;
        }
        ::kill(child, SIGKILL);
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        ::close(ticks[0]);
        ::close(ticks[1]);
        CHECK(ticked);
        CHECK(WIFSIGNALED(status));
        auto states = scene.read();
        CHECK(scene.warnings.empty());
        REQUIRE(states.size() == 1);
        CHECK((states[0] == small || states[0] == large));
    }
}

TEST_CASE("a bound on the size of files leaves the old state, and no half of the new one") {
    Scene scene;
    REQUIRE(scene.dir.write(with_units(1, 1)));
    int ended = test::in_child([&] {
        ::signal(SIGXFSZ, SIG_IGN);
        rlimit small{4096, 4096};
        ::setrlimit(RLIMIT_FSIZE, &small);
        auto written = scene.dir.write(with_units(1, 100));
        return !written && written.error().code == base::Errc::database ? 0 : 1;
    });
    CHECK(ended == 0);
    CHECK(std::distance(fs::directory_iterator(scene.path), fs::directory_iterator()) == 1);
    auto states = scene.read();
    REQUIRE(states.size() == 1);
    CHECK(states[0] == with_units(1, 1));
}

TEST_CASE("a full file system leaves the old state, and room for others") {
    Scene scene;
    constexpr int cannot_mount = 77;
    int ended = test::in_child([&] {
        // The mount is this child's alone and ends with it.
        if (::unshare(CLONE_NEWNS) != 0 ||
            ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            ::mount("tmpfs", scene.root.path().c_str(), "tmpfs", 0, "size=64k") != 0) {
            return cannot_mount;
        }
        bool first = scene.dir.write(with_units(1, 1)).has_value();
        auto full = scene.dir.write(with_units(1, 100));
        bool refused = !full && full.error().code == base::Errc::database;
        bool room = scene.dir.write(with_units(2, 1)).has_value();
        auto states = scene.read();
        bool whole = states.size() == 2 && states[0] == with_units(1, 1) && scene.warnings.empty();
        return first && refused && room && whole ? 0 : 1;
    });
    if (ended == cannot_mount) {
        WARN("cannot mount here; the test of the bound on files stands in");
        return;
    }
    CHECK(ended == 0);
}

TEST_CASE("a thousand sessions are read in no time, and a session can have every unit there may be") {
    constexpr std::uint32_t sessions = test::sanitized ? 50 : 1000;
    constexpr unsigned units = test::sanitized ? 500 : 16384;
    Scene scene;
    REQUIRE(scene.dir.write(with_units(1, 4)));
    for (std::uint32_t sid = 2; sid <= sessions; ++sid) {
        scene.put(fmt::format("{}.json", sid), state_text(with_units(sid, 4)));
    }
    auto begun = std::chrono::steady_clock::now();
    CHECK(scene.read().size() == sessions);
    auto taken = std::chrono::steady_clock::now() - begun;
    CHECK(scene.warnings.empty());
    CHECK(taken < std::chrono::seconds(10)); // 0.2 s in a release build here
    REQUIRE(scene.dir.write(with_units(1, units)));
    auto states = scene.read();
    REQUIRE(states.size() == sessions);
    CHECK(states[0].units.size() == units);
}
