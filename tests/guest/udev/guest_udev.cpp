// What iscsid does with udev and with the users of a device, one verb a call, for the scripts beside it.
#include "block/device_use.hpp"
#include "block/udev.hpp"
#include "guest_serve.hpp"
#include "ring/aside.hpp"
#include "support/run_task.hpp"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

using namespace iscsi;
using block::DeviceClaim;

namespace {

using Words = std::vector<std::string>;

constexpr const char* help = R"(guest-udev write NAME COOKIE KEY=VALUE...   lays properties down for udev
guest-udev forget NAME                      takes them away
guest-udev wait NAME COOKIE BY-PATH         waits for udev, prints the links
guest-udev gone NAME                        says "ready", waits until a line comes in and then until NAME is gone
guest-udev users NAME                       who uses it; guest-udev openers NAME: who has it open
guest-udev claim PATH exclusive|shared      says "claimed", flushes at each line that comes in, until the last
guest-udev serve|take-back ublk|nbd COOKIE FILE BY-PATH KEY=VALUE...
                                            a device over a copy of FILE, until a line comes in
)";

bool next_line() {
    char line[64];
    return std::fgets(line, sizeof line, stdin) != nullptr;
}

void say(const std::string& line) {
    std::puts(line.c_str());
    std::fflush(stdout);
}

int complain(const base::Error& error) {
    std::fprintf(stderr, "%s\n", error.message().c_str());
    return base::exit_code(error.code);
}

std::uint64_t cookie_of(const std::string& word) {
    return std::strtoull(word.c_str(), nullptr, 16);
}

int write_properties(const Words& words) {
    const block::UdevProperties properties = test::pairs(words, 4);
    auto written = block::write_udev_properties(words[2], cookie_of(words[3]), properties);
    return written ? 0 : complain(written.error());
}

ring::Task<int> wait(ring::Loop& loop, const Words& words) {
    auto waited = co_await block::wait_for_udev(loop, words.at(2), cookie_of(words.at(3)));
    for (const std::string& link : block::links_of(words.at(2), words.at(4))) {
        say(link);
    }
    co_return waited ? 0 : complain(waited.error());
}

ring::Task<int> wait_until_gone(ring::Loop& loop, const Words& words) {
    block::UdevTrace trace(words.at(2));
    say("ready");
    next_line();
    co_await trace.wait_until_gone(loop);
    co_return trace.is_gone() ? 0 : 1;
}

ring::Task<int> ask(ring::Loop& loop, const Words& words) {
    auto work = [&] {
        return words.at(1) == "users" ? block::users_of(words.at(2)) : block::openers_of(words.at(2));
    };
    ring::Aside asking(loop, work);
    std::vector<std::string> lines = co_await asking;
    for (const std::string& line : lines) {
        say(line);
    }
    co_return 0;
}

ring::Task<int> claim(ring::Loop& loop, const Words& words) {
    auto mode = words.at(3) == "shared" ? DeviceClaim::Mode::shared : DeviceClaim::Mode::exclusive;
    auto claimed = co_await DeviceClaim::open(loop, words.at(2), mode);
    if (!claimed) {
        co_return complain(claimed.error());
    }
    say("claimed");
    while (next_line()) {
        auto flushed = co_await claimed->flush();
        if (!flushed) {
            co_return complain(flushed.error());
        }
        say("flushed");
    }
    co_await claimed->release();
    co_return 0;
}

ring::Task<int> run(ring::Loop& loop, const Words& words) {
    const std::string& verb = words.at(1);
    int status = 2;
    if (verb == "wait" && words.size() == 5) {
        status = co_await wait(loop, words);
    } else if (verb == "gone" && words.size() == 3) {
        status = co_await wait_until_gone(loop, words);
    } else if ((verb == "users" || verb == "openers") && words.size() == 3) {
        status = co_await ask(loop, words);
    } else if ((verb == "serve" || verb == "take-back") && words.size() >= 6) {
        status = co_await test::serve(loop, words);
    } else if (verb == "claim" && words.size() == 4) {
        status = co_await claim(loop, words);
    } else {
        std::fputs(help, stderr);
    }
    co_return status;
}

} // namespace

int main(int count, char** arguments) {
    if (block::is_device_helper(count, arguments)) {
        return block::device_helper_main();
    }
    const Words words(arguments, arguments + count);
    if (count >= 4 && words[1] == "write") {
        return write_properties(words);
    }
    if (count == 3 && words[1] == "forget") {
        block::forget_udev_properties(words[2]);
        return 0;
    }
    auto loop = ring::Loop::create(64, ring::Ring::SqeSize::wide);
    if (!loop) {
        return complain(loop.error());
    }
    if (count < 2) {
        std::fputs(help, stderr);
        return 2;
    }
    return test::run_task(**loop, run(**loop, words));
}
