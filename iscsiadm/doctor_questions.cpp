// What doctor asks iscsid, and for how long it waits: an iscsid that hangs is something to be told.
#include "client.hpp"
#include "doctor.hpp"

#include <array>
#include <chrono>
#include <fmt/format.h>

namespace iscsi::adm {

/// A connection for each question: others than root have one a connection.
base::Result<ipc::Reply> ask_in_time(const records::Paths& paths, const ipc::Request& request,
                                     std::chrono::seconds within) {
    auto client = Client::connect(paths, answer_time);
    if (!client) {
        return base::fail(std::move(client.error()));
    }
    const std::array ids{client->post(request)};
    if (!client->wait_any(ids, std::chrono::steady_clock::now() + within)) {
        return base::fail(no_answer_for(within));
    }
    return client->wait(ids.front());
}

} // namespace iscsi::adm
