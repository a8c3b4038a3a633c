#include "io_look.hpp"

#include "client.hpp"
#include "ipc/page.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace iscsi::adm {
namespace {

using std::chrono::steady_clock;

/// How long a look takes with all of its pages, in times of the patience with one.
constexpr int patience_with_all = 6;

bool is_past(steady_clock::time_point time) {
    return steady_clock::now() >= time;
}

base::Result<ipc::SessionsReply> ask_for_page(const records::Paths& paths, const ipc::ListPlace& after,
                                              std::chrono::seconds patience,
                                              const std::function<bool()>& is_over) {
    constexpr auto slice = std::chrono::milliseconds(50);
    auto client = Client::connect(paths, patience);
    if (!client) {
        return base::fail(std::move(client.error()));
    }
    const auto give_up_at = steady_clock::now() + patience;
    const std::array ids{client->post(ipc::Sessions{.with_io = true, .after = after})};
    auto until = [&] {
        const auto next = steady_clock::now() + slice;
        return is_over ? std::min(give_up_at, next) : give_up_at;
    };
    while (!client->wait_any(ids, until())) {
        if (is_past(give_up_at)) {
            return base::fail(no_answer_for(patience));
        }
        if (is_over && is_over()) {
            return base::fail(base::Errc::request_timed_out, "the answer is not waited for any more");
        }
    }
    return expect<ipc::SessionsReply>(client->wait(ids[0]));
}

} // namespace

base::Result<std::vector<ipc::SessionSnapshot>>
look_at_io(const records::Paths& paths, std::chrono::seconds patience, const std::function<bool()>& is_over) {
    const auto give_up_at = steady_clock::now() + patience_with_all * patience;
    std::vector<ipc::SessionSnapshot> all;
    ipc::ListPlace after;
    for (;;) {
        auto page = ask_for_page(paths, after, patience, is_over);
        if (!page) {
            return base::fail(std::move(page.error()));
        }
        const auto has_more = ipc::append_page(all, std::move(*page), after);
        if (!has_more) {
            return base::fail(has_more.error());
        }
        if (!*has_more) {
            return all;
        }
        if (is_past(give_up_at)) {
            return base::fail(base::Errc::request_timed_out, "iscsid's list does not come to an end");
        }
    }
}

} // namespace iscsi::adm
