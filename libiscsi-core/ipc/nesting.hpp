// How deep a JSON text nests, found before a parser is given the text: a peer's million open brackets must
// not become a million objects. Pure function; any thread.
#pragma once

#include <cstddef>
#include <string_view>

namespace iscsi::ipc {

/// Whether lists and objects of `json` nest at most `depth_max` deep. True is no promise that it is JSON.
bool nests_at_most(std::string_view json, std::size_t depth_max);

} // namespace iscsi::ipc
