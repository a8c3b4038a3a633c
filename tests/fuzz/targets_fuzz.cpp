// A SendTargets answer, all the way to the record database. The first byte says whether it comes as text or
// as the PDUs of a discovery session, the second how it is cut and through how many interfaces it is brought
// in. The database lies below a root of its own: nothing is written outside of it, no name in it can break a
// line or a path, what was understood is what is stored, and no entry of an answer keeps the others from
// being stored.
#include "fuzz.hpp"

#include "ipc/requests.hpp"
#include "login/targets.hpp"
#include "login/text_exchange.hpp"
#include "records/store.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <random>
#include <string>
#include <system_error>

using namespace iscsi;
using iscsi::test::is_one_line;
using iscsi::test::require;
using iscsi::test::Script;

namespace {

namespace fs = std::filesystem;

/// Writing to a disk would take the time.
constexpr std::size_t stored_max = 4;

/// In memory where there is such a place: the store syncs every record.
class Place {
public:
    Place() {
        std::error_code none;
        outside_ = (fs::is_directory("/dev/shm", none) ? "/dev/shm" : "/tmp") + std::string("/fuzz.XXXXXX");
        require(::mkdtemp(outside_.data()) != nullptr);
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() {
        std::error_code ignored;
        fs::remove_all(outside_, ignored);
    }

    std::string root() const { return outside_ + "/a/root"; }

    void check() const {
        for (const char* level : {"", "/a"}) {
            auto entries = fs::directory_iterator(outside_ + level);
            require(std::distance(begin(entries), end(entries)) <= 1);
        }
        for (const auto& entry : fs::recursive_directory_iterator(outside_)) {
            std::string name = entry.path().filename();
            require(is_one_line(name) && name.size() <= 255);
            require(entry.is_symlink() || entry.is_directory() || entry.is_regular_file());
            require(!entry.is_symlink() || fs::canonical(entry.path()).string().starts_with(root() + "/"));
        }
    }
    void clear() const { fs::remove_all(outside_ + "/a"); }

private:
    std::string outside_;
};

/// The text that the PDUs carry, whether or not the exchange came to an end.
std::string text_of_pdus(std::string_view stream, unsigned seed) {
    std::minstd_rand random(seed);
    login::TextExchange exchange({});
    base::Bytes rest = base::bytes_of(stream);
    while (!rest.empty() && !exchange.finished()) {
        std::array<iovec, 4> slots{};
        for (const iovec& out : exchange.tx_spans(slots)) {
            exchange.tx_done(1 + random() % out.iov_len);
            break;
        }
        base::MutableBytes room = exchange.rx_spans().direct;
        require(!room.empty() && room.size() <= wire::ConnectionParameters().max_recv_data_segment_bytes);
        std::size_t most = std::min(room.size(), rest.size());
        std::size_t n = random() % 2 == 0 ? most : 1 + random() % most;
        std::copy_n(rest.begin(), n, room.begin());
        rest = rest.subspan(n);
        if (base::Result<void> taken = exchange.rx_done(n, {}); !taken) {
            require(is_one_line(taken.error().message()));
            break;
        }
    }
    return exchange.text();
}

/// As the daemon tells iscsiadm.
std::vector<ipc::FoundPortal> over_the_socket(base::DiscoveredTargets targets) {
    ipc::DiscoverReply reply;
    for (base::DiscoveredPortal& portal : targets.portals) {
        reply.found.push_back({portal.target_name, portal.address, portal.port, portal.tpgt, "default"});
    }
    reply.rejected = std::move(targets.rejected);
    for (const std::string& line : reply.rejected) {
        require(is_one_line(line));
    }
    std::string sent = ipc::encode(1, ipc::Reply(reply));
    require(sent.find('\n') == sent.size() - 1);
    auto received = ipc::decode_reply(std::string_view(sent).substr(0, sent.size() - 1));
    require(received.has_value());
    const auto* again = std::get_if<ipc::DiscoverReply>(&received->reply);
    require(again != nullptr && again->found == reply.found && again->rejected == reply.rejected);
    return again->found;
}

void store(const std::vector<ipc::FoundPortal>& found, const records::Store& store, bool two_ifaces) {
    records::DiscoveryUpdate update;
    update.source = {"192.0.2.1", 3260, 1};
    for (const ipc::FoundPortal& portal : found) {
        records::FoundPortal one{portal.target, {portal.address, portal.port, portal.tpgt}};
        require(is_one_line(one.target) && is_one_line(one.portal.address));
        if (update.found.size() < stored_max) {
            update.found.push_back(one);
        }
    }
    update.ifaces.push_back(*records::make_iface("default"));
    if (two_ifaces) {
        update.ifaces.push_back(*records::make_iface("second"));
    }
    records::Config config;
    require(store.apply_discovery(update, config).has_value());
    require(store.apply_discovery(update, config).has_value()); // once more finds everything there

    records::Warnings warnings;
    auto nodes = store.nodes({}, warnings);
    require(nodes && warnings.empty());
    require(nodes->empty() == update.found.empty() &&
            nodes->size() <= update.found.size() * update.ifaces.size());
    for (const records::Record& node : *nodes) {
        records::NodeId id = node_id(node);
        require(std::any_of(update.found.begin(), update.found.end(), [&](const records::FoundPortal& one) {
            return one.target == id.target && one.portal.address == id.portal.address &&
                   one.portal.port == id.portal.port;
        }));
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const Place place;
    Script script(data, size);
    bool pdus = (script.u8() & 1) != 0;
    unsigned how = script.u8();
    std::string text(script.rest());
    if (pdus) {
        text = text_of_pdus(text, how);
    }
    auto targets = login::parse_targets(text, {"192.0.2.1", 3260, -1});
    if (!targets) {
        require(is_one_line(targets.error().message()));
        return 0;
    }
    std::vector<ipc::FoundPortal> found = over_the_socket(std::move(*targets));
    if (!found.empty()) {
        records::Store database(records::Paths(place.root()), std::chrono::seconds(1));
        store(found, database, (how & 1) != 0);
        place.check();
        place.clear();
    }
    return 0;
}
