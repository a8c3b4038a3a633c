#include "block/device_names.hpp"

#include "base/limits.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace iscsi::block {
namespace {

constexpr std::size_t digits = 16;

bool is_name_part(std::string_view part, std::size_t bytes_max) {
    const auto is_bad = [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte <= ' ' || byte == 0x7f || c == '/';
    };
    return !part.empty() && part.size() <= bytes_max && std::none_of(part.begin(), part.end(), is_bad);
}

base::Result<void> check_identity(const DeviceIdentity& identity) {
    if (!is_name_part(identity.address, base::limits::host_name_bytes_max)) {
        return base::fail(base::Errc::invalid,
                          "address cannot be part of a file name: " + base::printable(identity.address));
    }
    if (!is_name_part(identity.target, base::limits::name_bytes_max)) {
        return base::fail(base::Errc::invalid,
                          "target cannot be part of a file name: " + base::printable(identity.target));
    }
    return {};
}

std::string assemble(const DeviceIdentity& identity, std::string_view target) {
    return fmt::format("ip-{}:{}-iscsi-{}-lun-{}", identity.address, identity.port, target,
                       lun_text(identity.lun));
}

/// FNV-1a, 64 bits: the same on every machine and in every version.
std::uint64_t stable_hash(std::string_view text) {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (char c : text) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    }
    return hash;
}

} // namespace

std::string lun_text(base::Lun lun) {
    // The number that Linux gives a LUN: its two-byte levels, the first one lowest.
    const std::uint64_t first = (lun.value() >> 48) & 0xffff;
    const std::uint64_t second = (lun.value() >> 32) & 0xffff;
    if (first < 256 && (lun.value() & 0xffffffffffff) == 0) {
        return fmt::format("{}", first);
    }
    return fmt::format("0x{:04x}{:04x}{:08x}", first, second, lun.value() & 0xffffffff);
}

base::Result<std::string> by_path_name(const DeviceIdentity& identity) {
    if (auto checked = check_identity(identity); !checked) {
        return base::fail(std::move(checked.error()));
    }
    return assemble(identity, identity.target);
}

base::Result<std::string> by_path_file_name(const DeviceIdentity& identity, std::size_t bytes_max) {
    base::Result<std::string> name = by_path_name(identity);
    if (!name || name->size() <= bytes_max) {
        return name;
    }
    const std::string hash = fmt::format("{:0{}x}", stable_hash(identity.target), digits);
    const std::size_t others = name->size() - identity.target.size();
    if (others + 1 + digits >= bytes_max) {
        return assemble(identity, hash);
    }
    const std::size_t kept = bytes_max - others - 1 - digits;
    return assemble(identity, identity.target.substr(0, kept) + "~" + hash);
}

} // namespace iscsi::block
