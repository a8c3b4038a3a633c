// Where everything of ours lies in the file system. One environment variable, ISCSI_ROOT, puts a prefix
// before all of it, so that a test or a container has a world of its own. Plain value; any thread.
#pragma once

#include <string>
#include <string_view>

namespace iscsi::records {

class Paths {
public:
    /// `root` is an absolute directory or empty; slashes at its end are dropped.
    explicit Paths(std::string_view root = {});
    /// With ISCSI_ROOT as root; a relative one is taken from the current directory.
    static Paths from_environment();

    const std::string& root() const { return root_; }

    std::string config_dir() const { return root_ + "/etc/iscsi"; }
    std::string config_file() const { return config_dir() + "/iscsid.conf"; }
    std::string initiator_name_file() const { return config_dir() + "/initiatorname.iscsi"; }

    /// The record database: the build's ISCSI_DB_DIR.
    std::string db_dir() const;
    std::string nodes_dir() const { return db_dir() + "/nodes"; }
    std::string ifaces_dir() const { return db_dir() + "/ifaces"; }

    std::string lock_dir() const { return root_ + "/run/lock/iscsi"; }
    std::string run_dir() const { return root_ + "/run/iscsid"; }
    std::string pid_file() const { return root_ + "/run/iscsid.pid"; }
    /// The daemon's request socket.
    std::string ipc_socket() const { return run_dir() + "/control.sock"; }
    /// NBD export sockets, and their links by target, portal and LUN.
    std::string luns_dir() const { return run_dir() + "/luns"; }
    std::string by_path_dir() const { return run_dir() + "/by-path"; }
    /// What the next daemon has to know of each session.
    std::string sessions_dir() const { return run_dir() + "/sessions"; }

private:
    std::string root_;
};

} // namespace iscsi::records
