// Control's half of a LUN that is shown as an NBD export: the listening Unix socket under a name that tells
// portal, target and LUN, and a symbolic link to it where by-path names are looked for; of several sessions
// with one portal each export has a socket, the same after every start, and the first one the link. Nobody
// but root may connect. Both names go away with this object. Control's thread, except make_queue().
#pragma once

#include "block/block.hpp"
#include "block/device_names.hpp"
#include "block/export_links.hpp"
#include "block/nbd_queue.hpp"

#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

namespace iscsi::block {

class NbdExport final : public BlockDevice {
public:
    struct Place {
        std::string socket_dir;  ///< absolute; made with mode 0700 when it is not there
        std::string by_path_dir; ///< absolute; made with mode 0755 when it is not there
        std::shared_ptr<ExportLinks> sharing = std::make_shared<ExportLinks>(); ///< those at this place
    };

    /// Makes the listening socket, under a hidden name until start(). Errors: invalid (a name that cannot be
    /// one of a file), access_denied (the directory is someone else's), internal (a system call, with its
    /// reason).
    /// `queues`: 1..limits::queues_max, among which the clients are distributed.
    static base::Result<std::unique_ptr<NbdExport>> create(const Place& place, const DeviceIdentity& identity,
                                                           const Attributes& attributes, unsigned queues = 1);

    ~NbdExport() override;

    const std::string& name() const override { return name_; }
    const std::string& path() const override { return path_; }
    const std::string& uri() const override { return uri_; }
    const std::vector<std::string>& links() const override { return links_; }

    unsigned queues() const override { return queues_; }
    base::Result<std::unique_ptr<BlockQueue>> make_queue(const QueueContext& context) override;
    ring::Task<base::Result<void>> start() override;
    ring::Task<base::Result<void>> resize(Attributes attributes) override;
    ring::Task<base::Result<void>> remove() override;
    bool outlives_daemon() const override { return false; }

private:
    NbdExport() = default;
    base::Result<void> listen(const std::string& hidden_name);
    base::Result<void> put_names();
    base::Result<void> put_link();
    base::Result<void> lead_to(const std::string& socket);
    void take_names_back();
    /// The socket's name still means the socket that was bound, not a later one.
    bool owns_name() const;

    Attributes attributes_;
    unsigned queues_ = 1;
    std::shared_ptr<NbdQueues> shared_; ///< of several
    std::string export_name_;           ///< the by-path name in full
    std::string name_;
    std::string path_;
    std::string uri_;
    std::shared_ptr<ExportLinks> sharing_;
    std::string unit_; ///< DeviceIdentity::unit
    std::string link_dir_;
    std::string link_;
    std::vector<std::string> links_; ///< those that are there
    int directory_ = -1;
    int listener_ = -1;
    std::string bound_name_; ///< the socket's present name in directory_; empty = it has none
    ino_t inode_ = 0;        ///< of the bound socket
};

} // namespace iscsi::block
