#include "initiator_name.hpp"

#include "base/names.hpp"

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fmt/format.h>
#include <sys/random.h>

namespace iscsi::tools {

std::string_view default_prefix() {
    return ISCSI_IQN_PREFIX;
}

base::Result<std::string> new_initiator_name(std::string_view prefix) {
    std::array<std::uint8_t, 6> random{};
    if (::getentropy(random.data(), random.size()) != 0) {
        return base::fail(base::Errc::internal, fmt::format("getentropy: {}", std::strerror(errno)));
    }
    std::string name = fmt::format("{}:{:02x}", prefix, fmt::join(random, ""));
    if (auto checked = base::check_iscsi_name(name); !checked) {
        return base::fail(std::move(checked.error()));
    }
    return name;
}

} // namespace iscsi::tools
