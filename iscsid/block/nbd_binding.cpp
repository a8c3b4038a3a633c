#include "block/nbd_binding.hpp"

#include "base/text.hpp"
#include "block/nbd_netlink.hpp"
#include "block/nbd_netlink_abi.hpp"
#include "block/nbd_resize.hpp"
#include "block/nbd_rules.hpp"
#include "block/sysfs.hpp"
#include "block/udev.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <mutex>
#include <poll.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace iscsi::block {
namespace {

using namespace std::chrono_literals;

constexpr const char* devices_dir = "/sys/block";
constexpr std::string_view name_prefix = "nbd";
constexpr std::string_view backend_prefix = "iscsid-";

/// Of the socket pair; what does not fit makes the kernel's sender, and each of our sends, go in steps.
constexpr int socket_buffer_bytes = 4 << 20;
/// The driver has no more tags.
constexpr unsigned depth_max = 128;
/// Linux 6.1 would cut at 128 KiB.
constexpr std::uint32_t request_kib_max = 1024;

constexpr int busy_indexes_max = 64;
constexpr int made_and_busy_max = 20;
constexpr auto busy_pause = 10ms;
/// A daemon that was killed leaves its sockets to the kernel's clean-up of its rings.
constexpr auto dead_socket_time_max = 10s;
constexpr auto dead_socket_step = 100ms;

/// Held from the choice of a name until a device has it: those that are made at the same time would all try
/// the same, and the kernel logs each refusal.
std::mutex names_mutex;

std::string device_name(std::uint32_t index) {
    return fmt::format("{}{}", name_prefix, index);
}

bool has_attribute(const std::string& name, const char* attribute) {
    return ::access(fmt::format("{}/{}/{}", devices_dir, name, attribute).c_str(), F_OK) == 0;
}

/// The backend identifier of a connected device; "" of others.
base::Result<std::string> backend_of(const std::string& name) {
    auto read = read_attribute(fmt::format("{}/{}/backend", devices_dir, name));
    if (!read) {
        return base::fail(std::move(read.error()));
    }
    return read->value_or("");
}

/// An nbd device that there is, connected or not.
struct Present {
    std::uint32_t index = 0;
    base::Result<std::string> backend;
};

base::Result<std::vector<Present>> all_devices() {
    auto numbers = device_numbers(devices_dir, name_prefix);
    if (!numbers) {
        return base::fail(std::move(numbers.error()));
    }
    std::vector<Present> all;
    for (const std::uint32_t index : *numbers) {
        all.push_back({index, backend_of(device_name(index))});
    }
    return all;
}

/// The lowest index, `from` or above, without a device. Devices that are merely not connected are somebody's
/// too: programs that connect in another way were told of /dev/nbd0, and must find it there afterwards.
std::uint32_t unused_index(std::uint32_t from) {
    while (::access(fmt::format("{}/{}", devices_dir, device_name(from)).c_str(), F_OK) == 0) {
        ++from;
    }
    return from;
}

void widen(int fd) {
    for (const int option : {SO_SNDBUFFORCE, SO_RCVBUFFORCE}) {
        ::setsockopt(fd, SOL_SOCKET, option, &socket_buffer_bytes, sizeof socket_buffer_bytes);
    }
}

/// A connected pair of sockets; closes what was not taken.
class SocketPair {
public:
    static base::Result<SocketPair> make() {
        SocketPair pair;
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.ends_) != 0) {
            return base::fail(base::Errc::internal, fmt::format("socketpair: {}", std::strerror(errno)));
        }
        widen(pair.ends_[0]);
        widen(pair.ends_[1]);
        return pair;
    }
    SocketPair(SocketPair&& other) noexcept { std::swap(ends_, other.ends_); }
    SocketPair& operator=(SocketPair&&) = delete;
    ~SocketPair() {
        for (const int fd : ends_) {
            if (fd >= 0) {
                ::close(fd);
            }
        }
    }

    int kernels() const { return ends_[0]; }
    int take_ours() { return std::exchange(ends_[1], -1); }
    /// Closes our descriptor of the kernel's end. False when the kernel has none of its own.
    bool leave_to_kernel() {
        ::close(std::exchange(ends_[0], -1));
        pollfd ours{ends_[1], POLLRDHUP, 0};
        return ::poll(&ours, 1, 0) == 0;
    }

private:
    SocketPair() = default;
    int ends_[2] = {-1, -1};
};

std::uint16_t server_flags(const Attributes& attributes) {
    std::uint16_t flags = nbd::transmission_flags(attributes, false);
    if (!attributes.volatile_cache) {
        // What is written is safe: the kernel need not ask for flushes.
        flags = static_cast<std::uint16_t>(flags & ~(nbd::send_flush | nbd::send_fua));
    }
    return flags;
}

} // namespace

NbdBinding::NbdBinding(const KernelDeviceRequest& request)
    : request_(request), backend_(fmt::format("{}{:016x}", backend_prefix, request.cookie)) {}

NbdBinding::~NbdBinding() {
    if (our_end_ >= 0) {
        ::close(our_end_);
    }
}

std::vector<std::uint64_t> NbdBinding::cookies_of_all() {
    std::vector<std::uint64_t> cookies;
    const auto all = all_devices();
    for (const Present& present : all ? *all : std::vector<Present>()) {
        const std::string text = present.backend.value_or("");
        std::uint64_t cookie = 0;
        if (!text.starts_with(backend_prefix)) {
            continue;
        }
        const auto parsed =
            std::from_chars(text.data() + backend_prefix.size(), text.data() + text.size(), cookie, 16);
        if (parsed.ec == std::errc() && parsed.ptr == text.data() + text.size()) {
            cookies.push_back(cookie);
        }
    }
    return cookies;
}

base::Result<void> NbdBinding::find() {
    auto all = all_devices();
    if (!all) {
        return base::fail(std::move(all.error()));
    }
    base::Error error{base::Errc::not_found, "no nbd device with this cookie"};
    for (Present& present : *all) {
        if (!present.backend) {
            error = std::move(present.backend.error());
        } else if (*present.backend == backend_) {
            set_index(present.index);
            return {};
        }
    }
    return base::fail(std::move(error));
}

base::Result<bool> NbdBinding::is_ours() const {
    if (!index_) {
        return false;
    }
    auto backend = backend_of(name_);
    if (!backend) {
        return base::fail(std::move(backend.error()));
    }
    return *backend == backend_;
}

int NbdBinding::take_socket() {
    return std::exchange(our_end_, -1);
}

base::Result<void> NbdBinding::connect(std::uint32_t lowest_index) {
    const std::lock_guard lock(names_mutex);
    std::uint32_t index = lowest_index;
    base::Result<void> connected;
    for (int attempt = 0; attempt < busy_indexes_max; ++attempt) {
        index = unused_index(index);
        if (index > nbd_netlink::index_max) {
            return base::fail(base::Errc::busy, "nbd: there are no more device numbers");
        }
        connected = connect_one(index);
        // invalid: the device with that index is just going away.
        if (connected ||
            (connected.error().code != base::Errc::busy && connected.error().code != base::Errc::invalid)) {
            return connected;
        }
        ++index;
    }
    return connected;
}

base::Result<void> NbdBinding::connect_one(std::uint32_t index) {
    base::Result<NbdNetlink> netlink = NbdNetlink::open();
    if (!netlink) {
        return base::fail(std::move(netlink.error()));
    }
    base::Result<SocketPair> pair = SocketPair::make();
    if (!pair) {
        return base::fail(std::move(pair.error()));
    }
    set_index(index);
    if (auto written = write_udev_properties(name_, request_.cookie, properties()); !written) {
        return written;
    }
    NbdNetlink::Connection connection;
    connection.index = index;
    connection.size_bytes = request_.attributes.size_bytes;
    connection.block_bytes = request_.attributes.logical_block_bytes;
    connection.server_flags = server_flags(request_.attributes);
    connection.dead_timeout = request_.abandoned_timeout;
    connection.backend = backend_;
    connection.socket = pair->kernels();
    base::Result<void> connected = netlink->connect(connection);
    // Between making the device and connecting it the kernel lets others have it: udev opens it at once.
    for (int i = 0; i < made_and_busy_max && !connected && connected.error().code == base::Errc::busy &&
                    has_attribute(name_, "size") && !has_attribute(name_, "pid");
         ++i) {
        std::this_thread::sleep_for(busy_pause);
        connected = netlink->connect(connection);
    }
    if (!connected) {
        forget_udev_properties(name_);
        name_.clear();
        index_.reset();
        return connected;
    }
    pair->leave_to_kernel();
    our_end_ = pair->take_ours();
    // The kernel's own event comes before the backend identifier, by which our udev rules know the device.
    // Two of them: multipathd and LVM's rules take up what is added only, and of a device that it has met
    // before, as another disk's, multipathd hears by a change.
    for (const char* event : {"add", "change"}) {
        std::ofstream(fmt::format("{}/{}/uevent", devices_dir, name_)) << event << std::flush;
    }
    return {};
}

/// The device is there and its socket is dead, or will be in a moment.
base::Result<void> NbdBinding::reconnect() {
    base::Result<NbdNetlink> netlink = NbdNetlink::open();
    if (!netlink) {
        return base::fail(std::move(netlink.error()));
    }
    if (auto watching = netlink->watch_links(); !watching) {
        return watching;
    }
    const auto give_up_at = std::chrono::steady_clock::now() + dead_socket_time_max;
    while (true) {
        base::Result<void> offered = offer_socket(*netlink);
        if (!offered && offered.error().code == base::Errc::not_found) {
            forget_lost();
        }
        if (!offered || our_end_ >= 0) {
            return offered;
        }
        if (std::chrono::steady_clock::now() >= give_up_at) {
            return base::fail(base::Errc::busy, name_ + ": is still served by somebody");
        }
        netlink->wait_for_dead_link(*index_, dead_socket_step);
    }
}

/// The next device of that name may be anybody's.
void NbdBinding::forget_lost() {
    const std::lock_guard lock(names_mutex);
    const auto backend = backend_of(name_);
    if (backend && (backend->empty() || *backend == backend_)) {
        forget_udev_properties(name_);
    }
}

/// Success without our_end_: the kernel has no use for another socket yet.
base::Result<void> NbdBinding::offer_socket(NbdNetlink& netlink) {
    auto ours = is_ours();
    if (!ours) {
        return base::fail(std::move(ours.error()));
    }
    if (!*ours) {
        return base::fail(base::Errc::not_found, name_ + ": somebody has disconnected it");
    }
    base::Result<SocketPair> pair = SocketPair::make();
    if (!pair) {
        return base::fail(std::move(pair.error()));
    }
    base::Result<void> given =
        netlink.give_socket(*index_, backend_, request_.abandoned_timeout, pair->kernels());
    if (!given) {
        // Disconnected devices that somebody still has open, too, say that they are not connected.
        return base::fail(given.error().code == base::Errc::invalid ? base::Errc::not_found
                                                                    : given.error().code,
                          fmt::format("{}: {}", name_, given.error().message()));
    }
    if (pair->leave_to_kernel()) {
        our_end_ = pair->take_ours();
    }
    return {};
}

std::string NbdBinding::resize_request(std::uint64_t size_bytes) const {
    return fmt::format("resize-nbd {} {} {} {}", index_.value_or(nbd_netlink::index_max), backend_,
                       request_.abandoned_timeout.count(), size_bytes);
}

std::string NbdBinding::settle_request() const {
    return fmt::format("settle-nbd {} {} {}", index_.value_or(nbd_netlink::index_max), backend_,
                       request_.abandoned_timeout.count());
}

base::Result<void> NbdBinding::disconnect() {
    base::Result<NbdNetlink> netlink = NbdNetlink::open();
    if (!netlink) {
        return base::fail(std::move(netlink.error()));
    }
    forget_udev_properties(name_);
    return netlink->disconnect(*index_);
}

UdevProperties NbdBinding::properties() const {
    UdevProperties all = request_.properties;
    all.emplace_back("ISCSI_NR_REQUESTS", std::to_string(std::min(request_.depth, depth_max)));
    all.emplace_back("ISCSI_MAX_SECTORS_KB", std::to_string(request_kib_max));
    all.emplace_back("ISCSI_IO_TIMEOUT_MS", std::to_string(nbd_look_interval.count()));
    if (request_.attributes.rotational) {
        all.emplace_back("ISCSI_ROTATIONAL", "1"); // Linux before 6.12 does not look at the flag
    }
    return all;
}

void NbdBinding::set_index(std::uint32_t index) {
    index_ = index;
    name_ = device_name(index);
}

} // namespace iscsi::block
