// Values of a secret's key that say where the secret is.
#include "records/secret_reference.hpp"

#include "records/text.hpp"

#include <catch2/catch.hpp>

using namespace iscsi;
using records::Key;
using records::SecretReference;

TEST_CASE("file:/ and credential: are references, everything else is the secret itself") {
    auto file = records::secret_reference("file:/etc/secret");
    REQUIRE(file);
    CHECK(file->kind == SecretReference::Kind::file);
    CHECK(file->place == "/etc/secret");
    auto credential = records::secret_reference("credential:iscsi");
    REQUIRE(credential);
    CHECK(credential->kind == SecretReference::Kind::credential);
    CHECK(credential->place == "iscsi");
    for (const char* secret :
         {"", "file:", "file:etc/secret", "File:/etc/secret", " file:/x", "credential", "a-long-secret"}) {
        CHECK_FALSE(records::secret_reference(secret));
    }
}

TEST_CASE("a credential's name is the name of a file") {
    CHECK(records::check_secret_reference({SecretReference::Kind::credential, "iscsi"}));
    CHECK_FALSE(records::check_secret_reference({SecretReference::Kind::credential, "../iscsi"}));
    CHECK_FALSE(records::check_secret_reference({SecretReference::Kind::credential, ""}));
}

TEST_CASE("a listing shows a reference and masks a secret") {
    records::Record node(records::RecordKind::node);
    REQUIRE(node.set(Key::session_password, "file:/etc/secret"));
    REQUIRE(node.set(Key::session_password_in, "a-long-secret"));
    std::string text = records::display_text(node, false);
    CHECK(text.find("node.session.auth.password = file:/etc/secret\n") != std::string::npos);
    CHECK(text.find("node.session.auth.password_in = ********\n") != std::string::npos);
}
