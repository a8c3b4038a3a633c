#include "block/sysfs.hpp"

#include "base/text.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <system_error>
#include <unistd.h>

namespace iscsi::block {
namespace {

bool means_absent(int error_number) {
    return error_number == ENOENT || error_number == ENODEV || error_number == ENXIO;
}

} // namespace

std::optional<std::uint64_t> kernel_size_bytes(std::string_view name) {
    constexpr std::uint64_t sector_bytes = 512; // whatever the device's blocks are
    const auto text = read_attribute(fmt::format("/sys/class/block/{}/size", name));
    const auto sectors = text && *text ? base::parse_decimal(**text) : std::nullopt;
    return sectors ? std::optional(*sectors * sector_bytes) : std::nullopt;
}

base::Result<std::optional<std::string>> read_attribute(const std::string& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    std::array<char, 4096> text{}; // an attribute is no longer than a page
    const ssize_t bytes = file < 0 ? -1 : ::read(file, text.data(), text.size());
    const int error_number = errno;
    if (file >= 0) {
        ::close(file);
    }
    if (bytes < 0 && means_absent(error_number)) {
        return std::optional<std::string>();
    }
    if (bytes < 0) {
        return base::fail(base::Errc::internal, fmt::format("{}: {}", path, std::strerror(error_number)));
    }
    const std::string_view all(text.data(), static_cast<std::size_t>(bytes));
    return std::optional(std::string(all.substr(0, all.find('\n'))));
}

base::Result<std::vector<std::uint32_t>> device_numbers(const std::string& folder, std::string_view prefix) {
    std::vector<std::uint32_t> numbers;
    std::error_code error;
    std::filesystem::directory_iterator at(folder, error);
    for (const std::filesystem::directory_iterator end; !error && at != end; at.increment(error)) {
        const std::string name = at->path().filename().string();
        if (!name.starts_with(prefix)) {
            continue;
        }
        if (auto number = base::parse_decimal(std::string_view(name).substr(prefix.size()), UINT32_MAX)) {
            numbers.push_back(static_cast<std::uint32_t>(*number));
        }
    }
    if (error && !means_absent(error.value())) {
        return base::fail(base::Errc::internal, fmt::format("{}: {}", folder, error.message()));
    }
    return numbers;
}

} // namespace iscsi::block
