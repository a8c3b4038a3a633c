// Secrets that a record only refers to.
#include "control/secrets.hpp"

#include "records/fields.hpp"
#include "support/temporary_directory.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

using namespace iscsi;
using records::Key;

namespace {

records::Record node(const std::string& password) {
    records::Record record(records::RecordKind::node);
    REQUIRE(record.set(Key::session_password, password));
    return record;
}

std::string write(const std::filesystem::path& path, const std::string& text, mode_t mode = 0600) {
    std::ofstream(path) << text;
    REQUIRE(::chmod(path.c_str(), mode) == 0);
    return "file:" + path.string();
}

std::string secret_of(const std::string& password) {
    auto whole = control::with_secrets(node(password));
    REQUIRE(whole);
    return whole->text(Key::session_password);
}

std::string refusal_of(const std::string& password) {
    auto whole = control::with_secrets(node(password));
    REQUIRE_FALSE(whole);
    CHECK(whole.error().code == base::Errc::invalid);
    return whole.error().message();
}

} // namespace

TEST_CASE("a secret that stands in the record is taken as it is") {
    CHECK(secret_of("a-long-secret") == "a-long-secret");
    CHECK(secret_of("file:not/absolute") == "file:not/absolute");
    CHECK(secret_of("").empty());
}

TEST_CASE("a record says whether any of its secrets is a reference") {
    CHECK_FALSE(control::has_secret_references(node("a-long-secret")));
    CHECK(control::has_secret_references(node("credential:disk")));
    records::Record record = node("");
    REQUIRE(record.set(Key::session_password_in, "file:/run/secret"));
    CHECK(control::has_secret_references(record));
}

TEST_CASE("a file's content is the secret, without one line feed at its end") {
    test::TemporaryDirectory directory;
    std::filesystem::path path = std::filesystem::path(directory.path()) / "secret";
    CHECK(secret_of(write(path, "a-long-secret\n")) == "a-long-secret");
    CHECK(secret_of(write(path, "a-long-secret")) == "a-long-secret");
    CHECK(secret_of(write(path, "file:/etc/passwd")) == "file:/etc/passwd");
    CHECK(secret_of(write(path, std::string(255, 'x') + "\n")) == std::string(255, 'x'));
    std::filesystem::create_symlink("secret", std::filesystem::path(directory.path()) / "link");
    CHECK(secret_of("file:" + directory.path() + "/link") == std::string(255, 'x'));
}

TEST_CASE("a file that is no sound secret is refused without showing what is in it") {
    test::TemporaryDirectory directory;
    std::filesystem::path path = std::filesystem::path(directory.path()) / "secret";
    for (const std::string& content :
         {std::string(), std::string("\n"), std::string(256, 'x'), std::string("hush\nhush"),
          std::string("hush\0hush", 9), std::string("hush-hush\n\n")}) {
        std::string why = refusal_of(write(path, content));
        CHECK(why.find("node.session.auth.password") != std::string::npos);
        CHECK(why.find("hush") == std::string::npos);
        CHECK(why.find("xxx") == std::string::npos);
    }
    CHECK(refusal_of(write(path, "a-long-secret", 0620)).find("others than its owner") != std::string::npos);
    CHECK(refusal_of(write(path, "a-long-secret", 0602)).find("others than its owner") != std::string::npos);
    CHECK(refusal_of(write(path, "a-long-secret", 0640)).find("others than its owner") != std::string::npos);
    CHECK(refusal_of(write(path, "a-long-secret", 0604)).find("others than its owner") != std::string::npos);
    if (::geteuid() == 0) {
        std::string foreign = write(path, "a-long-secret");
        REQUIRE(::chown(path.c_str(), 65534, 65534) == 0);
        CHECK(refusal_of(foreign).find("it belongs to user 65534") != std::string::npos);
        REQUIRE(::chown(path.c_str(), 0, 0) == 0);
    }
    CHECK(refusal_of("file:" + directory.path() + "/none").find("No such file") != std::string::npos);
    CHECK(refusal_of("file:" + directory.path()).find("not a regular file") != std::string::npos);
    REQUIRE(::mkfifo((directory.path() + "/fifo").c_str(), 0600) == 0);
    CHECK(refusal_of("file:" + directory.path() + "/fifo").find("not a regular file") != std::string::npos);
}

TEST_CASE("a credential is a file of the directory that the service manager names") {
    test::TemporaryDirectory directory;
    write(std::filesystem::path(directory.path()) / "iscsi", "a-long-secret\n", 0440); // is not judged
    REQUIRE(::unsetenv("CREDENTIALS_DIRECTORY") == 0);
    CHECK(refusal_of("credential:iscsi").find("without credentials") != std::string::npos);
    REQUIRE(::setenv("CREDENTIALS_DIRECTORY", directory.path().c_str(), 1) == 0);
    CHECK(secret_of("credential:iscsi") == "a-long-secret");
    for (const char* name : {"credential:", "credential:..", "credential:../x", "credential:a/b"}) {
        refusal_of(name);
    }
    CHECK(refusal_of("credential:other").find("No such file") != std::string::npos);
    REQUIRE(::unsetenv("CREDENTIALS_DIRECTORY") == 0);
}

TEST_CASE("every secret of a discovery record is looked for, and other keys are left alone") {
    test::TemporaryDirectory directory;
    std::string place = write(std::filesystem::path(directory.path()) / "secret", "a-long-secret");
    records::Record record(records::RecordKind::send_targets);
    REQUIRE(record.set(Key::discovery_password, place));
    REQUIRE(record.set(Key::discovery_password_in, place));
    REQUIRE(record.set(Key::discovery_username, place));
    auto whole = control::with_secrets(record);
    REQUIRE(whole);
    CHECK(whole->text(Key::discovery_password) == "a-long-secret");
    CHECK(whole->text(Key::discovery_password_in) == "a-long-secret");
    CHECK(whole->text(Key::discovery_username) == place);
    CHECK(record.text(Key::discovery_password) == place);
}
