// A command line of any words, one a line of the input: iscsiadm reads it or says what is wrong with it, as
// text or in the document of -j.
#include "fuzz.hpp"

#include "base/text.hpp"
#include "json_output.hpp"
#include "messages.hpp"
#include "options.hpp"

#include <string>
#include <vector>

using namespace iscsi;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::vector<std::string> words{"iscsiadm"};
    for (std::string_view word : base::split(iscsi::test::as_text(data, size), '\n')) {
        // As execve() passes them on.
        words.emplace_back(word.substr(0, word.find('\0')));
    }
    std::vector<char*> argv;
    for (std::string& word : words) {
        argv.push_back(word.data());
    }
    argv.push_back(nullptr);
    adm::Parsed parsed = adm::parse_options(static_cast<int>(words.size()), argv.data());
    if (!parsed.exit_code) {
        adm::PortalOrExit portal = adm::portal_of(parsed.options);
        iscsi::test::require(!portal.portal || !portal.exit_code);
    }
    adm::finish_json(parsed.exit_code.value_or(adm::exit_ok));
    return 0;
}
