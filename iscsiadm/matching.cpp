#include "matching.hpp"

#include "base/names.hpp"
#include "base/text.hpp"
#include "messages.hpp"
#include "print.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
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
    return session.target == node.target &&
           base::is_same_host(session.persistent.address, node.portal.address) &&
           session.persistent.port == node.portal.port && session.iface.name == node.iface;
}

SessionsOfRecords::SessionsOfRecords(const std::vector<ipc::SessionSnapshot>& sessions) {
    for (const ipc::SessionSnapshot& session : sessions) {
        by_target_.emplace(session.target, &session);
    }
}

std::ptrdiff_t SessionsOfRecords::count(const records::NodeId& node) const {
    auto [first, last] = by_target_.equal_range(node.target);
    return std::count_if(first, last, [&](const auto& entry) { return runs_on(*entry.second, node); });
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
    struct Known {
        explicit Known(std::vector<ipc::SessionSnapshot> all) : sessions(std::move(all)), of(sessions) {}
        std::vector<ipc::SessionSnapshot> sessions;
        SessionsOfRecords of;
    };
    return [known = std::make_shared<const Known>(std::move(sessions))](const records::NodeId& node) {
        return known->of.count(node) != 0;
    };
}

base::Result<std::vector<records::Record>> read_nodes(const Context& context,
                                                      const records::NodeFilter& filter) {
    records::Warnings warnings;
    auto nodes = context.store.nodes(filter, warnings);
    complain_of(warnings);
    if (nodes) {
        std::ranges::for_each(*nodes, note_kept);
    }
    return nodes;
}

void complain_of(const records::Warnings& warnings) {
    for (const std::string& warning : warnings) {
        complain(warning);
    }
}

void note_all(const records::Warnings& warnings) {
    for (const std::string& warning : warnings) {
        note(warning);
    }
}

void note_kept(const records::Record& record) {
    bool is_node = record.kind() == records::RecordKind::node;
    for (const std::string& line : record.notes()) {
        note(is_node ? fmt::format("{}: {}", node_title(node_id(record)), line) : line);
    }
}

base::Result<records::Record> read_iface(const Context& context, const std::string& name) {
    records::Warnings warnings;
    auto iface = context.store.iface(name, warnings);
    complain_of(warnings);
    if (iface) {
        note_kept(*iface);
    }
    return iface;
}

void complain_of_iface(const std::string& name, const base::Error& error) {
    bool is_missing = error.code == base::Errc::invalid || error.detail.ends_with(std::strerror(ENOENT));
    if (!is_missing) {
        complain_lines(error.detail);
    }
    complain("Could not read iface info for {}.", base::printable(name));
}

void complain_of_use(const records::NodeId& node) {
    complain("This command will remove the record {}, but a session is using it. Logout session then rerun "
             "command to remove record.",
             node_title(node));
}

} // namespace iscsi::adm
