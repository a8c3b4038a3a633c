// Where everything of ours lies in the file system. The environment variable ISCSI_ROOT puts a prefix before
// all of it, so that a test or a container has a world of its own; ISCSI_DB_DIR names another directory of
// the record database, for one that another build of open-iscsi left behind (iscsid.db_dir does so for good:
// find_paths()). Plain value; any thread.
#pragma once

#include <string>
#include <string_view>

namespace iscsi::records {

class Paths {
public:
    /// `root` is an absolute directory or empty, `db_dir` (below the root) an absolute one or empty for the
    /// build's; slashes at their ends are dropped.
    explicit Paths(std::string_view root = {}, std::string_view db_dir = {});
    /// With ISCSI_ROOT, which is taken from the current directory when it is relative, and ISCSI_DB_DIR as it
    /// stands: below a root a relative one would mean nothing, so find_paths() refuses it.
    static Paths from_environment();

    const std::string& root() const { return root_; }
    /// Whether somebody named the database's directory; it is the build's otherwise.
    bool db_dir_is_chosen() const { return db_dir_is_chosen_; }
    bool db_dir_is_absolute() const { return db_dir_.starts_with('/'); }

    std::string config_dir() const { return root_ + "/etc/iscsi"; }
    std::string config_file() const { return config_dir() + "/iscsid.conf"; }
    std::string initiator_name_file() const { return config_dir() + "/initiatorname.iscsi"; }

    /// The record database.
    std::string db_dir() const { return root_ + db_dir_; }
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
    std::string db_dir_;
    bool db_dir_is_chosen_;
};

} // namespace iscsi::records
