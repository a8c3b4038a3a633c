// What -r names. Looks at the file system and complains; one thread.
#pragma once

#include <cstdint>
#include <string>
#include <tl/expected.hpp>

namespace iscsi::adm {

/// The number of a session: its own, or that of an existing directory "session<number>" or one below. The
/// complaints and exit codes of what is neither are open-iscsi's.
tl::expected<std::uint32_t, int> session_number(const std::string& text);

} // namespace iscsi::adm
