#include "control/secrets.hpp"

#include "base/limits.hpp"
#include "base/text.hpp"
#include "base/wiped.hpp"
#include "records/fields.hpp"
#include "records/secret_reference.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace iscsi::control {
namespace {

using base::Result;
using base::WipedText;
using records::Key;
using records::SecretReference;

/// What is wrong with a place, without its name.
tl::unexpected<std::string> wrong(std::string why) {
    return tl::unexpected(std::move(why));
}

/// `is_credential`: the service manager, who made the file, answers for its owner and mode.
tl::expected<void, std::string> check_file(int fd, bool is_credential) {
    struct stat status {};
    if (::fstat(fd, &status) != 0) {
        return wrong(std::strerror(errno));
    }
    if (!S_ISREG(status.st_mode)) {
        return wrong("not a regular file");
    }
    if (is_credential) {
        return {};
    }
    if (status.st_uid != 0 && status.st_uid != ::geteuid()) {
        return wrong(fmt::format("it belongs to user {}", status.st_uid));
    }
    if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        return wrong("others than its owner may read or write it");
    }
    return {};
}

tl::expected<WipedText, std::string> read_open_file(int fd, bool is_credential) {
    if (auto checked = check_file(fd, is_credential); !checked) {
        return wrong(std::move(checked.error()));
    }
    // One more than a secret and its line feed: to see that it is too long.
    std::array<char, base::limits::chap_secret_bytes_max + 2> bytes{};
    std::size_t size = 0;
    while (size < bytes.size()) {
        ssize_t n = ::read(fd, bytes.data() + size, bytes.size() - size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return wrong(std::strerror(errno));
        }
        if (n == 0) {
            break;
        }
        size += static_cast<std::size_t>(n);
    }
    std::string_view text(bytes.data(), size);
    WipedText secret(text.substr(0, text.ends_with('\n') ? size - 1 : size));
    base::wipe(std::as_writable_bytes(std::span(bytes)));
    return secret.empty() ? wrong("it is empty") : tl::expected<WipedText, std::string>(std::move(secret));
}

tl::expected<WipedText, std::string> read_file(const std::string& path, bool is_credential) {
    // Not blocking: a FIFO would keep the caller for ever.
    int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        return wrong(std::strerror(errno));
    }
    auto secret = read_open_file(fd, is_credential);
    ::close(fd);
    return secret;
}

tl::expected<WipedText, std::string> read_reference(const SecretReference& reference) {
    if (auto checked = records::check_secret_reference(reference); !checked) {
        return wrong(checked.error().message());
    }
    if (reference.kind == SecretReference::Kind::file) {
        return read_file(reference.place, false);
    }
    const char* directory = ::secure_getenv("CREDENTIALS_DIRECTORY");
    if (directory == nullptr || *directory != '/') {
        return wrong("iscsid was started without credentials");
    }
    return read_file(fmt::format("{}/{}", directory, reference.place), true);
}

bool is_secret_of(const records::Record& record, const records::Field& row) {
    return row.has(records::secret) && row.applies_to(record.kind());
}

Result<void> put_secret(records::Record& record, Key key) {
    auto reference = records::secret_reference(record.text(key));
    if (!reference) {
        return {};
    }
    auto secret = read_reference(*reference);
    if (!secret) {
        return base::fail(base::Errc::invalid,
                          fmt::format("{} = {}: {}", records::field(key).name,
                                      base::printable(record.text(key)), secret.error()));
    }
    return record.set(key, secret->text());
}

} // namespace

Result<records::Record> with_secrets(const records::Record& record) {
    records::Record whole = record;
    for (const records::Field& row : records::fields()) {
        if (!is_secret_of(record, row)) {
            continue;
        }
        if (auto put = put_secret(whole, row.key); !put) {
            return base::fail(std::move(put.error()));
        }
    }
    return whole;
}

bool has_secret_references(const records::Record& record) {
    return std::ranges::any_of(records::fields(), [&](const records::Field& row) {
        return is_secret_of(record, row) && records::secret_reference(record.text(row.key)).has_value();
    });
}

} // namespace iscsi::control
