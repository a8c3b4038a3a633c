#include "block/nbd_netlink.hpp"

#include "base/check.hpp"
#include "block/nbd_netlink_abi.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <netlink/attr.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <poll.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace iscsi::block {
namespace {

namespace abi = nbd_netlink;

base::Errc kind_of(int error_number) {
    switch (error_number) {
    case EBUSY:
    case EEXIST: // another device is just being made there
        return base::Errc::busy;
    case EPERM:
    case EACCES:
        return base::Errc::access_denied;
    case EINVAL:
        return base::Errc::invalid;
    case ENOMEM:
        return base::Errc::no_memory;
    case EOPNOTSUPP:
        return base::Errc::not_supported;
    default:
        return base::Errc::internal;
    }
}

tl::unexpected<base::Error> fail_errno(std::string_view what, int error_number) {
    return base::fail(kind_of(error_number), fmt::format("nbd {}: {}", what, std::strerror(error_number)));
}

/// A message that is being put together; frees it.
class Request {
public:
    Request(int family, abi::Command command) : message_(nlmsg_alloc()) {
        base::check(message_ != nullptr, "there is memory for a message");
        void* header = genlmsg_put(message_, NL_AUTO_PORT, NL_AUTO_SEQ, family, 0, 0,
                                   static_cast<std::uint8_t>(command), abi::family_version);
        base::check(header != nullptr, "a message has room for its header");
    }
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;
    ~Request() { nlmsg_free(message_); }

    nl_msg* message() const { return message_; }
    void put(int attribute, std::uint32_t value) const {
        check_room(nla_put_u32(message_, attribute, value));
    }
    void put(int attribute, std::uint64_t value) const {
        check_room(nla_put_u64(message_, attribute, value));
    }
    void put(int attribute, const std::string& value) const {
        check_room(nla_put_string(message_, attribute, value.c_str()));
    }
    void put_socket(int socket) const {
        nlattr* list = nla_nest_start(message_, abi::sockets);
        nlattr* item = list == nullptr ? nullptr : nla_nest_start(message_, abi::socket_item);
        base::check(item != nullptr, "a message has room for a socket");
        put(abi::socket_fd, static_cast<std::uint32_t>(socket));
        nla_nest_end(message_, item);
        nla_nest_end(message_, list);
    }

private:
    static void check_room(int result) { base::check(result == 0, "a message has room for its attributes"); }

    nl_msg* message_;
};

/// What one request was answered with.
struct Answer {
    bool ended = false;
    int error_number = 0;
    std::vector<NbdNetlink::Status> devices;
};

void take_devices(nlattr* list, std::vector<NbdNetlink::Status>& devices) {
    int rest = nla_len(list);
    for (auto* item = static_cast<nlattr*>(nla_data(list)); nla_ok(item, rest);
         item = nla_next(item, &rest)) {
        std::array<nlattr*, abi::device_attribute_max + 1> parts{};
        const bool is_device = nla_type(item) == abi::device_item &&
                               nla_parse_nested(parts.data(), abi::device_attribute_max, item, nullptr) == 0;
        nlattr* number = parts[abi::device_index];
        nlattr* connected = parts[abi::device_connected];
        if (is_device && number != nullptr && nla_len(number) == 4 && connected != nullptr &&
            nla_len(connected) == 1) {
            devices.push_back({nla_get_u32(number), nla_get_u8(connected) != 0});
        }
    }
}

int on_reply(nl_msg* message, void* context) {
    std::array<nlattr*, abi::attribute_max + 1> parts{};
    if (genlmsg_parse(nlmsg_hdr(message), 0, parts.data(), abi::attribute_max, nullptr) == 0 &&
        parts[abi::device_list] != nullptr) {
        take_devices(parts[abi::device_list], static_cast<Answer*>(context)->devices);
    }
    return NL_OK;
}

int on_end(nl_msg*, void* context) {
    static_cast<Answer*>(context)->ended = true;
    return NL_STOP;
}

int on_refused(sockaddr_nl*, nlmsgerr* error, void* context) {
    auto* answer = static_cast<Answer*>(context);
    answer->ended = true;
    answer->error_number = -error->error;
    return NL_STOP;
}

/// Sends a request and waits for its end: the driver has done all of it then.
base::Result<Answer> ask(nl_sock* socket, const Request& request, const char* what) {
    Answer answer;
    nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, on_reply, &answer);
    nl_socket_modify_cb(socket, NL_CB_ACK, NL_CB_CUSTOM, on_end, &answer);
    nl_socket_modify_err_cb(socket, NL_CB_CUSTOM, on_refused, &answer);
    int result = nl_send_auto(socket, request.message());
    while (result >= 0 && !answer.ended) {
        result = nl_recvmsgs_default(socket);
    }
    if (answer.error_number != 0) {
        return fail_errno(what, answer.error_number);
    }
    if (!answer.ended) {
        return base::fail(base::Errc::internal, fmt::format("nbd {}: {}", what, nl_geterror(result)));
    }
    return answer;
}

base::Result<void> done(base::Result<Answer> answer) {
    if (!answer) {
        return base::fail(std::move(answer.error()));
    }
    return {};
}

struct Notice {
    std::uint32_t index;
    bool seen = false;
};

int on_notice(nl_msg* message, void* context) {
    auto* wanted = static_cast<Notice*>(context);
    std::array<nlattr*, abi::attribute_max + 1> parts{};
    const auto* header = static_cast<const genlmsghdr*>(nlmsg_data(nlmsg_hdr(message)));
    if (header->cmd == static_cast<std::uint8_t>(abi::Command::link_dead) &&
        genlmsg_parse(nlmsg_hdr(message), 0, parts.data(), abi::attribute_max, nullptr) == 0 &&
        parts[abi::index] != nullptr && nla_len(parts[abi::index]) == 4) {
        wanted->seen = wanted->seen || nla_get_u32(parts[abi::index]) == wanted->index;
    }
    return NL_OK;
}

bool is_same_file(int a, int b) {
    struct stat one {};
    struct stat other {};
    return ::fstat(a, &one) == 0 && ::fstat(b, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

/// Puts this thread into the machine's own network namespace while it lives, if that is another one and may
/// be entered. The driver is reached from there only (Linux 6.1), and its notices are heard there only.
class FirstNetwork {
public:
    FirstNetwork()
        : own_(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)),
          first_(::open("/proc/1/ns/net", O_RDONLY | O_CLOEXEC)) {
        entered_ =
            own_ >= 0 && first_ >= 0 && !is_same_file(own_, first_) && ::setns(first_, CLONE_NEWNET) == 0;
    }
    FirstNetwork(const FirstNetwork&) = delete;
    FirstNetwork& operator=(const FirstNetwork&) = delete;
    ~FirstNetwork() {
        if (entered_) {
            base::check(::setns(own_, CLONE_NEWNET) == 0, "a thread gets back to its network");
        }
        for (const int fd : {own_, first_}) {
            if (fd >= 0) {
                ::close(fd);
            }
        }
    }

private:
    int own_;
    int first_;
    bool entered_ = false;
};

base::Error no_family() {
    if (::access("/sys/module/nbd", F_OK) != 0) {
        return {base::Errc::not_supported, "the kernel has no nbd driver, or its module is not loaded"};
    }
    return {base::Errc::not_supported,
            "the kernel's nbd driver cannot be reached from this network namespace"};
}

} // namespace

void NbdNetlink::Free::operator()(nl_sock* socket) const {
    nl_socket_free(socket);
}

NbdNetlink::NbdNetlink(Socket socket, int family) : socket_(std::move(socket)), family_(family) {}
NbdNetlink::NbdNetlink(NbdNetlink&&) noexcept = default;
NbdNetlink& NbdNetlink::operator=(NbdNetlink&&) noexcept = default;
NbdNetlink::~NbdNetlink() = default;

base::Result<NbdNetlink::Socket> NbdNetlink::open_socket() {
    const FirstNetwork entered;
    return open_socket_here();
}

base::Result<NbdNetlink::Socket> NbdNetlink::open_socket_here() {
    Socket socket(nl_socket_alloc());
    if (!socket) {
        return base::fail(base::Errc::no_memory, "no memory for a netlink socket");
    }
    if (const int result = genl_connect(socket.get()); result != 0) {
        return base::fail(base::Errc::internal, fmt::format("generic netlink: {}", nl_geterror(result)));
    }
    nl_socket_enable_msg_peek(socket.get()); // a list of devices can be long
    return socket;
}

base::Result<NbdNetlink> NbdNetlink::open() {
    base::Result<Socket> socket = open_socket();
    if (!socket) {
        return base::fail(std::move(socket.error()));
    }
    const int family = genl_ctrl_resolve(socket->get(), abi::family_name);
    if (family < 0) {
        return base::fail(no_family());
    }
    return NbdNetlink(std::move(*socket), family);
}

base::Result<void> NbdNetlink::connect(const Connection& connection) {
    const Request request(family_, abi::Command::connect);
    request.put(abi::index, connection.index);
    request.put(abi::size_bytes, connection.size_bytes);
    request.put(abi::block_size_bytes, std::uint64_t{connection.block_bytes});
    request.put(abi::timeout, std::uint64_t{0});
    request.put(abi::server_flags, connection.server_flags);
    request.put(abi::client_flags, abi::destroy_on_disconnect);
    request.put(abi::dead_timeout, static_cast<std::uint64_t>(connection.dead_timeout.count()));
    request.put(abi::backend, connection.backend);
    request.put_socket(connection.socket);
    return done(ask(socket_.get(), request, "connect"));
}

base::Result<void> NbdNetlink::disconnect(std::uint32_t index) {
    const Request request(family_, abi::Command::disconnect);
    request.put(abi::index, index);
    return done(ask(socket_.get(), request, "disconnect"));
}

base::Result<void> NbdNetlink::give_socket(std::uint32_t index, const std::string& backend,
                                           std::chrono::seconds dead_timeout, int socket) {
    // No timeout of requests here, though it is still 0: the driver would set the one of the block layer too.
    const Request request(family_, abi::Command::reconfigure);
    request.put(abi::index, index);
    request.put(abi::backend, backend);
    request.put(abi::dead_timeout, static_cast<std::uint64_t>(dead_timeout.count()));
    request.put_socket(socket);
    return done(ask(socket_.get(), request, "reconfigure"));
}

base::Result<void> NbdNetlink::set_timeouts(std::uint32_t index, const std::string& backend,
                                            std::chrono::seconds request_timeout,
                                            std::chrono::seconds dead_timeout) {
    const Request request(family_, abi::Command::reconfigure);
    request.put(abi::index, index);
    request.put(abi::backend, backend);
    request.put(abi::timeout, static_cast<std::uint64_t>(request_timeout.count()));
    request.put(abi::dead_timeout, static_cast<std::uint64_t>(dead_timeout.count()));
    return done(ask(socket_.get(), request, "timeouts"));
}

base::Result<void> NbdNetlink::resize(std::uint32_t index, const std::string& backend,
                                      std::uint64_t size_bytes) {
    const Request request(family_, abi::Command::reconfigure);
    request.put(abi::index, index);
    request.put(abi::backend, backend);
    request.put(abi::size_bytes, size_bytes);
    return done(ask(socket_.get(), request, "resize"));
}

base::Result<void> NbdNetlink::resize(std::uint32_t index, const std::string& backend,
                                      std::uint64_t size_bytes, std::chrono::seconds dead_timeout) {
    // The driver changes the size first, and the timeouts behind it.
    const Request request(family_, abi::Command::reconfigure);
    request.put(abi::index, index);
    request.put(abi::backend, backend);
    request.put(abi::size_bytes, size_bytes);
    request.put(abi::timeout, std::uint64_t{0});
    request.put(abi::dead_timeout, static_cast<std::uint64_t>(dead_timeout.count()));
    return done(ask(socket_.get(), request, "resize"));
}

base::Result<std::vector<NbdNetlink::Status>> NbdNetlink::status() {
    const Request request(family_, abi::Command::status);
    base::Result<Answer> answer = ask(socket_.get(), request, "status");
    if (!answer) {
        return base::fail(std::move(answer.error()));
    }
    return std::move(answer->devices);
}

base::Result<void> NbdNetlink::watch_links() {
    base::Result<Socket> socket = open_socket();
    if (!socket) {
        return base::fail(std::move(socket.error()));
    }
    const int group = genl_ctrl_resolve_grp(socket->get(), abi::family_name, abi::notices_group);
    if (group < 0) {
        return base::fail(no_family());
    }
    nl_socket_disable_seq_check(socket->get());
    if (const int result = nl_socket_add_membership(socket->get(), group); result != 0) {
        return base::fail(base::Errc::internal, fmt::format("nbd notices: {}", nl_geterror(result)));
    }
    notices_ = std::move(*socket);
    return {};
}

bool NbdNetlink::wait_for_dead_link(std::uint32_t index, std::chrono::milliseconds patience) {
    base::check(notices_ != nullptr, "links are watched");
    Notice notice{index};
    nl_socket_modify_cb(notices_.get(), NL_CB_VALID, NL_CB_CUSTOM, on_notice, &notice);
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!notice.seen) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
        pollfd readable{nl_socket_get_fd(notices_.get()), POLLIN, 0};
        if (left.count() <= 0 || ::poll(&readable, 1, static_cast<int>(left.count())) == 0) {
            return false;
        }
        // Notices that got lost because there were too many, may be any.
        notice.seen = nl_recvmsgs_default(notices_.get()) < 0 || notice.seen;
    }
    return true;
}

} // namespace iscsi::block
