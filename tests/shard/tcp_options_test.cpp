// Which network interface has a hardware address, from a folder like /sys/class/net.
#include "shard/tcp_options.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace iscsi;

namespace {

class Interfaces {
public:
    Interfaces() {
        char name[] = "/tmp/interfaces.XXXXXX";
        REQUIRE(::mkdtemp(name) != nullptr);
        folder = name;
    }
    Interfaces(const Interfaces&) = delete;
    Interfaces& operator=(const Interfaces&) = delete;
    ~Interfaces() { std::filesystem::remove_all(folder); }

    void add(const std::string& name, const std::string& address, const std::string& state = "up") {
        std::filesystem::create_directory(folder / name);
        std::ofstream(folder / name / "address") << address << '\n';
        std::ofstream(folder / name / "operstate") << state << '\n';
    }
    void put_on(const std::string& upper, const std::string& lower) {
        std::filesystem::create_symlink("../" + upper, folder / lower / ("upper_" + upper));
    }
    base::Result<std::string> find(const std::string& address) const {
        return shard::device_of(address, folder);
    }

    std::filesystem::path folder;
};

} // namespace

TEST_CASE("an interface is found by its hardware address, large letters or small") {
    Interfaces interfaces;
    interfaces.add("lo", "00:00:00:00:00:00", "unknown");
    interfaces.add("eth0", "02:00:00:00:00:0a");
    interfaces.add("eth1", "02:00:00:00:00:0b");
    CHECK(interfaces.find("02:00:00:00:00:0b") == "eth1");
    CHECK(interfaces.find("02:00:00:00:00:0A") == "eth0");
    for (const char* nobodys : {"02:00:00:00:00:0c", "02:00:00:00:00", "02-00-00-00-00-0a", "eth0", ""}) {
        auto found = interfaces.find(nobodys);
        REQUIRE_FALSE(found);
        CHECK(found.error().code == base::Errc::transport);
    }
}

TEST_CASE("of several with one hardware address the one that has the addresses is taken") {
    Interfaces interfaces;
    const std::string address = "02:00:00:00:00:0a";
    interfaces.add("eth0", address);
    interfaces.add("zbond", address);
    interfaces.put_on("zbond", "eth0");
    CHECK(interfaces.find(address) == "zbond");
    interfaces.add("ybond", address, "down");
    CHECK(interfaces.find(address) == "zbond");
}

TEST_CASE("without a list of interfaces there is none") {
    CHECK_FALSE(shard::device_of("02:00:00:00:00:0a", "/nonexistent"));
}
