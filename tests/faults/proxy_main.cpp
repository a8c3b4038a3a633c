// The fault proxy as a program. See usage below.
#include "faults/proxy.hpp"

#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <getopt.h>
#include <stdexcept>
#include <unistd.h>

namespace {

using namespace iscsi::faults;

constexpr const char* usage = R"(usage: fault-proxy [--seed N] LISTEN TARGET [LINE...]

A TCP proxy in front of an iSCSI target that harms what passes. LISTEN and TARGET are ADDRESS:PORT or [ADDRESS]:PORT; a
port of 0 takes a free one. It prints "listening PORT", obeys the LINEs, and then lines on its standard input, each of
which it answers with one that begins with ok or error. It ends with its input.

What holds until it is taken back with `off` or `clear`. way=out is from the initiator to the target, way=in from the
target, way=both is meant when there is none:
  delay [way=] ms=N            everything arrives N ms later
  stall [way=]                 nothing arrives; all of it once this is off
  hole [way=]                  nothing arrives, and never will: once this is off, the connection is reset when it moves
  dribble [way=] bytes=N ms=M  N bytes at a time, and M ms between
  split [way=] bytes=K         each PDU in two, the first K bytes and, 1 ms later, the rest
  refuse                       nobody listens
What happens once, or again and again with `repeat`, when A bytes (or, by chance, A to B) have passed since the last time:
  reset [way=] [after=A[..B]]                           in the middle of a PDU
  truncate [way=] [after=]                              the same, but with a FIN
  orphan [after=] bytes=N ms=M                          N bytes, or what comes in 50 ms, are kept from the target and the
                                                        initiator is reset; the target hears them M ms later, on the
                                                        old connection
  flip [way=] [after=] region=header|additional|header_digest|data|padding|data_digest    one bit of the next PDU that has it
  duplicate [way=] [after=] [opcode=0xNN]               a PDU arrives twice
  hold [way=] [after=] [opcode=0xNN] ms=N               a PDU arrives N ms late, behind those that came after it
  drop [way=] [after=] [opcode=0xNN]                    a PDU never arrives
And:
  reset now            every connection
  target ADDRESS:PORT  where the next connections go
  clear                no faults any more
  stats                counts
Example: an address whose connections are reset at a random byte of every megabyte or so:
  fault-proxy 127.0.0.1:3261 127.0.0.1:3260 "reset repeat after=100000..2000000"
)";

class Program {
public:
    explicit Program(Proxy& proxy) : proxy_(proxy) {}

    void obey(const std::string& line) {
        std::optional<std::string> wrong;
        try {
            wrong = line == "stats" ? std::nullopt : proxy_.obey(line);
        } catch (const std::exception& error) {
            wrong = error.what();
        }
        const ProxyCounts& c = proxy_.counts();
        say(wrong ? fmt::format("error {}", *wrong)
                  : fmt::format(
                        "ok connections={} open={} resets={} refused={} strikes={} bytes_out={} bytes_in={}",
                        c.connections, proxy_.open(), c.resets, c.refused, proxy_.strikes(), c.bytes_out,
                        c.bytes_in));
    }

    void run() {
        for (std::string input;
             !proxy_.turn(std::chrono::milliseconds(1000), STDIN_FILENO) || listen(input);) {
        }
    }

    static void say(const std::string& line) {
        std::fputs((line + "\n").c_str(), stdout);
        std::fflush(stdout);
    }

private:
    /// Reads what came and obeys what is a whole line; false at the end.
    bool listen(std::string& input) {
        char some[512];
        const ssize_t got = read(STDIN_FILENO, some, sizeof some);
        if (got <= 0) {
            return false;
        }
        input.append(some, static_cast<std::size_t>(got));
        for (std::size_t end = 0; (end = input.find('\n')) != input.npos; input.erase(0, end + 1)) {
            obey(input.substr(0, end));
        }
        return true;
    }

    Proxy& proxy_;
};

} // namespace

int main(int argc, char** argv) {
    std::uint64_t seed = 1;
    const option names[] = {
        {"seed", required_argument, nullptr, 's'}, {"help", no_argument, nullptr, 'h'}, {}};
    for (int which = 0; (which = getopt_long(argc, argv, "+s:h", names, nullptr)) != -1;) {
        if (which != 's') {
            std::fputs(usage, which == 'h' ? stdout : stderr);
            return which == 'h' ? 0 : 2;
        }
        seed = std::strtoull(optarg, nullptr, 0);
    }
    if (optind + 2 > argc) {
        std::fputs(usage, stderr);
        return 2;
    }
    try {
        Proxy proxy(Endpoint(argv[optind]), Endpoint(argv[optind + 1]), seed);
        Program program(proxy);
        Program::say(fmt::format("listening {}", proxy.port()));
        for (int at = optind + 2; at < argc; ++at) {
            program.obey(argv[at]);
        }
        program.run();
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "fault-proxy: %s\n", error.what());
        return 1;
    }
}
