#include "matching.hpp"

#include "messages.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <netdb.h>
#include <sys/socket.h>

namespace iscsi::adm {
namespace {

/// The first address of `host` in numbers; `host` itself when there is none.
std::string resolve(const std::string& host) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) {
        return host;
    }
    std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
    std::array<char, NI_MAXHOST> text{};
    int failed =
        getnameinfo(found->ai_addr, found->ai_addrlen, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST);
    return failed != 0 ? host : std::string(text.data());
}

/// Compares hosts and asks the resolver for each name once.
class HostComparison {
public:
    bool operator()(std::string_view a, std::string_view b) {
        return a == b || numeric(std::string(a)) == numeric(std::string(b));
    }

private:
    const std::string& numeric(const std::string& host) {
        auto known = known_.find(host);
        if (known == known_.end()) {
            known = known_.emplace(host, resolve(host)).first;
        }
        return known->second;
    }

    std::map<std::string, std::string> known_;
};

} // namespace

records::NodeFilter filter_of(const Context& context) {
    records::NodeFilter filter;
    filter.target = context.options.target;
    filter.portal = context.portal;
    if (!context.options.ifaces.empty()) {
        filter.iface = context.options.ifaces.front();
    }
    filter.same_host = [comparison = std::make_shared<HostComparison>()](
                           std::string_view a, std::string_view b) { return (*comparison)(a, b); };
    return filter;
}

records::NodeId node_id_of(const ipc::SessionSnapshot& session) {
    return records::NodeId{
        session.target,
        records::Portal{session.persistent.address, session.persistent.port, session.tpgt},
        session.iface.name,
    };
}

bool runs_on(const ipc::SessionSnapshot& session, const records::NodeId& node) {
    // The group tag may be unknown to the record and known to the session.
    return session.target == node.target && session.persistent.address == node.portal.address &&
           session.persistent.port == node.portal.port && session.iface.name == node.iface;
}

std::vector<ipc::SessionSnapshot> matching_sessions(const std::vector<ipc::SessionSnapshot>& sessions,
                                                    const records::NodeFilter& filter) {
    std::vector<ipc::SessionSnapshot> matching;
    std::ranges::copy_if(sessions, std::back_inserter(matching), [&](const ipc::SessionSnapshot& session) {
        return filter.matches(node_id_of(session));
    });
    return matching;
}

records::InUse in_use_of(std::vector<ipc::SessionSnapshot> sessions) {
    return [sessions = std::move(sessions)](const records::NodeId& node) {
        return std::ranges::any_of(
            sessions, [&](const ipc::SessionSnapshot& session) { return runs_on(session, node); });
    };
}

base::Result<std::vector<records::Record>> read_nodes(const Context& context,
                                                      const records::NodeFilter& filter) {
    records::Warnings warnings;
    auto nodes = context.store.nodes(filter, warnings);
    complain_of(warnings);
    return nodes;
}

void complain_of(const records::Warnings& warnings) {
    for (const std::string& warning : warnings) {
        complain(warning);
    }
}

} // namespace iscsi::adm
