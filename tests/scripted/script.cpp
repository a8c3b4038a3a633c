#include "scripted/script.hpp"

#include <fmt/format.h>
#include <string>
#include <utility>

namespace iscsi::scripted {

bool Applicable::take(const Pdu& pdu) {
    if (left_ == 0 || !match_(pdu)) {
        return false;
    }
    if (skip_ > 0) {
        --skip_;
        return false;
    }
    --left_;
    return true;
}

Rule& Rule::reply(Pdu pdu) {
    return reply([answer = std::move(pdu)](const Pdu&) { return answer; });
}

SendRule& SendRule::set(const Field& field, std::uint64_t value) {
    return edit([field, value](Pdu& pdu) { pdu.set(field, value); });
}

std::string Expectation::complaint() const {
    std::string most = most_ == any ? "any number" : std::to_string(most_);
    return fmt::format("{} {}s came, {} to {} were expected{}", count_, match_.name(), least_, most,
                       why_.empty() ? "" : ": " + why_);
}

void Script::clear() {
    received_.clear();
    executing_.clear();
    sent_.clear();
}

void Script::look_at(const Pdu& pdu) {
    for (Expectation& expectation : expected_) {
        expectation.look_at(pdu);
    }
}

std::vector<std::string> Script::unmet() const {
    std::vector<std::string> all;
    for (const Expectation& expectation : expected_) {
        if (!expectation.is_met()) {
            all.push_back(expectation.complaint());
        }
    }
    return all;
}

} // namespace iscsi::scripted
