#include "options.hpp"

#include "base/limits.hpp"
#include "base/text.hpp"
#include "json_output.hpp"
#include "messages.hpp"
#include "option_table.hpp"
#include "privacy.hpp"
#include "records/text.hpp"
#include "session_number.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <getopt.h>
#include <string_view>

namespace iscsi::adm {
namespace {

constexpr bool operations_are_known() {
    for (const WordRow& row : word_rows) {
        std::size_t known = 0;
        for (const auto& [name, op] : op_rows) {
            known += row.letter == 'o' && has_word(row.words, name) ? 1U : 0U;
        }
        if (row.letter == 'o' && known != static_cast<std::size_t>(std::ranges::count(row.words, ' ')) + 1) {
            return false;
        }
    }
    return true;
}
static_assert(operations_are_known(), "the words behind -o are operations");

/// What getopt_long found, in order; '?' for what it refused.
struct Token {
    int letter;
    std::string argument;
    int refused = 0; ///< the letter that was refused; 0 for a long option
};

/// getopt_long over one command line, which can be read again from the start.
class Words {
public:
    Words(int argc, char** argv) : given_(argv, argv + argc) {
        // "iscsiadm doctor" is for people, who should not have to know of modes.
        if (argc > 1 && has_word(bare_modes, argv[1])) {
            static std::array<char, 3> mode_option{"-m"};
            given_.insert(given_.begin() + 1, mode_option.data());
        }
        for (const OptionRow& row : option_rows) {
            letters_ += static_cast<char>(row.letter);
            // The long form alone may come without its argument.
            letters_ += row.argument == no_argument ? "" : ":";
            names_.push_back(option{row.name, row.argument, nullptr, row.letter});
        }
        names_.push_back(option{nullptr, 0, nullptr, 0});
    }

    /// All of it; what is refused is not complained about yet.
    std::vector<Token> tokens() {
        std::vector<Token> tokens;
        begin();
        for (int letter = next(); letter != -1; letter = next()) {
            tokens.push_back(Token{letter, optarg == nullptr ? "" : optarg, letter == '?' ? optopt : 0});
        }
        left_over_ = words_[static_cast<std::size_t>(optind)];
        return tokens;
    }

    /// The first word that belongs to no option; null when there is none. Known after tokens().
    const char* left_over() const { return left_over_; }

    /// Has getopt_long say what is wrong with the token of this index.
    void complain_of_token(std::size_t index) {
        flush_output();
        begin();
        for (std::size_t i = 0; i < index; ++i) {
            next();
        }
        opterr = 1;
        if (!is_json()) {
            next();
            return;
        }
        // getopt_long writes to what `stderr` is, a variable in this C library.
        char* text = nullptr;
        std::size_t size = 0;
        std::FILE* real = std::exchange(stderr, open_memstream(&text, &size));
        next();
        std::fclose(std::exchange(stderr, real));
        std::string_view said(text, size);
        std::string program = fmt::format("{}: ", given_.front());
        complain_lines(said.starts_with(program) ? said.substr(program.size()) : said);
        std::free(text);
    }

    /// Values may be secrets, and this process may wait for long.
    void hide_values() {
        begin();
        for (int letter = next(); letter != -1; letter = next()) {
            if (letter == 'v' && optarg != nullptr) {
                hide_word(optarg);
            }
        }
    }

private:
    void begin() {
        // getopt_long sorts the words, and a word at the end could become the argument that was missing.
        words_ = given_;
        words_.push_back(nullptr);
        optind = 0;
        opterr = 0;
    }
    int next() {
        return getopt_long(static_cast<int>(given_.size()), words_.data(), letters_.c_str(), names_.data(),
                           nullptr);
    }

    std::vector<char*> given_;
    std::vector<char*> words_;
    std::string letters_;
    std::vector<option> names_;
    const char* left_over_ = nullptr;
};

void print_help() {
    say("iscsiadm -m discoverydb [-t type -p portal [-I iface]...] [-o op [-n name -v value]...] [-D [-l]] "
        "[-P 0|1]\n"
        "iscsiadm -m discovery [-t type -p portal [-I iface]...] [-o op]... [-D] [-l] [-P 0|1]\n"
        "iscsiadm -m discovery -t fw [-o op]... [-l] [-P 0|1]\n"
        "iscsiadm -m node [-T target] [-p portal] [-I iface] [-l [-W] | -u | -R | -s | -o op [-n name -v "
        "value]...]\n"
        "iscsiadm -m node -L all|manual|automatic|onboot [-W] | -U all|manual|automatic\n"
        "iscsiadm -m session [-r sid] [-u | -R | -s | -o op [-n name -v value]...] [-P 0..3] [-S]\n"
        "iscsiadm -m iface [-I iface [-o op [-n name -v value]...]] [-P 0|1]\n"
        "iscsiadm -m host [-H number] [-P 0..4]\n"
        "iscsiadm -m fw [-l [-W] [-n name -v value]...]\n"
        "iscsiadm doctor [-T target] [-p portal] [-I iface] [-l]\n"
        "iscsiadm top [-T target] [-p portal] [-I iface] [-r sid] [-i seconds] [-c count]\n"
        "iscsiadm monitor [-T target] [-p portal] [-I iface] [-r sid]\n"
        "iscsiadm -k 0\n\n");
    for (const OptionRow& row : option_rows) {
        say("  -{}, --{:<12} {}\n", static_cast<char>(row.letter), row.name, row.help);
    }
}

const OptionRow* row_of(int letter) {
    const auto* row = std::ranges::find(option_rows, letter, &OptionRow::letter);
    return row == option_rows.end() ? nullptr : row;
}

/// Reads the number at the start of `text` as atoi does: callers pass what is none.
int leading_number(const std::string& text) {
    return static_cast<int>(std::strtol(text.c_str(), nullptr, 10));
}

/// The level of -P; -1 is that of a command without it.
int print_level_of(const std::string& text) {
    int level = leading_number(text);
    return level == -1 ? 0 : level;
}

class Parser {
public:
    explicit Parser(Words words) : words_(std::move(words)), tokens_(words_.tokens()) {}

    Parsed run() {
        // What is wrong with the rest is told in the form that was asked for, too.
        if (std::ranges::find(tokens_, 'j', &Token::letter) != tokens_.end()) {
            begin_json();
        }
        for (std::size_t i = 0; i < tokens_.size(); ++i) {
            auto exit_code = take(tokens_[i]);
            if (exit_code) {
                return Parsed{{}, exit_code};
            }
            if (tokens_[i].letter == '?') {
                words_.complain_of_token(i);
                options_.refused = tokens_[i].refused;
            }
            take_value(tokens_[i]);
        }
        if (auto exit_code = check_left_over()) {
            return Parsed{{}, exit_code};
        }
        words_.hide_values();
        options_.half_value = name_.has_value() || value_.has_value();
        return Parsed{std::move(options_), std::nullopt};
    }

private:
    std::optional<int> take(const Token& token) {
        switch (token.letter) {
        case 'h':
            leave_json();
            print_help();
            return exit_ok;
        case 'V':
            leave_json();
            say("iscsiadm version {}\n", records::compat_version);
            return exit_ok;
        case 'm':
            return take_mode(token.argument);
        case 'o':
            return take_op(token.argument);
        case 't':
            take_type(token.argument);
            return std::nullopt;
        case 'I':
            return take_iface(token.argument);
        case 'r':
            return take_session(token.argument);
        default:
            take_flag(token.letter);
            return std::nullopt;
        }
    }

    void take_flag(int letter) {
        constexpr std::array<std::pair<int, bool Options::*>, 7> flags{{
            {'D', &Options::discover},
            {'l', &Options::login},
            {'u', &Options::logout},
            {'R', &Options::rescan},
            {'s', &Options::statistics},
            {'S', &Options::show_secrets},
            {'W', &Options::no_wait},
        }};
        for (const auto& [flag, member] : flags) {
            if (flag == letter) {
                options_.*member = true;
            }
        }
    }

    void take_value(const Token& token) {
        constexpr std::array<std::pair<int, std::optional<std::string> Options::*>, 10> texts{{
            {'T', &Options::target},
            {'p', &Options::portal},
            {'H', &Options::host},
            {'C', &Options::submode},
            {'a', &Options::ping_address},
            {'k', &Options::stop_priority},
            {'L', &Options::login_all},
            {'U', &Options::logout_all},
            {'i', &Options::interval},
            {'c', &Options::count},
        }};
        for (const auto& [letter, member] : texts) {
            if (letter == token.letter) {
                options_.*member = token.argument;
            }
        }
        switch (token.letter) {
        case 'P':
            options_.print_level = print_level_of(token.argument);
            options_.has_print_level = true;
            break;
        case 'd':
            options_.debug_level = leading_number(token.argument);
            break;
        case 'n':
            name_ = token.argument;
            break;
        case 'v':
            value_ = token.argument;
            break;
        default:
            break;
        }
        if (name_ && value_) {
            options_.values.emplace_back(std::move(*name_), std::move(*value_));
            name_.reset();
            value_.reset();
        }
    }

    std::optional<int> take_mode(const std::string& word) {
        const auto* row = std::ranges::find(mode_rows, word, &ModeRow::name);
        if (row == mode_rows.end()) {
            complain("mode -1 is not yet supported");
            return exit_of(base::Errc::invalid);
        }
        options_.mode = row->mode;
        return check_mode(*row);
    }

    /// Complains about the first option, before or behind, that `mode` does not take.
    std::optional<int> check_mode(const ModeRow& mode) {
        for (std::size_t i = 0; i < tokens_.size(); ++i) {
            const OptionRow* row = row_of(tokens_[i].letter);
            if (row != nullptr && row->modes.find(mode.letter) != std::string_view::npos) {
                continue;
            }
            if (row == nullptr) {
                words_.complain_of_token(i);
            }
            complain("{} mode: option '-{}' is not allowed/supported", mode.title,
                     static_cast<char>(tokens_[i].letter));
            return exit_of(base::Errc::invalid);
        }
        return std::nullopt;
    }

    /// open-iscsi's modes ignore such words. Ours would tell of all there is where a target was meant.
    std::optional<int> check_left_over() const {
        const auto* row = std::ranges::find(mode_rows, options_.mode, &ModeRow::mode);
        if (words_.left_over() == nullptr || row == mode_rows.end() || !has_word(bare_modes, row->name)) {
            return std::nullopt;
        }
        const std::string word = base::printable(words_.left_over(), 255);
        const bool is_address = word.find_first_not_of("0123456789.:[]") == std::string::npos;
        return refuse(fmt::format("{0} mode: '{1}' belongs to no option: did you mean '-{2} {1}'?",
                                  row->title, word, is_address ? 'p' : 'T'));
    }

    std::optional<int> take_iface(const std::string& name) {
        if (name.empty() || name.size() > base::limits::iface_name_bytes_max) {
            say("Invalid iface name {}. Must be from 1 to {} characters.\n", base::printable(name, 256),
                base::limits::iface_name_bytes_max);
            return exit_of(base::Errc::invalid);
        }
        options_.ifaces.push_back(name);
        return std::nullopt;
    }

    std::optional<int> take_session(const std::string& word) {
        auto sid = session_number(word);
        if (!sid) {
            return sid.error();
        }
        options_.session = *sid;
        return std::nullopt;
    }

    std::optional<int> take_op(const std::string& word) {
        const auto* row = std::ranges::find(op_rows, word, &decltype(op_rows)::value_type::first);
        if (row == op_rows.end()) {
            complain("can not recognize operation: '{}'", word);
            return exit_of(base::Errc::invalid);
        }
        options_.ops |= row->second;
        return std::nullopt;
    }

    void take_type(std::string_view word) {
        constexpr std::array<std::pair<std::string_view, DiscoveryType>, 5> types{{
            {"sendtargets", DiscoveryType::send_targets},
            {"st", DiscoveryType::send_targets},
            {"isns", DiscoveryType::isns},
            {"fw", DiscoveryType::fw},
            {"slp", DiscoveryType::slp},
        }};
        for (const auto& [name, type] : types) {
            if (name == word) {
                options_.type = type;
            }
        }
    }

    Words words_;
    std::vector<Token> tokens_;
    Options options_;
    std::optional<std::string> name_;
    std::optional<std::string> value_;
};

} // namespace

Parsed parse_options(int argc, char** argv) {
    return Parser(Words(argc, argv)).run();
}

std::string_view op_name(unsigned ops) {
    const auto* row = std::ranges::find_if(op_rows, [&](const auto& candidate) {
        return candidate.second != op_show && (ops & candidate.second) != 0;
    });
    return row == op_rows.end() ? "show" : row->first;
}

PortalOrExit portal_of(const Options& options) {
    if (!options.portal) {
        return {};
    }
    auto port = options.type == DiscoveryType::isns ? records::isns_port : records::iscsi_port;
    auto portal = records::parse_portal(*options.portal, port);
    if (!portal) {
        return PortalOrExit{std::nullopt, complain_of(portal.error())};
    }
    return PortalOrExit{std::move(*portal), std::nullopt};
}

} // namespace iscsi::adm
