#include "shard/lun_properties.hpp"

#include <fmt/format.h>
#include <string_view>
#include <utility>

namespace iscsi::shard {
namespace {

/// The longest by-path name that leaves a file name room for "-part127".
constexpr std::size_t path_bytes_max = 247;
/// Of an NAA name: what is the name proper, and what extends it.
constexpr std::size_t wwn_digits = 16;

bool is_alphanumeric(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// What udev leaves as it is in names of links. Its texts are UTF-8, which it leaves alone too.
bool is_link_character(char c) {
    constexpr std::string_view signs = "#+-.:=@_";
    return is_alphanumeric(c) || static_cast<unsigned char>(c) >= 0x80 ||
           signs.find(c) != std::string_view::npos;
}

/// Each run of blanks and everything that a link may not hold is one '_'; no blanks at the ends.
std::string link_text(std::string_view text) {
    std::string out;
    bool blank = false;
    for (char c : text) {
        if (c == ' ') {
            blank = !out.empty();
            continue;
        }
        out += blank ? "_" : "";
        out += is_link_character(c) ? c : '_';
        blank = false;
    }
    return out;
}

/// The field as INQUIRY has it, with its padding; what a link may not hold is written as \xNN.
std::string encoded(std::string_view text, std::size_t width) {
    std::string out;
    for (char c : text) {
        out += is_link_character(c) ? std::string(1, c)
                                    : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
    for (std::size_t i = text.size(); i < width; ++i) {
        out += "\\x20";
    }
    return out;
}

/// ID_PATH_TAG: letters, digits and '-'; each run of others is one '_', none at the ends.
std::string tag_text(std::string_view path) {
    std::string out;
    for (char c : path) {
        if (is_alphanumeric(c) || c == '-') {
            out += c;
        } else if (!out.empty() && out.back() != '_') {
            out += '_';
        }
    }
    if (out.ends_with('_')) {
        out.pop_back();
    }
    return out;
}

void add_names(block::UdevProperties& out, const scsi::LunFacts& facts) {
    const std::string serial = scsi::udev_serial(facts);
    if (!serial.empty()) {
        out.emplace_back("ID_SERIAL", serial);
        // One made up from vendor and model has the plain serial number as its short form.
        out.emplace_back("ID_SERIAL_SHORT",
                         serial.front() == 'S' ? link_text(facts.serial) : serial.substr(1));
    }
    const std::string wwn = scsi::world_wide_name(facts);
    if (!wwn.empty()) {
        out.emplace_back("ID_WWN", "0x" + wwn.substr(0, wwn_digits));
        if (wwn.size() > wwn_digits) {
            out.emplace_back("ID_WWN_VENDOR_EXTENSION", "0x" + wwn.substr(wwn_digits));
        }
        out.emplace_back("ID_WWN_WITH_EXTENSION", "0x" + wwn);
    }
    if (facts.identification.target_port_group) {
        out.emplace_back("ID_TARGET_PORT", fmt::format("{:x}", *facts.identification.target_port_group));
    }
    if (!facts.serial.empty()) {
        out.emplace_back("ID_SCSI_SERIAL", facts.serial);
    }
}

} // namespace

block::UdevProperties udev_properties(const scsi::LunFacts& facts, const block::DeviceIdentity& identity) {
    constexpr std::size_t vendor_bytes = 8;
    constexpr std::size_t model_bytes = 16;
    block::UdevProperties out{
        {"ID_SCSI", "1"},
        {"ID_BUS", "scsi"},
        {"ID_TYPE", "disk"},
        {"ID_VENDOR", link_text(facts.vendor)},
        {"ID_VENDOR_ENC", encoded(facts.vendor, vendor_bytes)},
        {"ID_MODEL", link_text(facts.product)},
        {"ID_MODEL_ENC", encoded(facts.product, model_bytes)},
        {"ID_REVISION", link_text(facts.revision)},
        {"ISCSI_ROTATIONAL", facts.rotational ? "1" : "0"},
    };
    add_names(out, facts);
    if (auto path = block::by_path_file_name(identity, path_bytes_max)) {
        out.emplace_back("ID_PATH", *path);
        out.emplace_back("ID_PATH_TAG", tag_text(*path));
    }
    return out;
}

} // namespace iscsi::shard
