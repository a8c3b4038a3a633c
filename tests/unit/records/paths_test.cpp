#include "records/paths.hpp"

#include "records/store.hpp"
#include "support/in_child.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <unistd.h>

using iscsi::records::Paths;

TEST_CASE("everything lies below the root, and the database where the build or the caller says", "[paths]") {
    Paths paths("/world//");
    CHECK(paths.config_file() == "/world/etc/iscsi/iscsid.conf");
    CHECK(paths.lock_dir() == "/world/run/lock/iscsi");
    CHECK(paths.db_dir().starts_with("/world/"));
    CHECK(paths.nodes_dir() == paths.db_dir() + "/nodes");
    Paths elsewhere("/world", "/var/lib/iscsi/");
    CHECK(elsewhere.db_dir() == "/world/var/lib/iscsi");
    CHECK(elsewhere.ifaces_dir() == "/world/var/lib/iscsi/ifaces");
    CHECK(elsewhere.config_dir() == "/world/etc/iscsi");
    CHECK(Paths().root().empty());
}

TEST_CASE("the environment names the root, relative to where one is, and the database, which is not",
          "[paths]") {
    int wrong = iscsi::test::in_child([] {
        ::unsetenv("ISCSI_ROOT");
        ::unsetenv("ISCSI_DB_DIR");
        bool plain = Paths::from_environment().db_dir() == Paths().db_dir();
        ::setenv("ISCSI_DB_DIR", "/var/lib/iscsi", 1);
        bool named = Paths::from_environment().db_dir() == "/var/lib/iscsi";
        ::setenv("ISCSI_ROOT", "world/./x/..", 1);
        bool both = ::chdir("/tmp") == 0 && Paths::from_environment().root() == "/tmp/world" &&
                    Paths::from_environment().db_dir() == "/tmp/world/var/lib/iscsi";
        ::setenv("ISCSI_DB_DIR", "var/lib/iscsi", 1);
        bool refused = !iscsi::records::find_paths();
        ::setenv("ISCSI_DB_DIR", "", 1);
        bool unset = Paths::from_environment().db_dir() == "/tmp/world" + Paths().db_dir();
        return (plain ? 0 : 1) + (named ? 0 : 2) + (both ? 0 : 4) + (unset ? 0 : 8) + (refused ? 0 : 16);
    });
    CHECK(wrong == 0);
}
