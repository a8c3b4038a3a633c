// The secrets that a record refers to (records/secret_reference), read when they are needed. Reading a file
// may wait for a disk, and for one that this daemon serves: call it aside (ring/aside.hpp), and keep what it
// gave for as long as the session lives. A Record leaves nothing of it in memory. Any thread.
#pragma once

#include "base/result.hpp"
#include "records/record.hpp"

namespace iscsi::control {

/// The record with the secrets in place of their references: for a login, never to be stored or shown. A file
/// is a regular one of at most 255 bytes (one line feed at its end does not count), without control
/// characters, of root's or the daemon's user and readable and writable by nobody else; a credential is as
/// the service manager made it. Errc::invalid names the key, the place and what is wrong, never the content.
base::Result<records::Record> with_secrets(const records::Record& record);

/// False when with_secrets() would give `record` back as it is, without looking anywhere.
bool has_secret_references(const records::Record& record);

} // namespace iscsi::control
