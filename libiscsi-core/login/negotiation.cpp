#include "login/negotiation.hpp"

#include "base/check.hpp"
#include "base/limits.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <optional>
#include <type_traits>
#include <utility>

namespace iscsi::login {
namespace {

using base::Errc;
using base::Result;

/// Keys of which we understand nothing, in one login; each costs us an answer.
constexpr std::size_t unknown_keys_max = 128;

tl::unexpected<base::Error> broken(std::string_view key, std::string_view value, std::string_view why) {
    return base::fail(base::Error{
        Errc::protocol,
        fmt::format("the target sent {}={}: {}", base::printable(key, 64), base::printable(value, 80), why),
        base::Cause::key_unusable});
}

tl::unexpected<base::Error> digest_declined(std::string_view key) {
    return base::fail(base::Error{Errc::fatal_login,
                                  fmt::format("the target does not agree to {}=CRC32C", key),
                                  base::Cause::digest_declined});
}

bool is_reserved_answer(std::string_view value) {
    return value == "Reject" || value == "Irrelevant" || value == "NotUnderstood";
}

bool lists(std::string_view list, std::string_view member) {
    std::vector<std::string_view> members = base::split(list, ',');
    return std::find(members.begin(), members.end(), member) != members.end();
}

/// One value as a number: booleans 0 and 1, numbers within the key's range. Empty when it is none.
std::optional<std::uint32_t> parse_value(const LoginKey& key, std::string_view value) {
    if (key.type == KeyType::boolean) {
        if (value == "Yes" || value == "No") {
            return value == "Yes" ? 1 : 0;
        }
        return std::nullopt;
    }
    std::optional<std::uint64_t> number = base::parse_rfc_number(value, key.high);
    if (!number || *number < key.low) {
        return std::nullopt;
    }
    return static_cast<std::uint32_t>(*number);
}

std::string write_value(const LoginKey& key, std::uint32_t value) {
    if (key.type == KeyType::boolean) {
        return value != 0 ? "Yes" : "No";
    }
    return fmt::format("{}", value);
}

/// The result of the key's rule for two values (RFC 7143 section 6.2.2).
std::uint32_t combine(KeyRule rule, std::uint32_t a, std::uint32_t b) {
    bool smaller = rule == KeyRule::minimum || rule == KeyRule::logical_and;
    return smaller ? std::min(a, b) : std::max(a, b);
}

/// True when our offer decides the outcome whatever the target says, so that silence is no ambiguity.
bool is_forced(const LoginKey& key, std::uint32_t offer, std::string_view offer_text) {
    switch (key.rule) {
    case KeyRule::minimum:
    case KeyRule::logical_and:
        return offer == key.low;
    case KeyRule::maximum:
    case KeyRule::logical_or:
        return offer == key.high;
    case KeyRule::choose:
        return offer_text.find(',') == std::string_view::npos && offer_text == key.initial_text;
    case KeyRule::declare:
    case KeyRule::refuse:
        return true;
    }
    return true;
}

Result<void> check_digest_list(std::string_view name, std::string_view list) {
    constexpr std::array<std::string_view, 4> sayable{"None", "CRC32C", "CRC32C,None", "None,CRC32C"};
    if (std::find(sayable.begin(), sayable.end(), list) != sayable.end()) {
        return {};
    }
    return base::fail(Errc::invalid,
                      fmt::format("{}={}: must be None, CRC32C or both", name, base::printable(list, 80)));
}

Result<void> check_range(std::string_view name, std::uint32_t value) {
    const LoginKey* key = find_login_key(name);
    if (value >= key->low && value <= key->high) {
        return {};
    }
    return base::fail(Errc::invalid,
                      fmt::format("{}={}: must be {} to {}", name, value, key->low, key->high));
}

template <class... Members>
struct Overloaded : Members... {
    using Members::operator()...;
};
template <class... Members>
Overloaded(Members...) -> Overloaded<Members...>;

void store(Negotiated& out, const KeyMember& member, std::uint32_t value) {
    auto set = [value](auto& field) {
        using Field = std::remove_reference_t<decltype(field)>;
        if constexpr (std::is_same_v<Field, bool>) {
            field = value != 0;
        } else {
            field = static_cast<Field>(value);
        }
    };
    std::visit(Overloaded{
                   [](std::monostate) {},
                   [&](bool wire::ConnectionParameters::*at) { set(out.connection.*at); },
                   [&](std::uint32_t wire::ConnectionParameters::*at) { set(out.connection.*at); },
                   [&](auto at) { set(out.session.*at); },
               },
               member);
}

} // namespace

Result<void> check_offers(const Offers& offers) {
    struct Row {
        std::string_view name;
        std::uint32_t value;
    };
    const std::array<Row, 6> rows{{{"MaxBurstLength", offers.max_burst_bytes},
                                   {"FirstBurstLength", offers.first_burst_bytes},
                                   {"MaxRecvDataSegmentLength", offers.max_recv_data_segment_bytes},
                                   {"MaxOutstandingR2T", offers.max_outstanding_r2t},
                                   {"DefaultTime2Wait", offers.time2wait_s},
                                   {"DefaultTime2Retain", offers.time2retain_s}}};
    for (const Row& row : rows) {
        if (Result<void> in_range = check_range(row.name, row.value); !in_range) {
            return in_range;
        }
    }
    if (offers.first_burst_bytes > offers.max_burst_bytes) {
        return base::fail(Errc::invalid, fmt::format("FirstBurstLength={} is above MaxBurstLength={}",
                                                     offers.first_burst_bytes, offers.max_burst_bytes));
    }
    // The smallest segment a target can declare; a cap below it could not be kept.
    if (offers.max_xmit_data_segment_bytes != 0 && offers.max_xmit_data_segment_bytes < 512) {
        return base::fail(Errc::invalid, "the cap on sent data segments must be at least 512");
    }
    if (Result<void> header = check_digest_list("HeaderDigest", offers.header_digest); !header) {
        return header;
    }
    return check_digest_list("DataDigest", offers.data_digest);
}

Negotiation::Negotiation(Offers offers, bool discovery)
    : offers_(std::move(offers)), discovery_(discovery), states_(login_keys().size()) {
    prepare_list("HeaderDigest", offers_.header_digest);
    prepare_list("DataDigest", offers_.data_digest);
    prepare("MaxRecvDataSegmentLength", offers_.max_recv_data_segment_bytes);
    prepare("DefaultTime2Wait", offers_.time2wait_s);
    prepare("DefaultTime2Retain", offers_.time2retain_s);
    prepare("ErrorRecoveryLevel", 0);
    prepare("InitialR2T", offers_.initial_r2t ? 1 : 0);
    prepare("ImmediateData", offers_.immediate_data ? 1 : 0);
    prepare("MaxBurstLength", offers_.max_burst_bytes);
    prepare("FirstBurstLength", offers_.first_burst_bytes);
    prepare("MaxOutstandingR2T", offers_.max_outstanding_r2t);
    prepare("MaxConnections", 1);
    prepare("DataPDUInOrder", 1);
    prepare("DataSequenceInOrder", 1);
}

Negotiation::State& Negotiation::state_of(std::string_view name) {
    const LoginKey* key = find_login_key(name);
    base::check(key != nullptr, "a key is missing from the table");
    return states_[static_cast<std::size_t>(key - login_keys().data())];
}

const Negotiation::State& Negotiation::state_of(std::string_view name) const {
    return const_cast<Negotiation*>(this)->state_of(name);
}

void Negotiation::prepare(std::string_view name, std::uint32_t value) {
    const LoginKey& key = *find_login_key(name);
    if (discovery_ && !key.in_discovery) {
        return;
    }
    State& state = state_of(name);
    state.offer = value;
    state.offer_text = write_value(key, value);
}

void Negotiation::prepare_list(std::string_view name, const std::string& list) {
    state_of(name).offer_text = list;
}

Result<void> Negotiation::write_offers(wire::KeyWriter& out) {
    for (std::size_t i = 0; i < states_.size(); ++i) {
        State& state = states_[i];
        if (state.offer_text.empty()) {
            continue;
        }
        state.offered = true;
        if (Result<void> added = out.add(login_keys()[i].name, std::string_view(state.offer_text)); !added) {
            return added;
        }
    }
    return {};
}

Result<void> Negotiation::on_key(wire::KeyValue pair, wire::LoginStage stage, wire::KeyWriter& out) {
    const LoginKey* key = find_login_key(pair.key);
    if (key == nullptr) {
        return on_unknown(pair, out);
    }
    if (pair.value.size() > wire::simple_value_bytes_max + 64) { // a host name with port and portal group
        return broken(pair.key, pair.value, "the value is too long");
    }
    if (key->sender == KeySender::initiator) {
        return broken(pair.key, pair.value, "only an initiator may send it");
    }
    if (key->stage == KeyStage::operational && stage != wire::LoginStage::operational) {
        return broken(pair.key, pair.value, "not in this stage");
    }
    State& state = state_of(pair.key);
    if (state.received && key->name != "TargetAddress") {
        return broken(pair.key, pair.value, "for the second time");
    }
    state.received = true;
    if (key->rule == KeyRule::declare) {
        return on_declaration(*key, state, pair.value);
    }
    return state.offered ? on_answer(*key, state, pair.value) : on_proposal(*key, state, pair.value, out);
}

Result<void> Negotiation::on_unknown(wire::KeyValue pair, wire::KeyWriter& out) {
    if (is_reserved_answer(pair.value)) {
        return broken(pair.key, pair.value, "an answer to nothing");
    }
    if (std::find(unknown_.begin(), unknown_.end(), pair.key) != unknown_.end()) {
        return broken(pair.key, pair.value, "for the second time");
    }
    if (unknown_.size() == unknown_keys_max) {
        return broken(pair.key, pair.value, "too many unknown keys");
    }
    unknown_.emplace_back(pair.key);
    return out.add(pair.key, "NotUnderstood");
}

Result<void> Negotiation::on_declaration(const LoginKey& key, State& state, std::string_view value) {
    if (key.name == "TargetAlias") {
        target_alias_ = value;
        return {};
    }
    if (key.type == KeyType::text) {
        return {};
    }
    std::optional<std::uint32_t> number = parse_value(key, value);
    if (!number) {
        return broken(key.name, value, fmt::format("not a number from {} to {}", key.low, key.high));
    }
    state.value = *number;
    state.valued = true;
    if (key.name == "TargetPortalGroupTag") {
        tpgt_ = static_cast<std::int32_t>(*number);
    }
    return {};
}

Result<void> Negotiation::on_answer(const LoginKey& key, State& state, std::string_view value) {
    if (value == "Reject" || value == "Irrelevant") {
        return {};
    }
    if (key.rule == KeyRule::choose) {
        if (value == "None" && state.offer_text == "CRC32C") {
            return digest_declined(key.name);
        }
        if (value.find(',') != std::string_view::npos || !lists(state.offer_text, value)) {
            return broken(key.name, value, fmt::format("{} was offered", state.offer_text));
        }
        state.value = value == "CRC32C" ? 1 : 0;
        state.valued = true;
        return {};
    }
    std::optional<std::uint32_t> answer = parse_value(key, value);
    if (!answer) {
        return broken(key.name, value,
                      key.type == KeyType::boolean
                          ? "neither Yes nor No"
                          : fmt::format("not a number from {} to {}", key.low, key.high));
    }
    if (combine(key.rule, state.offer, *answer) != *answer) {
        return broken(key.name, value, fmt::format("no possible answer to {}", state.offer_text));
    }
    state.value = *answer;
    state.valued = true;
    return {};
}

Result<void> Negotiation::on_proposal(const LoginKey& key, State& state, std::string_view value,
                                      wire::KeyWriter& out) {
    if (is_reserved_answer(value)) {
        return broken(key.name, value, "an answer to nothing");
    }
    if (key.rule == KeyRule::refuse) {
        // "No" is the outcome already and needs no answer (RFC 7143 section 6.2.2).
        return value == "No" ? Result<void>{} : out.add(key.name, "Reject");
    }
    if (discovery_ && !key.in_discovery) {
        return out.add(key.name, "Irrelevant");
    }
    if (key.rule == KeyRule::choose) {
        return out.add(key.name, lists(value, key.initial_text) ? key.initial_text : "Reject");
    }
    std::optional<std::uint32_t> proposal = parse_value(key, value);
    if (!proposal) {
        return broken(key.name, value, "not a legal value");
    }
    state.value = combine(key.rule, key.initial, *proposal);
    state.valued = true;
    bool decided = key.type == KeyType::boolean && is_forced(key, *proposal, {});
    return decided ? Result<void>{} : out.add(key.name, std::string_view(write_value(key, state.value)));
}

std::string Negotiation::missing_answers() const {
    std::string missing;
    for (std::size_t i = 0; i < states_.size(); ++i) {
        const LoginKey& key = login_keys()[i];
        const State& state = states_[i];
        if (state.offered && !state.received && !is_forced(key, state.offer, state.offer_text)) {
            missing += missing.empty() ? "" : ", ";
            missing += key.name;
        }
    }
    return missing;
}

Result<void> Negotiation::check_digests() const {
    for (std::string_view name : {std::string_view("HeaderDigest"), std::string_view("DataDigest")}) {
        const State& state = state_of(name);
        if (state.offer_text == "CRC32C" && !(state.valued && state.value == 1)) {
            return digest_declined(name);
        }
    }
    return {};
}

// Where the target gave no value for one of the two, the default of the one must not exceed the other.
void Negotiation::settle_bursts(wire::SessionParameters& session) const {
    if (!state_of("FirstBurstLength").valued || !state_of("MaxBurstLength").valued) {
        session.first_burst_bytes = std::min(session.first_burst_bytes, session.max_burst_bytes);
    }
}

Result<Negotiated> Negotiation::finish() const {
    if (std::string missing = missing_answers(); !missing.empty()) {
        return base::fail(Errc::protocol, fmt::format("the target did not answer {}", missing));
    }
    if (Result<void> digests = check_digests(); !digests) {
        return base::fail(digests.error());
    }
    Negotiated result;
    for (std::size_t i = 0; i < states_.size(); ++i) {
        const LoginKey& key = login_keys()[i];
        const State& state = states_[i];
        if (state.valued) {
            store(result, key.member, state.value);
        } else if (state.offered && !state.received && key.rule != KeyRule::declare) {
            store(result, key.member, state.offer); // forced
        }
    }
    settle_bursts(result.session);
    bool bursts_matter = !result.session.initial_r2t || result.session.immediate_data;
    if (bursts_matter && result.session.first_burst_bytes > result.session.max_burst_bytes) {
        return base::fail(Errc::protocol,
                          fmt::format("FirstBurstLength={} is above MaxBurstLength={}",
                                      result.session.first_burst_bytes, result.session.max_burst_bytes));
    }
    result.connection.max_recv_data_segment_bytes = offers_.max_recv_data_segment_bytes;
    if (offers_.max_xmit_data_segment_bytes != 0) {
        result.connection.max_xmit_data_segment_bytes =
            std::min(result.connection.max_xmit_data_segment_bytes, offers_.max_xmit_data_segment_bytes);
    }
    return result;
}

} // namespace iscsi::login
