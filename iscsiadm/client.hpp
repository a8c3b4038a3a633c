// The connection to the daemon: requests are posted, all of them go out while the first answer is waited for,
// and each answer is found by its id whatever order they come in; one that has several keeps theirs. Owns its
// socket; one thread, blocking.
#pragma once

#include "base/result.hpp"
#include "ipc/line_buffer.hpp"
#include "ipc/requests.hpp"
#include "records/store.hpp"

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>

namespace iscsi::adm {

class Client {
public:
    explicit Client(int socket) : socket_(socket) {}
    Client(Client&& other) noexcept;
    Client& operator=(Client&& other) noexcept;
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client();

    /// Connects to the daemon's socket. Errors: daemon_not_running (nobody listens there), access_denied,
    /// daemon_communication. A daemon that takes no more connections is waited for, for ever or for that
    /// long: request_timed_out.
    static base::Result<Client> connect(const records::Paths& paths,
                                        std::optional<std::chrono::seconds> within = {});

    /// Queues a request; its id is for wait().
    std::uint64_t post(const ipc::Request& request);

    /// Blocks until the answer to `id` is here, or the next one of several; an ErrorReply becomes the error.
    /// Errc::daemon_communication when the connection breaks before, or the daemon answers nonsense.
    base::Result<ipc::Reply> wait(std::uint64_t id);

    /// While something is waited for, the reader of that descriptor, a pipe or a socket, is looked at: when
    /// it has gone, Errc::cancelled is what wait() gives.
    void end_with_reader_of(int descriptor) { output_ = descriptor; }
    /// The daemon has ended the connection, or died.
    bool is_closed() const { return closed_; }

    /// Blocks until wait() of one of `ids` would not; gives its place among them. Nothing when `deadline`
    /// came first.
    std::optional<std::size_t> wait_any(std::span<const std::uint64_t> ids,
                                        std::optional<std::chrono::steady_clock::time_point> deadline);

    /// Answers that are here, were not waited for yet and are no errors.
    std::size_t successes() const;

    /// Blocks until everything posted has been sent.
    base::Result<void> flush();

private:
    /// At most `milliseconds`; -1: until something happens.
    base::Result<void> exchange(int milliseconds = -1);
    base::Result<void> send_some();
    base::Result<void> receive_some();
    base::Result<void> take_lines();

    int socket_ = -1;
    std::uint64_t last_id_ = 0;
    std::string unsent_;
    std::size_t sent_ = 0;
    ipc::LineBuffer received_;
    std::map<std::uint64_t, std::deque<ipc::Reply>> replies_; ///< none is empty
    int output_ = -1;                                         ///< not owned
    bool closed_ = false;
    std::optional<base::Error> broken_; ///< why no answer will come any more
};

/// request_timed_out, of a daemon that was waited for so long.
base::Error no_answer_for(std::chrono::seconds within);

/// The answer of the kind that belongs to the request; another kind is the daemon's mistake.
template <class T>
base::Result<T> expect(base::Result<ipc::Reply> reply) {
    if (!reply) {
        return base::fail(std::move(reply.error()));
    }
    if (auto* right = std::get_if<T>(&*reply)) {
        return std::move(*right);
    }
    return base::fail(base::Errc::daemon_communication, "iscsid answered another question");
}

/// As Client::connect; when nobody listens, the iscsid.startup command of iscsid.conf is run once (not under
/// ISCSI_ROOT). Complains when that did not help.
base::Result<Client> connect_or_start(const records::Store& store);

/// For what iscsid answers at once, but for a machine that has its hands full: it hangs when it has not.
inline constexpr std::chrono::seconds answer_time_max{60};

/// Every session, without the numbers of its I/O (io_look.hpp has those); none when the daemon does not run,
/// because there are none then. request_timed_out when it has not answered `within` that time.
base::Result<std::vector<ipc::SessionSnapshot>> fetch_sessions(const records::Paths& paths,
                                                               std::chrono::seconds within = answer_time_max);

} // namespace iscsi::adm
