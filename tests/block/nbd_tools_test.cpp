// Clients that others wrote, against an export as control and shard make it: libnbd's tools, qemu's, fio. A
// tool that is not installed is a named skip: the program then ends with 77 if nothing failed.
#define CATCH_CONFIG_EXTERNAL_INTERFACES // for the listener
#include <catch2/catch.hpp>

#include "block/nbd_export.hpp"
#include "nbd_bench.hpp"
#include "ring/loop.hpp"
#include "support/memory_block.hpp"
#include "support/run_task.hpp"
#include "support/temporary_directory.hpp"

#include <array>
#include <cstdio>
#include <fstream>
#include <future>
#include <iostream>
#include <memory>
#include <string>
#include <sys/wait.h>
#include <thread>

using namespace iscsi;

namespace {

constexpr std::size_t disk_bytes = 32 * 1024 * 1024;

bool something_failed = false;
bool something_skipped = false;

struct Listener final : Catch::TestEventListenerBase {
    using TestEventListenerBase::TestEventListenerBase;
    void testRunEnded(const Catch::TestRunStats& stats) override {
        something_failed = stats.totals.assertions.failed > 0;
    }
};
CATCH_REGISTER_LISTENER(Listener)

bool has_tool(const std::string& tool) {
    if (std::system(("command -v " + tool + " >/dev/null 2>&1").c_str()) == 0) {
        return true;
    }
    std::cout << "SKIP: " << tool << " is not installed\n";
    if (!std::exchange(something_skipped, true)) {
        std::atexit([] {
            std::cout.flush();
            std::_Exit(something_failed ? 1 : 77);
        });
    }
    return false;
}

struct Output {
    int status;
    std::string text;
};

Output run(const std::string& command) {
    Output output{-1, {}};
    FILE* pipe = ::popen(("timeout 120 " + command + " 2>&1").c_str(), "r");
    REQUIRE(pipe != nullptr);
    std::array<char, 4096> part;
    while (std::size_t n = std::fread(part.data(), 1, part.size(), pipe)) {
        output.text.append(part.data(), n);
    }
    const int status = ::pclose(pipe);
    output.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return output;
}

/// An export whose queue lives on a thread of its own, as on a shard.
class Server {
public:
    explicit Server(const block::Attributes& attributes)
        : attributes_(attributes), disk(attributes.size_bytes) {
        auto made = block::NbdExport::create(
            {root.path() + "/luns", root.path() + "/by-path"},
            {"192.0.2.7", 3260, "iqn.2003-01.org.example:disk", base::Lun(0x0001000000000000)}, attributes);
        REQUIRE(made);
        device = std::move(*made);
        std::promise<ring::Loop*> started;
        std::future<ring::Loop*> loop = started.get_future();
        thread_ = std::thread([this, &started] { serve(started); });
        loop_ = loop.get();
        REQUIRE(loop_ != nullptr);
        REQUIRE(test::result_of(device->start()));
    }
    ~Server() {
        loop_->stop();
        thread_.join();
    }

    const std::string& uri() const { return device->uri(); }

    test::TemporaryDirectory root;

private:
    void serve(std::promise<ring::Loop*>& started) {
        auto loop = ring::Loop::create(256);
        auto pool = block::BufferPool::create(16 * 1024 * 1024);
        if (!loop || !pool) {
            return started.set_value(nullptr);
        }
        auto queue = device->make_queue({**loop, **pool, disk});
        disk.complete = [&queue](block::Request& request, int result) {
            (*queue)->complete(request, result);
        };
        // Kept until the thread is joined: stop() may still be at work on it when run() returns.
        kept_loop_ = std::move(*loop);
        started.set_value(kept_loop_.get());
        kept_loop_->run();
        (*queue)->close([&queue] { queue->reset(); });
        while (*queue) {
            kept_loop_->turn();
        }
    }

    block::Attributes attributes_;

public:
    test::MemoryBlock disk; ///< the thread's, until it is joined
    std::unique_ptr<block::NbdExport> device;

private:
    ring::Loop* loop_ = nullptr;
    std::unique_ptr<ring::Loop> kept_loop_;
    std::thread thread_;
};

std::string quoted(const std::string& text) {
    return "'" + text + "'";
}

void make_file(const std::string& path, std::size_t bytes) {
    std::ofstream(path, std::ios::binary) << test::pattern(bytes, 77);
}

bool contains(const Output& output, const std::string& part) {
    return output.text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("nbdinfo reads what the export says about itself", "[nbd][tool]") {
    if (!has_tool("nbdinfo")) {
        return;
    }
    block::Attributes attributes = test::test_attributes(disk_bytes);
    attributes.logical_block_bytes = 4096;
    attributes.physical_block_bytes = 4096;
    attributes.optimal_io_bytes = 65536;
    attributes.rotational = true;
    Server server(attributes);
    const Output info = run("nbdinfo --json " + quoted(server.uri()));
    CAPTURE(info.text);
    CHECK(info.status == 0);
    for (const char* part :
         {"\"structured\": true", "\"export-size\": 33554432", "\"block_size_minimum\": 4096",
          "\"block_size_preferred\": 65536", "\"block_size_maximum\": 1048576", "\"can_flush\": true",
          "\"can_fua\": true", "\"can_trim\": true", "\"can_zero\": true", "\"can_df\": true",
          "\"can_multi_conn\": true", "\"is_rotational\": true", "\"is_read_only\": false",
          "iSCSI logical unit ip-192.0.2.7:3260-iscsi-iqn.2003-01.org.example:disk-lun-1"}) {
        CAPTURE(part);
        CHECK(contains(info, part));
    }
    const Output list = run("nbdinfo --list " + quoted(server.uri()));
    CAPTURE(list.text);
    CHECK(list.status == 0);
    CHECK(contains(list, "export=\"ip-192.0.2.7:3260-iscsi-iqn.2003-01.org.example:disk-lun-1\""));
}

TEST_CASE("nbdcopy copies a whole disk in and out over several connections", "[nbd][tool]") {
    if (!has_tool("nbdcopy")) {
        return;
    }
    Server server(test::test_attributes(disk_bytes));
    const std::string in = server.root.path() + "/in";
    const std::string out = server.root.path() + "/out";
    make_file(in, disk_bytes);
    const Output there = run("nbdcopy --flush " + in + " " + quoted(server.uri()));
    CAPTURE(there.text);
    CHECK(there.status == 0);
    const Output back = run("nbdcopy " + quoted(server.uri()) + " " + out);
    CAPTURE(back.text);
    CHECK(back.status == 0);
    CHECK(run("cmp " + in + " " + out).status == 0);
}

TEST_CASE("qemu-img and qemu-io read, write, zero and trim", "[nbd][tool]") {
    if (!has_tool("qemu-img") || !has_tool("qemu-io")) {
        return;
    }
    Server server(test::test_attributes(disk_bytes));
    const std::string in = server.root.path() + "/in";
    make_file(in, disk_bytes);
    const std::string uri = quoted(server.uri());
    const Output info = run("qemu-img info " + uri);
    CAPTURE(info.text);
    CHECK(info.status == 0);
    CHECK(contains(info, "32 MiB (33554432 bytes)"));
    const Output convert = run("qemu-img convert -n -W -m 16 -f raw -O raw " + in + " " + uri);
    CAPTURE(convert.text);
    CHECK(convert.status == 0);
    CHECK(run("qemu-img compare -f raw -F raw " + in + " " + uri).status == 0);
    const Output io =
        run("qemu-io -f raw -c 'write -P 0xa5 1M 64k' -c 'write -f -P 0x5a 2M 64k' -c 'write -z 4M 1M' "
            "-c 'write -z -u 6M 1M' -c 'discard 8M 8M' -c flush -c 'read -P 0xa5 1M 64k' "
            "-c 'read -P 0x5a 2M 64k' -c 'read -P 0 4M 1M' -c 'read -P 0 6M 1M' " +
            uri);
    CAPTURE(io.text);
    CHECK(io.status == 0);
    CHECK(!contains(io, "failed"));
    CHECK(!contains(io, "error"));
}

TEST_CASE("qemu is not let write to a read-only export", "[nbd][tool]") {
    if (!has_tool("qemu-io")) {
        return;
    }
    block::Attributes attributes = test::test_attributes(disk_bytes);
    attributes.read_only = true;
    Server server(attributes);
    CHECK(run("qemu-io -r -f raw -c 'read 0 4k' " + quoted(server.uri())).status == 0);
    CHECK(run("qemu-io -f raw -c 'write 0 4k' " + quoted(server.uri())).status != 0);
}

TEST_CASE("fio writes and verifies with many requests in flight", "[nbd][tool]") {
    if (!has_tool("fio")) {
        return;
    }
    Server server(test::test_attributes(disk_bytes));
    const Output fio = run("fio --name=t --ioengine=nbd --uri=" + quoted(server.uri()) +
                           " --rw=randwrite --bsrange=4k-128k --bs_unaligned=0 --iodepth=64 --size=32m "
                           "--io_size=64m --verify=crc32c --do_verify=1 --verify_fatal=1 "
                           "--verify_state_save=0 --randseed=5");
    CAPTURE(fio.text);
    CHECK(fio.status == 0);
    CHECK(contains(fio, "err= 0"));
}
