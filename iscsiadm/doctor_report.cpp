// What the steps come to: each is told as soon as it is known.
#include "base/text.hpp"
#include "doctor.hpp"
#include "json_output.hpp"
#include "messages.hpp"
#include "records/text.hpp"

#include <array>
#include <fmt/format.h>
#include <utility>

namespace iscsi::adm {
namespace {

using base::Errc;

constexpr std::array<std::string_view, 3> state_words{"ok", "wrong", "not seen"};

std::string place_of(const records::NodeId& node) {
    return fmt::format("{} at {}", base::printable(node.target, 255), records::address_port(node.portal));
}

} // namespace

Step step_ok(std::string_view name, std::string what) {
    return Step{name, Step::State::ok, std::move(what), {}, Errc::unknown};
}

Step step_wrong(std::string_view name, Errc code, std::string what, std::string advice) {
    return Step{name, Step::State::wrong, std::move(what), std::move(advice), code};
}

Step step_unseen(std::string_view name, std::string what, std::string advice) {
    return Step{name, Step::State::unseen, std::move(what), std::move(advice), Errc::unknown};
}

void DoctorReport::begin(const records::NodeId& node) {
    node_ = node;
    say("{} through {}\n", place_of(node), base::printable(node.iface, 64));
}

bool DoctorReport::add(const Step& step) {
    const std::string_view indent = node_ ? "  " : "";
    const auto state = state_words.at(static_cast<std::size_t>(step.state));
    const bool is_wrong = step.state == Step::State::wrong;
    say("{}{:<15} {:<9} {}\n", indent, step.name, is_wrong ? "WRONG" : state, step.what);
    if (!step.advice.empty()) {
        say("{}{:<15} {:<9} {}\n", indent, "", "try:", step.advice);
    }
    flush_output();
    ipc::Json entry = node_ ? json_of(*node_) : ipc::Json::object();
    entry["step"] = std::string(step.name);
    entry["state"] = std::string(state);
    entry["what"] = step.what;
    entry["try"] = step.advice;
    add_json("steps", std::move(entry));
    if (is_wrong && exit_code_ == exit_ok) {
        exit_code_ = exit_of(step.code);
    }
    return !is_wrong;
}

} // namespace iscsi::adm
