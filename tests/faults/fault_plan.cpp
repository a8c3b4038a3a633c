#include "faults/fault_plan.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <map>
#include <sstream>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace iscsi::faults {
namespace {

constexpr std::uint8_t login_request = 0x03, login_response = 0x23;

using Words = std::map<std::string, std::string>;

/// "a b=c" as {a: "", b: c}
Words words_of(const std::string& text) {
    Words out;
    std::istringstream stream(text);
    for (std::string word; stream >> word;) {
        const std::size_t equals = word.find('=');
        out[word.substr(0, equals)] = equals == word.npos ? "" : word.substr(equals + 1);
    }
    return out;
}

std::optional<std::uint64_t> number(std::string_view text) {
    const bool hex = text.starts_with("0x");
    text.remove_prefix(hex ? 2 : 0);
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, hex ? 16 : 10);
    return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

/// Takes `name` out of `words`; `otherwise` when it is not there, nothing when it is no number.
std::optional<std::uint64_t> take_number(Words& words, const std::string& name, std::uint64_t otherwise) {
    const auto node = words.extract(name);
    return node.empty() ? std::optional(otherwise) : number(node.mapped());
}

template <class T>
std::optional<T> take_name(Words& words, const std::string& key, const std::map<std::string, T>& names,
                           T otherwise) {
    const auto node = words.extract(key);
    if (node.empty()) {
        return std::optional<T>(std::in_place, otherwise);
    }
    const auto found = names.find(node.mapped());
    return found == names.end() ? std::optional<T>() : std::optional<T>(std::in_place, found->second);
}

const std::map<std::string, Region> regions = {
    {"header", Region::header}, {"additional", Region::additional}, {"header_digest", Region::header_digest},
    {"data", Region::data},     {"padding", Region::padding},       {"data_digest", Region::data_digest}};
const std::map<std::string, Strike::Kind> kinds = {
    {"reset", Strike::Kind::reset}, {"truncate", Strike::Kind::truncate},   {"orphan", Strike::Kind::orphan},
    {"flip", Strike::Kind::flip},   {"duplicate", Strike::Kind::duplicate}, {"hold", Strike::Kind::hold},
    {"drop", Strike::Kind::drop}};
using MaybeWay = std::optional<Way>;
const std::map<std::string, MaybeWay> ways = {{"out", Way::out}, {"in", Way::in}, {"both", std::nullopt}};

/// "N" or "N..M"
std::optional<std::pair<std::uint64_t, std::uint64_t>> range(const std::string& text) {
    const std::size_t dots = text.find("..");
    const auto low = number(std::string_view(text).substr(0, dots));
    const auto high = dots == text.npos ? low : number(std::string_view(text).substr(dots + 2));
    if (!low || !high || *high < *low) {
        return std::nullopt;
    }
    return std::pair(*low, *high);
}

} // namespace

std::optional<std::string> FaultPlan::obey(const std::string& line) {
    const std::string verb = line.substr(0, line.find(' '));
    const std::string rest = line.substr(verb.size());
    if (verb == "clear") {
        modes_ = {};
        waiting_.clear();
        return std::nullopt;
    }
    return kinds.contains(verb) ? add_strike(verb, rest) : change_mode(verb, rest);
}

std::optional<std::string> FaultPlan::change_mode(const std::string& verb, const std::string& rest) {
    Words words = words_of(rest);
    const auto way = take_name(words, "way", ways, MaybeWay());
    const bool on = words.erase("off") == 0;
    const auto milliseconds = take_number(words, "ms", 1);
    const auto bytes = take_number(words, "bytes", 1);
    if (!way || !milliseconds || !bytes || !words.empty()) {
        return fmt::format("'{}{}' is not understood", verb, rest);
    }
    for (std::size_t at = 0; at < modes_.size(); ++at) {
        if (*way && static_cast<std::size_t>(**way) != at) {
            continue;
        }
        Mode& mode = modes_[at];
        if (verb == "delay") {
            mode.delay = std::chrono::milliseconds(on ? *milliseconds : 0);
        } else if (verb == "stall") {
            mode.stall = on;
        } else if (verb == "hole") {
            mode.hole = on;
        } else if (verb == "dribble") {
            mode.dribble = on ? *bytes : 0;
            mode.dribble_pause = std::chrono::milliseconds(*milliseconds);
        } else if (verb == "split") {
            mode.split = on ? *bytes : 0;
        } else {
            return fmt::format("there is no fault '{}'", verb);
        }
    }
    return std::nullopt;
}

std::optional<std::string> FaultPlan::add_strike(const std::string& verb, const std::string& rest) {
    Words words = words_of(rest);
    Strike strike;
    strike.kind = kinds.at(verb);
    const auto way = take_name(words, "way", ways, MaybeWay());
    const auto region = take_name(words, "region", regions, Region::data);
    strike.repeats = words.erase("repeat") > 0;
    const bool has_opcode = words.contains("opcode");
    const auto opcode = take_number(words, "opcode", 0);
    const auto milliseconds = take_number(words, "ms", 100);
    const auto after = words.extract("after");
    const auto range_of = range(after.empty() ? "0" : after.mapped());
    const auto bytes = take_number(words, "bytes", 1);
    if (!way || !region || !opcode || !milliseconds || !bytes || !range_of || !words.empty()) {
        return fmt::format("'{}{}' is not understood", verb, rest);
    }
    strike.way = strike.kind == Strike::Kind::orphan ? Way::out : *way;
    strike.region = *region;
    strike.opcode = has_opcode ? std::optional(static_cast<std::uint8_t>(*opcode)) : std::nullopt;
    strike.bytes = *bytes;
    strike.late = std::chrono::milliseconds(*milliseconds);
    std::tie(strike.after_min, strike.after_max) = *range_of;
    strike.left = strike.after_min + draw(strike.after_max - strike.after_min + 1);
    waiting_.push_back(strike);
    return std::nullopt;
}

bool FaultPlan::fits(const Strike& strike, Way way, Pdu& pdu) const {
    const bool is_login = pdu.opcode() == login_request || pdu.opcode() == login_response;
    const bool ends = strike.kind == Strike::Kind::reset || strike.kind == Strike::Kind::truncate;
    const bool wanted = strike.opcode ? *strike.opcode == pdu.opcode() : ends || !is_login;
    return wanted && (!strike.way || *strike.way == way) &&
           (strike.kind != Strike::Kind::flip || !pdu.region(strike.region).empty());
}

std::optional<Strike> FaultPlan::strike(Way way, Pdu& pdu) {
    std::optional<Strike> out;
    for (auto place = waiting_.begin(); place != waiting_.end();) {
        Strike& strike = *place;
        if (out || strike.left >= pdu.bytes.size() || !fits(strike, way, pdu)) {
            strike.left -= std::min<std::uint64_t>(strike.left, pdu.bytes.size());
            ++place;
            continue;
        }
        out = strike;
        ++strikes_;
        strike.left = strike.after_min + draw(strike.after_max - strike.after_min + 1);
        place = strike.repeats ? std::next(place) : waiting_.erase(place);
    }
    return out;
}

} // namespace iscsi::faults
