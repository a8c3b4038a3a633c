// iscsid's command line.
#include "process.hpp"

#include <catch2/catch.hpp>
#include <getopt.h>
#include <string>
#include <vector>

using namespace iscsi;

namespace {

base::Result<process::Options> parse(std::vector<std::string> words) {
    words.insert(words.begin(), "iscsid");
    std::vector<char*> argv;
    for (std::string& word : words) {
        argv.push_back(word.data());
    }
    argv.push_back(nullptr);
    ::optind = 0;
    ::opterr = 0;
    return process::parse_options(static_cast<int>(words.size()), argv.data());
}

} // namespace

TEST_CASE("iscsid takes open-iscsi's options, short and long") {
    auto brief = parse({"-f", "-d", "8", "-c", "/a", "-i", "/b", "-u", "7", "-g", "8"});
    REQUIRE(brief);
    CHECK(brief->foreground);
    CHECK(brief->debug_level == 8);
    CHECK(brief->config_file == "/a");
    CHECK(brief->initiator_name_file == "/b");
    CHECK(brief->uid == 7U);
    CHECK(brief->gid == 8U);
    auto lengthy = parse({"--no-pid-file", "--debug=3", "--config", "/x"});
    REQUIRE(lengthy);
    CHECK(lengthy->no_pid_file);
    CHECK(lengthy->debug_level == 3);
    CHECK(lengthy->config_file == "/x");
    REQUIRE(parse({"--version"}));
    CHECK(parse({"--version"})->version);
    CHECK(parse({"-h"})->help);
    CHECK_FALSE(parse({})->foreground);
}

TEST_CASE("numbers that are none, options that are none and options that exclude each other are refused") {
    for (const std::vector<std::string>& words :
         std::vector<std::vector<std::string>>{{"-d", "9"},
                                               {"-d", "x"},
                                               {"-d", "-1"},
                                               {"-u", "4294967295"},
                                               {"-g", ""},
                                               {"-x"},
                                               {"-c"},
                                               {"-p", "/run/x", "-n"},
                                               {"-p", "/run/x", "-f"}}) {
        CAPTURE(words);
        auto refused = parse(words);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().code == base::Errc::invalid);
    }
}
