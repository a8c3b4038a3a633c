#include "block/nbd_export.hpp"

#include "support/run_task.hpp"
#include "support/temporary_directory.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

using namespace iscsi;
using block::DeviceIdentity;
using block::NbdExport;

namespace fs = std::filesystem;

namespace {

DeviceIdentity identity(std::string target = "iqn.2003-01.org.example:disk") {
    return {"192.0.2.7", 3260, std::move(target), base::Lun(0x0001000000000000)};
}

block::Attributes attributes() {
    block::Attributes attributes;
    attributes.size_bytes = 1024 * 1024;
    return attributes;
}

NbdExport::Place place(const test::TemporaryDirectory& root) {
    return {root.path() + "/run/luns", root.path() + "/dev/disk/by-path"};
}

std::unique_ptr<NbdExport> make(const NbdExport::Place& where, const DeviceIdentity& who = identity()) {
    auto device = NbdExport::create(where, who, attributes());
    REQUIRE(device);
    return std::move(*device);
}

bool can_connect(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    REQUIRE(path.size() < sizeof address.sun_path);
    path.copy(address.sun_path, path.size());
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    const bool connected = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    ::close(fd);
    return connected;
}

mode_t mode_of(const std::string& path) {
    struct stat status {};
    REQUIRE(::lstat(path.c_str(), &status) == 0);
    return status.st_mode & 07777;
}

std::size_t entries(const std::string& directory) {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

} // namespace

TEST_CASE("a started export is a private socket and a link to it, and both go away with it") {
    test::TemporaryDirectory root;
    const NbdExport::Place where = place(root);
    const std::string full = "ip-192.0.2.7:3260-iscsi-iqn.2003-01.org.example:disk-lun-1";
    {
        auto device = make(where);
        CHECK(!fs::exists(device->path()));
        CHECK(device->links().empty());
        REQUIRE(test::result_of(device->start()));
        CHECK(device->path() == where.socket_dir + "/" + device->name());
        CHECK(device->uri() == "nbd+unix:///?socket=" + device->path());
        CHECK(mode_of(device->path()) == 0600);
        CHECK(mode_of(where.socket_dir) == 0700);
        CHECK(can_connect(device->path()));
        REQUIRE(device->links() == std::vector<std::string>{where.by_path_dir + "/" + full});
        CHECK(fs::read_symlink(device->links()[0]) == device->path());
        CHECK(entries(where.socket_dir) == 1);
    }
    CHECK(entries(where.socket_dir) == 0);
    CHECK(entries(where.by_path_dir) == 0);
}

TEST_CASE("an export that was never started leaves nothing behind") {
    test::TemporaryDirectory root;
    { auto device = make(place(root)); }
    CHECK(entries(place(root).socket_dir) == 0);
}

TEST_CASE("remove takes the names away and may be called again") {
    test::TemporaryDirectory root;
    auto device = make(place(root));
    REQUIRE(test::result_of(device->start()));
    CHECK(test::result_of(device->remove()));
    CHECK(entries(place(root).socket_dir) == 0);
    CHECK(entries(place(root).by_path_dir) == 0);
    CHECK(test::result_of(device->remove()));
}

TEST_CASE("exports of several sessions have a socket each, and the link leads to the same unit only") {
    test::TemporaryDirectory root;
    const NbdExport::Place where = place(root);
    DeviceIdentity who = identity();
    who.unit = "naa.1";
    auto first = make(where, who);
    REQUIRE(test::result_of(first->start()));
    who.session = "-iface-two";
    auto second = make(where, who);
    REQUIRE(test::result_of(second->start()));
    who.session = "-iface-three";
    who.unit = GENERATE("naa.2", "");
    auto another = make(where, who);
    REQUIRE(test::result_of(another->start()));
    CHECK(second->path() == first->path() + "-iface-two");
    for (const auto* device : {&first, &second, &another}) {
        CHECK(can_connect((*device)->path()));
        CHECK((*device)->links() == first->links());
    }
    const std::string link = first->links()[0];
    CHECK(fs::read_symlink(link) == first->path());
    SECTION("the first one goes") {
        first.reset();
        CHECK(fs::read_symlink(link) == second->path());
        second.reset();
        CHECK_FALSE(fs::is_symlink(link));
    }
    SECTION("the first one and its like go, and it comes back") {
        second.reset();
        first.reset();
        CHECK_FALSE(fs::is_symlink(link));
        who.session.clear();
        who.unit = "naa.1";
        first = make(where, who);
        REQUIRE(test::result_of(first->start()));
        CHECK(fs::read_symlink(link) == first->path());
        first.reset();
    }
    SECTION("the second one goes") {
        second.reset();
        CHECK(fs::read_symlink(link) == first->path());
        first.reset();
        CHECK_FALSE(fs::is_symlink(link));
    }
    another.reset();
    CHECK(entries(where.socket_dir) == 0);
    CHECK(entries(where.by_path_dir) == 0);
}

TEST_CASE("what a crashed daemon left behind is replaced, what is not ours to replace is kept") {
    test::TemporaryDirectory root;
    const NbdExport::Place where = place(root);
    auto dead = make(place(root));
    REQUIRE(test::result_of(dead->start()));
    auto live = make(where);
    REQUIRE(test::result_of(live->start()));
    dead.reset();
    CHECK(can_connect(live->path()));
    REQUIRE(test::result_of(live->remove()));

    SECTION("a file in the socket's place") {
        std::ofstream(live->path()) << "precious";
        auto device = make(where);
        CHECK(test::result_of(device->start()).error().code == base::Errc::busy);
        CHECK(fs::is_regular_file(live->path()));
    }
    SECTION("a file in the link's place") {
        const std::string link =
            where.by_path_dir + "/ip-192.0.2.7:3260-iscsi-iqn.2003-01.org.example:disk-lun-1";
        std::ofstream(link) << "precious";
        auto device = make(where);
        CHECK(test::result_of(device->start()).error().code == base::Errc::busy);
        CHECK(fs::is_regular_file(link));
        device.reset();
        CHECK(fs::is_regular_file(link));
        CHECK(entries(where.socket_dir) == 0);
    }
    SECTION("a link that now leads elsewhere") {
        auto device = make(where);
        REQUIRE(test::result_of(device->start()));
        const std::string link = device->links()[0];
        fs::remove(link);
        fs::create_symlink("/dev/null", link);
        device.reset();
        CHECK(fs::read_symlink(link) == "/dev/null");
    }
}

TEST_CASE("a long target name still gives a socket that can be connected to, and the full name as link") {
    test::TemporaryDirectory root;
    const DeviceIdentity who = identity("iqn.2003-01.org.example:" + std::string(150, 'x'));
    auto device = make(place(root), who);
    REQUIRE(test::result_of(device->start()));
    CHECK(device->path().size() == 107);
    CHECK(can_connect(device->path()));
    CHECK(device->links()[0] == place(root).by_path_dir + "/" + block::by_path_name(who).value());

    DeviceIdentity longest = identity(std::string(223, 'x'));
    longest.address = "2001:db8:1111:2222:3333:4444:5555:6666%interface";
    auto other = make(place(root), longest);
    REQUIRE(test::result_of(other->start()));
    CHECK(other->links()[0].size() == place(root).by_path_dir.size() + 1 + 255);
}

TEST_CASE("a directory deeper than a socket address is long does not keep the socket from being made") {
    test::TemporaryDirectory root;
    const NbdExport::Place where{root.path() + "/" + std::string(120, 'd'), root.path() + "/by-path"};
    auto device = make(where);
    REQUIRE(test::result_of(device->start()));
    CHECK(fs::is_socket(device->path()));
    device.reset();
    CHECK(entries(where.socket_dir) == 0);
}

TEST_CASE("a directory that is a link or open to others is not used as it is") {
    test::TemporaryDirectory root;
    NbdExport::Place where = place(root);
    SECTION("a link") {
        fs::create_directories(root.path() + "/elsewhere");
        fs::create_directories(root.path() + "/run");
        fs::create_symlink(root.path() + "/elsewhere", where.socket_dir);
        CHECK(!NbdExport::create(where, identity(), attributes()));
    }
    SECTION("too open: it is closed") {
        fs::create_directories(where.socket_dir);
        REQUIRE(::chmod(where.socket_dir.c_str(), 0777) == 0);
        auto device = make(where);
        CHECK(mode_of(where.socket_dir) == 0700);
    }
}

TEST_CASE("a name that would leave the directory is refused") {
    test::TemporaryDirectory root;
    for (const char* target : {"../../etc/passwd", "iqn.a/b", ""}) {
        auto device = NbdExport::create(place(root), identity(target), attributes());
        REQUIRE(!device);
        CHECK(device.error().code == base::Errc::invalid);
    }
}

TEST_CASE("a path with strange characters is percent-encoded in the URI") {
    test::TemporaryDirectory root;
    const NbdExport::Place where{root.path() + "/a b&c#d", root.path() + "/by-path"};
    auto device = make(where);
    CHECK(device->uri().find("/a%20b%26c%23d/ip-192.0.2.7:3260") != std::string::npos);
}
