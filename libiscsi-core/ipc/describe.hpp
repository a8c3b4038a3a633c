// What every message looks like on the socket (see json.hpp), and the names of the messages. Private to the
// codec. Templates only; any thread.
#pragma once

#include "ipc/json.hpp"
#include "ipc/requests.hpp"

#include <concepts>
#include <string_view>
#include <type_traits>
#include <utility>

namespace iscsi::ipc {

template <>
inline constexpr auto last_of<ConnectionState> = ConnectionState::unknown;
template <>
inline constexpr auto last_of<SessionState> = SessionState::free;
template <>
inline constexpr auto last_of<InternalState> = InternalState::unknown;

template <class T, class Plain>
concept Of = std::same_as<std::remove_const_t<T>, Plain>;

template <class F, Of<PortalAddress> T>
void describe(F& member, T& portal) {
    member("address", portal.address);
    member("port", portal.port);
}

template <class F, Of<KindSnapshot> T>
void describe(F& member, T& kind) {
    member("requests", kind.requests);
    member("failures", kind.failures);
    member("bytes", kind.bytes);
    member("sum_us", kind.sum_us);
    member("latency_us", kind.latency_us);
}

template <class F, Of<IoSnapshot> T>
void describe(F& member, T& io) {
    member("read", io.read);
    member("write", io.write);
    member("other", io.other);
    member("in_hand", io.in_hand);
    member("waits", io.waits);
    member("waited_us", io.waited_us);
}

template <class F, Of<AttachedLun> T>
void describe(F& member, T& lun) {
    member("number", lun.number);
    member("state", lun.state);
    member("device", lun.device);
    member("uri", lun.uri);
    member("link", lun.link);
    member("size_bytes", lun.size_bytes);
    member("block_bytes", lun.block_bytes);
    member("vendor", lun.vendor);
    member("product", lun.product);
    member("serial", lun.serial);
    member.later("cache_losses", lun.cache_losses);
    member.rare("io", lun.io);
}

template <class F, Of<AbsentLun> T>
void describe(F& member, T& lun) {
    member("number", lun.number);
    member("why", lun.why);
}

template <class F, Of<InterfaceSnapshot> T>
void describe(F& member, T& iface) {
    member("name", iface.name);
    member("transport", iface.transport);
    member("initiator_name", iface.initiator_name);
    member("ip_address", iface.ip_address);
    member("hw_address", iface.hw_address);
    member("net_device", iface.net_device);
}

template <class F, Of<SessionTimeouts> T>
void describe(F& member, T& timeouts) {
    member("recovery_s", timeouts.recovery_s);
    member("target_reset_s", timeouts.target_reset_s);
    member("lun_reset_s", timeouts.lun_reset_s);
    member("abort_s", timeouts.abort_s);
}

template <class F, Of<ChapSnapshot> T>
void describe(F& member, T& chap) {
    member("username", chap.username);
    member("password", chap.password);
    member("username_in", chap.username_in);
    member("password_in", chap.password_in);
}

template <class F, Of<NegotiatedSnapshot> T>
void describe(F& member, T& negotiated) {
    member("header_digest", negotiated.header_digest);
    member("data_digest", negotiated.data_digest);
    member("max_recv_data_segment_length", negotiated.max_recv_data_segment_length);
    member("max_xmit_data_segment_length", negotiated.max_xmit_data_segment_length);
    member("first_burst_length", negotiated.first_burst_length);
    member("max_burst_length", negotiated.max_burst_length);
    member("max_outstanding_r2t", negotiated.max_outstanding_r2t);
    member("immediate_data", negotiated.immediate_data);
    member("initial_r2t", negotiated.initial_r2t);
}

template <class F, Of<base::SessionStatistics> T>
void describe(F& member, T& statistics) {
    for (const base::CounterRow& row : base::session_counters) {
        member(row.name, statistics.*row.value);
    }
}

template <class F, Of<QueueSnapshot> T>
void describe(F& member, T& queue) {
    member("number", queue.number);
    member("session_state", queue.session_state);
    member("recoveries", queue.recoveries);
    member("failed_recoveries", queue.failed_recoveries);
    member("down_s", queue.down_s);
    member("last_error", queue.last_error);
}

template <class F, Of<SessionSnapshot> T>
void describe(F& member, T& session) {
    member("sid", session.sid);
    member("host_number", session.host_number);
    member("target", session.target);
    member("tpgt", session.tpgt);
    member("current", session.current);
    member("persistent", session.persistent);
    member("iface", session.iface);
    member("connection_state", session.connection_state);
    member("session_state", session.session_state);
    member("internal_state", session.internal_state);
    member("timeouts", session.timeouts);
    member("chap", session.chap);
    member("negotiated", session.negotiated);
    member("statistics", session.statistics);
    member.later("recoveries", session.recoveries);
    member.later("failed_recoveries", session.failed_recoveries);
    member("luns", session.luns);
    member.later("absent", session.absent);
    member.later("authentication", session.authentication);
    member.later("age_s", session.age_s);
    member.later("down_s", session.down_s);
    member.later("last_error", session.last_error);
    member.rare("queues", session.queues);
}

template <class F, Of<FoundPortal> T>
void describe(F& member, T& found) {
    member("target", found.target);
    member("address", found.address);
    member("port", found.port);
    member("tpgt", found.tpgt);
    member("iface", found.iface);
}

template <class F, Of<Discover> T>
void describe(F& member, T& request) {
    member("discovery", request.discovery);
    member("ifaces", request.ifaces);
}

template <class F, Of<Login> T>
void describe(F& member, T& request) {
    member("node", request.node);
    member("multiple", request.multiple);
}

template <class F, Of<ListPlace> T>
void describe(F& member, T& place) {
    member("sid", place.sid);
    member.rare("lun", place.lun);
}

template <class F, Of<Sessions> T>
void describe(F& member, T& request) {
    member.later("with_io", request.with_io);
    member.rare("after", request.after);
}

template <class F, Of<Logout> T>
void describe(F& member, T& request) {
    member("sid", request.sid);
    member.later("only_if_unused", request.only_if_unused);
}

template <class F, Of<Rescan> T>
void describe(F& member, T& request) {
    member("sid", request.sid);
}

template <class F, class T>
requires Of<T, Stop> || Of<T, Info> || Of<T, Monitor> || Of<T, Done>
void describe(F&, T&) {}

template <class F, Of<DiscoverReply> T>
void describe(F& member, T& reply) {
    member("found", reply.found);
    member("rejected", reply.rejected);
}

template <class F, Of<LoginReply> T>
void describe(F& member, T& reply) {
    member("sid", reply.sid);
    member("luns", reply.luns);
    member("note", reply.note);
}

template <class F, Of<SessionsReply> T>
void describe(F& member, T& reply) {
    member("sessions", reply.sessions);
    member.rare("next", reply.next);
}

template <class F, Of<InfoReply> T>
void describe(F& member, T& reply) {
    member("version", reply.version);
    member("initiator_name", reply.initiator_name);
    member("initiator_alias", reply.initiator_alias);
    member("pid", reply.pid);
}

template <class F, Of<base::Error> T>
void describe(F& member, T& error) {
    member("errc", error.code);
    member("detail", error.detail);
    member.later("cause", error.cause);
}

template <class F, Of<ErrorReply> T>
void describe(F& member, T& reply) {
    member("error", reply.error);
}

template <class F, Of<EventReply> T>
void describe(F& member, T& event) {
    member("time_us", event.time_us);
    member("event", event.event);
    member("level", event.level);
    member("message", event.message);
    member("sid", event.sid);
    member("target", event.target);
    member("portal", event.portal);
    member("iface", event.iface);
    member("lun", event.lun);
    member("device", event.device);
    member("lost", event.lost);
}

// ---- the names on the socket ----

template <class T>
constexpr std::string_view name_of();

template <>
constexpr std::string_view name_of<Discover>() {
    return "discover";
}
template <>
constexpr std::string_view name_of<Login>() {
    return "login";
}
template <>
constexpr std::string_view name_of<Logout>() {
    return "logout";
}
template <>
constexpr std::string_view name_of<Sessions>() {
    return "sessions";
}
template <>
constexpr std::string_view name_of<Rescan>() {
    return "rescan";
}
template <>
constexpr std::string_view name_of<Stop>() {
    return "stop";
}
template <>
constexpr std::string_view name_of<Info>() {
    return "info";
}
template <>
constexpr std::string_view name_of<Monitor>() {
    return "monitor";
}
template <>
constexpr std::string_view name_of<DiscoverReply>() {
    return "discover";
}
template <>
constexpr std::string_view name_of<LoginReply>() {
    return "login";
}
template <>
constexpr std::string_view name_of<Done>() {
    return "done";
}
template <>
constexpr std::string_view name_of<SessionsReply>() {
    return "sessions";
}
template <>
constexpr std::string_view name_of<InfoReply>() {
    return "info";
}
template <>
constexpr std::string_view name_of<ErrorReply>() {
    return "error";
}
template <>
constexpr std::string_view name_of<EventReply>() {
    return "event";
}

} // namespace iscsi::ipc
