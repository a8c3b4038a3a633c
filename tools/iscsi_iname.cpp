// iscsi-iname: prints a new initiator name. Its options, and that its help goes to stderr, are open-iscsi's.
#include "initiator_name.hpp"

#include <cstdio>
#include <fmt/format.h>
#include <getopt.h>
#include <string>

namespace iscsi::tools {
namespace {

// What open-iscsi's program accepts; the whole name is bounded by 223 bytes besides.
constexpr std::size_t prefix_bytes_max = 210;

void print_usage() {
    std::string text =
        fmt::format("Usage: iscsi-iname [OPTION]...\n"
                    "Prints a new iSCSI initiator name.\n"
                    "\n"
                    "  -p, --prefix=PREFIX          what the name begins with\n"
                    "  -g, --generate-iname-prefix  print InitiatorName= before the name\n"
                    "  -h, --help                   this text\n"
                    "\n"
                    "A prefix has {1} characters at most. Without one a name begins with {0}.\n",
                    default_prefix(), prefix_bytes_max);
    std::fputs(text.c_str(), stderr);
}

int wrong(const char* what) {
    if (what != nullptr) {
        std::fprintf(stderr, "%s\n", what);
    }
    print_usage();
    return 1;
}

int run(int argc, char** argv) {
    static constexpr option long_options[] = {
        {"prefix", required_argument, nullptr, 'p'},
        {"generate-iname-prefix", no_argument, nullptr, 'g'},
        {"help", no_argument, nullptr, 'h'},
        {nullptr, 0, nullptr, 0},
    };
    std::string prefix(default_prefix());
    bool as_line = false;
    for (int letter = 0; (letter = ::getopt_long(argc, argv, "p:gh", long_options, nullptr)) != -1;) {
        switch (letter) {
        case 'p':
            prefix = optarg;
            break;
        case 'g':
            as_line = true;
            break;
        case 'h':
            print_usage();
            return 0;
        default:
            return wrong(nullptr);
        }
    }
    if (optind != argc) {
        return wrong("unknown argument(s)");
    }
    if (prefix.size() > prefix_bytes_max) {
        return wrong("error: prefix too long");
    }
    auto name = new_initiator_name(prefix);
    if (!name) {
        std::fprintf(stderr, "iscsi-iname: %s\n", name.error().message().c_str());
        return 1;
    }
    std::printf("%s%s\n", as_line ? "InitiatorName=" : "", name->c_str());
    return std::fflush(stdout) == 0 ? 0 : 1;
}

} // namespace
} // namespace iscsi::tools

int main(int argc, char** argv) {
    return iscsi::tools::run(argc, argv);
}
