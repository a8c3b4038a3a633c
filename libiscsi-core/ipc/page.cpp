#include "ipc/page.hpp"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

namespace iscsi::ipc {
namespace {

/// All of a session is behind each of its units.
auto order_of(const ListPlace& place) {
    return std::tuple(place.sid, !place.lun, place.lun.value_or(0));
}

} // namespace

bool ListPage::take(SessionSnapshot& session) {
    std::vector<AttachedLun>& luns = session.luns;
    std::ranges::sort(luns, {}, &AttachedLun::number);
    const bool goes_on = session.sid == after_.sid && after_.lun;
    if (goes_on) {
        const auto behind = std::ranges::upper_bound(luns, *after_.lun, {}, &AttachedLun::number);
        luns.erase(luns.begin(), behind);
        session.absent.clear();
    }
    end_ = ListPlace{session.sid, std::nullopt};
    if (goes_on && luns.empty()) {
        return false;
    }
    used_ += 1 + session.absent.size() / page_absent_a_unit;
    // One at least: a page that ends before a session's first unit could not be told from one behind its
    // last.
    const std::size_t room = used_ < page_units_max ? page_units_max - used_ : 1;
    if (luns.size() > room) {
        luns.resize(room);
        end_.lun = luns.back().number;
    }
    used_ += luns.size();
    return true;
}

base::Result<bool> append_page(std::vector<SessionSnapshot>& all, SessionsReply page, ListPlace& after) {
    for (SessionSnapshot& session : page.sessions) {
        if (all.empty() || all.back().sid != session.sid) {
            all.push_back(std::move(session));
            continue;
        }
        std::ranges::move(session.luns, std::back_inserter(all.back().luns));
    }
    if (!page.next) {
        return false;
    }
    if (order_of(*page.next) <= order_of(after)) {
        return base::fail(base::Errc::invalid, "iscsid's list of sessions leads back");
    }
    after = *page.next;
    return true;
}

} // namespace iscsi::ipc
