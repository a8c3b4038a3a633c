#include "control/state_text.hpp"

#include "base/bytes.hpp"
#include "base/crc32c.hpp"
#include "base/limits.hpp"
#include "base/names.hpp"
#include "ipc/json.hpp"
#include "scsi/cdb.hpp"
#include "scsi/describe.hpp"

#include <array>
#include <bit>
#include <concepts>
#include <fmt/format.h>
#include <set>
#include <type_traits>
#include <utility>

namespace iscsi::control {

template <class T, class Plain>
concept Stored = std::same_as<std::remove_const_t<T>, Plain>;

/// By number of block::Backend.
constexpr std::array<std::string_view, 3> backend_words{"ublk", "nbd", "socket"};

template <class F, Stored<UnitState> T>
void describe(F& member, T& unit) {
    member("facts", unit.facts);
    member.word("backend", unit.backend, backend_words);
    member.hex("cookie", unit.cookie, 16);
    member("shown_cache", unit.shown_cache);
}

template <class F, Stored<ReinstatedAt> T>
void describe(F& member, T& place) {
    member("address", place.address);
    member("port", place.port);
    member("portal_group", place.portal_group);
}

template <class F, Stored<CompanionState> T>
void describe(F& member, T& companion) {
    member.hex("isid", companion.isid, 12);
    member("down_since_ns", companion.down_since);
    member("portal_group", companion.portal_group);
    member("time2wait_s", companion.time2wait_s);
    member("time2retain_s", companion.time2retain_s);
    member("reinstated_at", companion.reinstated_at);
}

template <class F, Stored<SessionState> T>
void describe(F& member, T& state) {
    member("sid", state.sid);
    member("node", state.node);
    member.hex("isid", state.isid, 12);
    member("initiator_name", state.initiator_name);
    member("down_since_ns", state.down_since);
    member.later("logged_in_at_ns", state.logged_in_at);
    member.later("portal_group", state.portal_group);
    member.later("time2wait_s", state.time2wait_s);
    member.later("time2retain_s", state.time2retain_s);
    member.later("reinstated_at", state.reinstated_at);
    member("logging_in", state.logging_in);
    member("ending", state.ending);
    member("units", state.units);
    member.rare("companions", state.companions);
}

namespace {

using base::Errc;
using base::fail;
using base::Result;

constexpr std::uint64_t isid_max = 0xffffffffffffU;
constexpr std::uint32_t block_bytes_min = 512;
constexpr std::uint32_t block_bytes_max = 65536;

std::string checksum(const std::string& session) {
    return ipc::hex_text(base::crc32c(base::bytes_of(session)), 8);
}

bool is_block_size(std::uint32_t bytes, std::uint32_t least) {
    return std::has_single_bit(bytes) && bytes >= least && bytes <= block_bytes_max;
}

/// What the readers of a target's answers promise, and the rest of the daemon builds on.
bool can_be_a_disk(const scsi::LunFacts& facts) {
    return scsi::is_disk(facts) && is_block_size(facts.block_bytes, block_bytes_min) &&
           is_block_size(facts.physical_block_bytes, facts.block_bytes) &&
           facts.blocks.value() <= static_cast<std::uint64_t>(INT64_MAX) / facts.block_bytes &&
           facts.limits.max_unmap_descriptors <= scsi::unmap_ranges_max;
}

Result<void> check_units(const std::vector<UnitState>& units) {
    std::set<std::uint64_t> cookies;
    for (const UnitState& unit : units) {
        if (!can_be_a_disk(unit.facts)) {
            return fail(Errc::invalid, fmt::format("unit {:016x} is no disk", unit.facts.lun.value()));
        }
        if (unit.cookie == 0 || !cookies.insert(unit.cookie).second) {
            return fail(Errc::invalid,
                        fmt::format("unit {:016x} has no device of its own", unit.facts.lun.value()));
        }
    }
    return {};
}

Result<void> check_companions(const SessionState& state) {
    std::set<std::uint64_t> isids{state.isid.value()};
    for (const CompanionState& companion : state.companions) {
        const bool is_below_zero = companion.down_since && *companion.down_since < base::Duration::zero();
        if (companion.isid.value() > isid_max || is_below_zero ||
            !isids.insert(companion.isid.value()).second) {
            return fail(Errc::invalid, "a companion has no isid of its own, or a time that is out of range");
        }
    }
    if (isids.size() > base::limits::queues_max) {
        return fail(Errc::invalid, "there are too many companions");
    }
    return {};
}

/// Over what was understood, not over its spelling, where that is not ours.
bool has_checksum(const ipc::JsonValue& session, const std::string& crc) {
    const std::string spelling(session.spelling());
    return checksum(spelling) == crc ||
           checksum(ipc::text_of(ipc::Json::parse(spelling, nullptr, false))) == crc;
}

/// The "session" member, when its checksum and the version are right.
Result<ipc::JsonValue> open_envelope(const ipc::JsonValue& file) {
    std::uint64_t version = 0;
    std::string crc;
    ipc::JsonReader reader(file);
    reader("v", version);
    if (reader.error().empty() && version != state_version) {
        return fail(version > state_version ? Errc::not_supported : Errc::invalid,
                    fmt::format("it is of version {}; this iscsid reads version {}", version, state_version));
    }
    reader("crc32c", crc);
    if (!reader.error().empty()) {
        return fail(Errc::invalid, reader.error());
    }
    const ipc::JsonValue session = file.find("session");
    if (!session || !session.is_object() || !has_checksum(session, crc)) {
        return fail(Errc::invalid, "it is damaged: the checksum is another one");
    }
    return session;
}

} // namespace

Result<void> check_state(const SessionState& state) {
    if (state.sid == 0 || state.isid.value() > isid_max) {
        return fail(Errc::invalid, "sid or isid is out of range");
    }
    if (state.node.kind() != records::RecordKind::node) {
        return fail(Errc::invalid, "the record is not a node record");
    }
    if (auto named = records::check_node_id(records::node_id(state.node)); !named) {
        return named;
    }
    if (state.down_since && *state.down_since < base::Duration::zero()) {
        return fail(Errc::invalid, "down_since_ns is out of range");
    }
    if (state.logged_in_at && *state.logged_in_at < base::Duration::zero()) {
        return fail(Errc::invalid, "logged_in_at_ns is out of range");
    }
    if (!state.initiator_name.empty()) {
        if (auto named = base::check_iscsi_name(state.initiator_name); !named) {
            return named;
        }
    }
    if (auto companions = check_companions(state); !companions) {
        return companions;
    }
    return check_units(state.units);
}

std::string state_text(const SessionState& state) {
    ipc::JsonWriter writer;
    describe(writer, state);
    const std::string session = writer.text();
    return fmt::format("{{\"v\":{},\"crc32c\":\"{}\",\"session\":{}}}\n", state_version, checksum(session),
                       session);
}

Result<SessionState> parse_state(std::string_view text) {
    if (!text.ends_with('\n')) {
        return fail(Errc::invalid, "it ends too early");
    }
    auto file = ipc::parse_object(text, base::limits::state_file_bytes_max);
    if (!file) {
        return fail(std::move(file.error()));
    }
    auto session = open_envelope(file->root());
    if (!session) {
        return fail(std::move(session.error()));
    }
    SessionState state;
    ipc::JsonReader reader(*session);
    describe(reader, state);
    if (!reader.error().empty()) {
        return fail(Errc::invalid, reader.error());
    }
    if (auto checked = check_state(state); !checked) {
        return fail(std::move(checked.error()));
    }
    return state;
}

} // namespace iscsi::control
