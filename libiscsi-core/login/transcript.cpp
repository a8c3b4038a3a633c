#include "login/transcript.hpp"

#include "base/limits.hpp"
#include "base/text.hpp"
#include "base/wiped.hpp"
#include "login/parameters.hpp"
#include "wire/describe.hpp"
#include "wire/keys.hpp"
#include "wire/opcode.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <utility>

namespace iscsi::login {
namespace {

/// Of a pair that is in parts: a name and the longest value that means anything.
constexpr std::size_t part_bytes_max = 64 + wire::value_bytes_max;
constexpr std::size_t value_bytes_shown = 200;
constexpr std::size_t half_max = Transcript::lines_max / 2;

/// Of the security stage, with the longest value that one of them has: who sends a challenge under the name
/// of an identifier is not to have it shown. (RFC 7143 section 12.1.3; a name may be as long as 255 bytes.)
struct HarmlessKey {
    std::string_view name;
    std::size_t value_bytes_max;
};
constexpr std::array harmless_keys{HarmlessKey{"AuthMethod", 32}, HarmlessKey{"CHAP_A", 16},
                                   HarmlessKey{"CHAP_I", 6}, HarmlessKey{"CHAP_N", 255}};

/// Answers that say nothing but themselves, whatever the key.
constexpr std::array<std::string_view, 6> verdicts{"NotUnderstood", "Reject", "Irrelevant",
                                                   "None",          "Yes",    "No"};

/// A target may write it in any case.
bool names_chap(std::string_view text, std::string_view word) {
    const auto same = [](char a, char b) { return (a >= 'a' && a <= 'z' ? a - 'a' + 'A' : a) == b; };
    return std::search(text.begin(), text.end(), word.begin(), word.end(), same) != text.end();
}

bool is_known(std::string_view name) {
    return find_login_key(name) != nullptr ||
           std::ranges::find(harmless_keys, name, &HarmlessKey::name) != harmless_keys.end();
}

/// A value without its NUL runs into the next pair: with one of CHAP it is none of ours to show.
bool may_show(std::string_view name, std::string_view value) {
    if (std::ranges::find(verdicts, value) != verdicts.end()) {
        return true;
    }
    if (!is_known(name) || names_chap(value, "CHAP_")) {
        return false;
    }
    const auto* row = std::ranges::find(harmless_keys, name, &HarmlessKey::name);
    return row == harmless_keys.end() || value.size() <= row->value_bytes_max;
}

/// The name of a key that is not known; what is no name, or has one of CHAP and more in it, may be a value.
std::string shown_name(std::string_view name) {
    constexpr std::size_t chap_name_bytes_max = 8; // "CHAP_R", and a blank on either side
    const bool is_short = name.size() <= chap_name_bytes_max;
    const bool of_chap = names_chap(name, "CHAP");
    if (is_known(name) || (of_chap ? is_short : wire::is_key_name(name))) {
        return base::printable(name, base::limits::key_name_bytes_max + 1);
    }
    return fmt::format("<a name of {} bytes>", name.size());
}

std::string not_shown(std::size_t bytes) {
    return fmt::format("<{} bytes, not shown>", bytes);
}

void add_flag(std::string& line, std::uint8_t flags, std::uint8_t flag, std::string_view name) {
    if ((flags & flag) != 0) {
        line += name;
    }
}

std::string stages(std::uint8_t flags) {
    std::string line = fmt::format("CSG={} ({})", static_cast<unsigned>(wire::current_stage(flags)),
                                   wire::text(wire::current_stage(flags)));
    if ((flags & wire::login_flag::transit) != 0) {
        line += fmt::format(" NSG={} ({})", static_cast<unsigned>(wire::next_stage(flags)),
                            wire::text(wire::next_stage(flags)));
    }
    add_flag(line, flags, wire::login_flag::transit, " T");
    add_flag(line, flags, wire::login_flag::continues, " C");
    return line;
}

std::string_view text(wire::LoginStatusClass status_class) {
    switch (status_class) {
    case wire::LoginStatusClass::success:
        return "success";
    case wire::LoginStatusClass::redirection:
        return "redirection";
    case wire::LoginStatusClass::initiator_error:
        return "initiator error";
    case wire::LoginStatusClass::target_error:
        return "target error";
    }
    return "reserved";
}

} // namespace

std::string shown_pair(std::string_view pair) {
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos) {
        return fmt::format("<{} bytes without '=', not shown>", pair.size());
    }
    const std::string_view name = pair.substr(0, equals);
    const std::string_view value = pair.substr(equals + 1);
    return fmt::format("{}={}", shown_name(name),
                       may_show(name, value) ? base::printable(value, value_bytes_shown)
                                             : not_shown(value.size()));
}

Transcript::~Transcript() {
    base::wipe(ours_.part);
    base::wipe(theirs_.part);
}

void Transcript::add(std::string line) {
    if (line.size() > line_bytes_max) {
        line.resize(line_bytes_max - 3);
        line += "...";
    }
    if (first_.size() < half_max) {
        first_.push_back(std::move(line));
        return;
    }
    last_.push_back(std::move(line));
    if (last_.size() > half_max) {
        last_.pop_front();
        ++left_out_;
    }
}

void Transcript::sent(const wire::Bhs& header, base::Bytes data) {
    const auto request = base::load<wire::LoginRequest>(base::bytes_of_object(header));
    add(fmt::format("> Login Request, {}, TSIH {}", stages(request.flags), request.tsih.get()));
    add_text(ours_, data, (request.flags & wire::login_flag::continues) != 0);
}

void Transcript::received(const wire::Bhs& header, base::Bytes data) {
    if (header.opcode() != wire::Opcode::login_response) {
        add("< " + wire::describe(header));
        return;
    }
    const auto response = base::load<wire::LoginResponse>(base::bytes_of_object(header));
    const auto status = static_cast<wire::LoginStatus>(response.status.get());
    std::string line = fmt::format("< Login Response, status {:04x}", response.status.get());
    if (status == wire::LoginStatus::success) {
        line += " (success)";
    } else {
        line += fmt::format(" ({}: {})", text(wire::status_class(status)), wire::text(status));
    }
    add(fmt::format("{}, {}, TSIH {}", line, stages(response.flags), response.tsih.get()));
    add_text(theirs_, data, (response.flags & wire::login_flag::continues) != 0);
}

void Transcript::add_text(Text& text, base::Bytes data, bool continues) {
    std::size_t keys = 0;
    text.part.reserve(part_bytes_max); // one that grows leaves copies behind
    for (std::string_view rest = base::text_of(data); !rest.empty();) {
        const std::size_t end = std::min(rest.find('\0'), rest.size());
        const std::size_t kept = std::min(end, part_bytes_max - text.part.size());
        text.part += rest.substr(0, kept);
        text.beyond += end - kept;
        if (end == rest.size()) {
            break;
        }
        end_pair(text, keys, true);
        rest.remove_prefix(end + 1);
    }
    if (!continues && !text.part.empty()) {
        end_pair(text, keys, false);
    }
    if (keys > keys_max) {
        add(fmt::format("    and {} more", keys - keys_max));
    }
}

void Transcript::end_pair(Text& text, std::size_t& keys, bool has_end) {
    // Targets pad with NULs.
    if (!text.part.empty() && ++keys <= keys_max) {
        std::string line = "    " + shown_pair(text.part);
        if (text.beyond != 0) {
            line = fmt::format("    a pair of {} bytes, not shown", text.part.size() + text.beyond);
        } else if (text.is_rest) {
            line = "    " + not_shown(text.part.size());
        }
        add(has_end ? std::move(line) : line + " (without a NUL behind it)");
    }
    base::wipe(text.part);
    text.beyond = 0;
    text.is_rest = !has_end;
}

std::vector<std::string> Transcript::lines() const {
    std::vector<std::string> all = first_;
    if (left_out_ != 0) {
        all.push_back(fmt::format("({} lines left out)", left_out_));
    }
    all.insert(all.end(), last_.begin(), last_.end());
    return all;
}

} // namespace iscsi::login
