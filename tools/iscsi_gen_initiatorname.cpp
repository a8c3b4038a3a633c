// iscsi-gen-initiatorname: gives this machine its initiator name, once. The name comes from the kernel's
// command line, else from the firmware's iBFT, else it is a new one. The file appears whole, readable by root
// alone, or not at all; one that is there already is only replaced on request.
#include "boot_firmware.hpp"
#include "initiator_name.hpp"

#include "base/names.hpp"
#include "base/text.hpp"
#include "records/paths.hpp"
#include "records/store.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <getopt.h>
#include <optional>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace iscsi::tools {
namespace {

using base::Errc;
using base::fail;
using base::Result;

struct Options {
    bool force = false;
    std::string prefix{default_prefix()};
};

void print_usage(std::FILE* stream) {
    std::string text = fmt::format("Usage: iscsi-gen-initiatorname [OPTION]...\n"
                                   "Writes a new iSCSI initiator name to /etc/iscsi/initiatorname.iscsi.\n"
                                   "\n"
                                   "  -f         replace the name that is there\n"
                                   "  -p PREFIX  what a new name begins with\n"
                                   "  -h         this text\n"
                                   "\n"
                                   "Without -p a new name begins with {}.\n",
                                   default_prefix());
    std::fputs(text.c_str(), stream);
}

tl::unexpected<base::Error> call_failed(const std::string& path) {
    return fail(Errc::database, fmt::format("{}: {}", path, std::strerror(errno)));
}

/// The start of a small file of /proc or /sys; nothing when there is no such file.
std::optional<std::string> read_small(const std::string& path) {
    int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return std::nullopt;
    }
    std::array<char, 8192> bytes{};
    ssize_t n = ::read(fd, bytes.data(), bytes.size());
    ::close(fd);
    return n < 0 ? std::nullopt : std::optional(std::string(bytes.data(), static_cast<std::size_t>(n)));
}

/// rd.initiatorname=NAME of the kernel's command line; the last one counts. Empty when there is none.
std::string name_of_kernel(const records::Paths& paths) {
    constexpr std::string_view key = "rd.initiatorname=";
    std::string line = read_small(paths.root() + "/proc/cmdline").value_or("");
    std::string name;
    for (std::string_view word : base::split(base::trim(line), ' ')) {
        if (word.starts_with(key)) {
            name = word.substr(key.size());
        }
    }
    return name;
}

struct Chosen {
    std::string name;
    std::string_view origin; ///< in words, for the file
};

Result<Chosen> choose(const records::Paths& paths, const std::string& prefix) {
    std::string kernel = name_of_kernel(paths);
    std::string firmware = adm::boot_initiator_name(paths.root());
    if (!kernel.empty() && !firmware.empty() && kernel != firmware) {
        return fail(
            Errc::invalid,
            fmt::format("the kernel's command line has the initiator name {}, the firmware (iBFT) has {}: "
                        "make them the same, or remove the kernel's",
                        base::printable(kernel), base::printable(firmware)));
    }
    Chosen chosen{std::move(kernel), "the kernel's command line (rd.initiatorname)"};
    if (chosen.name.empty()) {
        chosen = {std::move(firmware), "the firmware (iBFT)"};
    }
    if (!chosen.name.empty()) {
        auto checked = base::check_iscsi_name(chosen.name);
        return checked ? Result<Chosen>(std::move(chosen)) : fail(std::move(checked.error()));
    }
    return new_initiator_name(prefix).map([](std::string name) {
        return Chosen{std::move(name), "iscsi-gen-initiatorname: made at random"};
    });
}

std::string file_text(const Chosen& chosen) {
    return fmt::format("# The name of this machine towards iSCSI targets, from {}.\n"
                       "# Targets grant access by it: it must be unique, and a changed name may be refused.\n"
                       "# iscsid reads it when it starts.\n"
                       "InitiatorName={}\n",
                       chosen.origin, chosen.name);
}

/// A temporary file of the same directory, removed unless it was moved to its place.
class TemporaryFile {
public:
    explicit TemporaryFile(const std::string& place) : path_(place + ".XXXXXX") {
        fd_ = ::mkostemp(path_.data(), O_CLOEXEC); // mode 0600
    }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    ~TemporaryFile() {
        if (fd_ >= 0) {
            ::close(fd_);
            ::unlink(path_.c_str());
        }
    }

    Result<void> write(std::string_view text) {
        if (fd_ < 0 || ::write(fd_, text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
            ::fsync(fd_) != 0) {
            return call_failed(path_);
        }
        return {};
    }

    /// Gives the file its name. Without `replace` an existing file is left alone: Errc::busy.
    Result<void> move_to(const std::string& place, bool replace) {
        // link() fails where rename() would replace: whoever writes the file at the same time is not
        // overwritten.
        int moved = replace ? ::rename(path_.c_str(), place.c_str()) : ::link(path_.c_str(), place.c_str());
        if (moved != 0) {
            return errno == EEXIST ? fail(Errc::busy, place + " exists") : call_failed(place);
        }
        return {};
    }

private:
    std::string path_;
    int fd_ = -1;
};

Result<void> sync_directory(const std::string& path) {
    int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fd >= 0 && ::fsync(fd) == 0;
    Result<void> done = synced ? Result<void>() : call_failed(path);
    if (fd >= 0) {
        ::close(fd);
    }
    return done;
}

/// Whether the file names an initiator. One that only says GenerateName=yes, or is empty, does not.
bool has_name(const std::string& path) {
    auto read = records::read_initiator_name(path);
    return read.has_value() || read.error().code != Errc::not_found;
}

/// The file to write: what a link leads to, so that the link stays.
std::string place_of_name(const records::Paths& paths) {
    std::string place = paths.initiator_name_file();
    std::error_code error;
    if (!std::filesystem::is_symlink(place, error)) {
        return place;
    }
    // Step by step: what a link leads to need not be there.
    const std::filesystem::path target = std::filesystem::read_symlink(place, error);
    const std::filesystem::path real =
        std::filesystem::weakly_canonical(std::filesystem::path(place).parent_path() / target, error);
    return error ? place : real.string();
}

Result<void> generate(const Options& options) {
    records::Paths paths = records::Paths::from_environment();
    const std::string place = place_of_name(paths);
    bool has_file = ::access(place.c_str(), F_OK) == 0;
    if (!options.force && has_file && has_name(place)) {
        return fail(Errc::busy, place + " has an initiator name already; -f replaces it");
    }
    auto chosen = choose(paths, options.prefix);
    if (!chosen) {
        return fail(std::move(chosen.error()));
    }
    std::error_code error;
    std::filesystem::create_directories(paths.config_dir(), error);
    if (error) {
        return fail(Errc::database, fmt::format("{}: {}", paths.config_dir(), error.message()));
    }
    TemporaryFile file(place);
    if (auto written = file.write(file_text(*chosen)); !written) {
        return written;
    }
    if (auto moved = file.move_to(place, options.force || has_file); !moved) {
        return moved;
    }
    return sync_directory(std::filesystem::path(place).parent_path());
}

int run(int argc, char** argv) {
    Options options;
    for (int letter = 0; (letter = ::getopt(argc, argv, "hfp:")) != -1;) {
        switch (letter) {
        case 'h':
            print_usage(stdout);
            return 0;
        case 'f':
            options.force = true;
            break;
        case 'p':
            options.prefix = optarg;
            break;
        default:
            print_usage(stderr);
            return 1;
        }
    }
    if (optind != argc) {
        std::fprintf(stderr, "iscsi-gen-initiatorname: '%s' is not an option\n", argv[optind]);
        print_usage(stderr);
        return 1;
    }
    if (auto done = generate(options); !done) {
        std::fprintf(stderr, "iscsi-gen-initiatorname: %s\n", done.error().message().c_str());
        return 1;
    }
    return 0;
}

} // namespace
} // namespace iscsi::tools

int main(int argc, char** argv) {
    // For directories; the file is readable by its owner alone whatever this says.
    ::umask(S_IRWXG | S_IRWXO);
    return iscsi::tools::run(argc, argv);
}
