#include "boot_firmware.hpp"

#include "base/bytes.hpp"
#include "base/limits.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <netpacket/packet.h>
#include <span>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace iscsi::adm {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t page_bytes = 4096;
constexpr std::size_t tables_max = 16;

/// The start of a file of the kernel's; nothing when there is no regular file. Longer than a page: cut there,
/// which is more than any value may have.
std::optional<base::WipedText> read_page(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return std::nullopt;
    }
    struct stat status {};
    std::array<char, page_bytes> page{};
    const bool is_file = ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
    const ssize_t n = is_file ? ::read(fd, page.data(), page.size()) : -1;
    ::close(fd);
    std::optional<base::WipedText> text;
    if (n >= 0) {
        text.emplace(std::string_view(page.data(), static_cast<std::size_t>(n)));
    }
    base::wipe(std::as_writable_bytes(std::span(page)));
    return text;
}

/// An attribute: a line, of which the end is the kernel's.
void read_attributes(const std::string& table, const std::string& folder, std::span<const char* const> names,
                     BootAttributes& into) {
    for (const char* name : names) {
        if (auto text = read_page(fmt::format("{}/{}/{}", table, folder, name))) {
            std::string_view line = text->text();
            line.remove_suffix(line.ends_with('\n') ? 1 : 0);
            into.emplace(fmt::format("{}/{}", folder, name), base::WipedText(line));
        }
    }
}

/// At most `most` names in a folder that begin so, sorted.
std::vector<std::string> names_in(const std::string& folder, std::string_view prefix, std::size_t most) {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
        const std::string name = entry->path().filename();
        if (name.starts_with(prefix) && names.size() < most) {
            names.push_back(name);
        }
    }
    std::ranges::sort(names);
    return names;
}

/// What the kernel says the interface is called, where the firmware's block has led it to a device.
void read_net_device(const std::string& table, const std::string& folder, BootAttributes& into) {
    const std::string device = fmt::format("{}/{}/device", table, folder);
    auto names = names_in(device + "/net", "", 1);
    std::error_code error;
    if (names.empty() && fs::exists(device, error)) {
        // A device whose driver has another between itself and the interface (virtio).
        auto mac = into.find(folder + "/mac");
        names.push_back(mac == into.end() ? "" : device_with_mac(mac->second.text()));
    }
    if (!names.empty()) {
        into.emplace(fmt::format("{}/{}", folder, net_device_attribute), base::WipedText(names.front()));
    }
}

BootAttributes read_table(const std::string& table) {
    BootAttributes attributes;
    read_attributes(table, "initiator", initiator_attributes, attributes);
    for (const std::string& folder : names_in(table, "ethernet", boot_blocks_max)) {
        read_attributes(table, folder, nic_attributes, attributes);
        read_net_device(table, folder, attributes);
    }
    for (const std::string& folder : names_in(table, "target", boot_blocks_max)) {
        read_attributes(table, folder, target_attributes, attributes);
    }
    return attributes;
}

std::vector<std::string> tables_in(const std::string& folder) {
    std::vector<std::string> tables = names_in(folder, "iscsi_boot", tables_max);
    tables.insert(tables.begin(), "ibft");
    return tables;
}

/// The device's local-mac-address: six bytes, which may have two of zero before them.
std::string mac_text(std::string_view bytes) {
    constexpr std::size_t octets = 6;
    if (bytes.size() != octets && bytes.size() != octets + 2) {
        return {};
    }
    std::string text;
    for (char byte : bytes.substr(bytes.size() - octets)) {
        text += fmt::format("{}{:02x}", text.empty() ? "" : ":", static_cast<unsigned char>(byte));
    }
    return text;
}

/// The boot path of Open Firmware, if it is iSCSI's.
void read_boot_path(const std::string& tree, BootTargets& into) {
    auto read = read_page(tree + "/chosen/bootpath");
    if (!read) {
        return;
    }
    const std::string_view whole = read->text();
    const std::string_view path = whole.substr(0, whole.find('\0'));
    if (whole.size() == page_bytes) {
        into.unusable.push_back("chosen/bootpath: has more than a page");
        return;
    }
    const std::string_view device = boot_path_device(path);
    auto mac = device.empty() ? std::nullopt : read_page(fmt::format("{}{}/local-mac-address", tree, device));
    auto target = parse_boot_path(path, mac ? mac_text(mac->text()) : "");
    if (!target) {
        into.unusable.push_back("chosen/bootpath: " + target.error().detail);
    } else if (*target) {
        into.usable.push_back(std::move(**target));
    }
}

/// The device tree: where it is, else where it has always been.
std::string device_tree(const std::string& root) {
    std::error_code error;
    const std::string tree = root + "/sys/firmware/devicetree/base";
    return fs::exists(tree + "/chosen/bootpath", error) ? tree : root + "/proc/device-tree";
}

} // namespace

std::string device_with_mac(std::string_view mac) {
    ifaddrs* all = nullptr;
    if (::getifaddrs(&all) != 0) {
        return {};
    }
    std::string name;
    std::string wanted(mac);
    for (char& c : wanted) {
        c = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
    }
    for (const ifaddrs* one = all; one != nullptr && name.empty(); one = one->ifa_next) {
        if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_PACKET) {
            continue;
        }
        sockaddr_ll link{};
        std::memcpy(&link, one->ifa_addr, sizeof link);
        std::string text;
        for (unsigned i = 0; i < link.sll_halen && i < sizeof link.sll_addr; ++i) {
            text += fmt::format("{}{:02x}", i == 0 ? "" : ":", link.sll_addr[i]);
        }
        name = text == wanted ? one->ifa_name : "";
    }
    ::freeifaddrs(all);
    return name;
}

BootTargets read_boot_firmware(const std::string& root) {
    BootTargets all;
    read_boot_path(device_tree(root), all);
    const std::string folder = root + "/sys/firmware";
    for (const std::string& table : tables_in(folder)) {
        BootTargets targets = parse_boot_table(table, read_table(fmt::format("{}/{}", folder, table)));
        std::ranges::move(targets.usable, std::back_inserter(all.usable));
        std::ranges::move(targets.unusable, std::back_inserter(all.unusable));
    }
    return all;
}

std::string boot_initiator_name(const std::string& root) {
    const std::string folder = root + "/sys/firmware";
    for (const std::string& table : tables_in(folder)) {
        if (auto text = read_page(fmt::format("{}/{}/initiator/initiator-name", folder, table))) {
            const std::string_view name = base::trim(base::split(text->text(), '\n').front());
            if (!name.empty()) {
                return std::string(name);
            }
        }
    }
    return {};
}

base::Errc no_boot_firmware(const std::string& root) {
    std::error_code error;
    return fs::exists(root + "/sys/firmware", error) ? base::Errc::not_found : base::Errc::sysfs_lookup;
}

std::string text_of_unusable(const BootTargets& targets) {
    const std::size_t more = targets.unusable.size() - 1;
    return targets.unusable.front() + (more == 0 ? "" : fmt::format(", and {} more", more));
}

} // namespace iscsi::adm
