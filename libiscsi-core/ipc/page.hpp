// The list of sessions in pages, so that no line on the socket grows with the number of units: who asks for
// what is behind a place gets some of it, and the place to ask for next. Sessions come by sid, their units by
// number; a session whose units are on several pages is on each of them. Pure values; any thread.
#pragma once

#include "base/result.hpp"
#include "ipc/requests.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace iscsi::ipc {

/// Units on a page. A busy one with its histograms takes up to 13 KiB of text: half of what a line may have.
inline constexpr std::size_t page_units_max = 512;
/// A session counts as one unit, and so many of its units that are not shown as another one.
inline constexpr std::size_t page_absent_a_unit = 16;

/// One page, filled with sessions in the order of their sids.
class ListPage {
public:
    explicit ListPage(ListPlace after) : after_(after) {}

    /// All of that session was on earlier pages.
    bool is_past(std::uint32_t sid) const { return sid < after_.sid || (sid == after_.sid && !after_.lun); }
    bool is_full() const { return used_ >= page_units_max; }
    /// Leaves of the session's units those that are for this page, in order. False: nothing of it is. Not
    /// when the page is full.
    bool take(SessionSnapshot& session);
    /// Behind what was taken; where the next page begins.
    ListPlace end() const { return end_; }

private:
    ListPlace after_;
    ListPlace end_;
    std::size_t used_ = 0;
};

/// Adds what a page brought to the others. Gives whether there is more to ask for, behind `after`. Errors:
/// invalid (a page that leads back).
base::Result<bool> append_page(std::vector<SessionSnapshot>& all, SessionsReply page, ListPlace& after);

} // namespace iscsi::ipc
