// What becomes of a target that boot firmware names: the text of -m fw, and a node record. Pure functions;
// any thread.
#pragma once

#include "base/result.hpp"
#include "base/wiped.hpp"
#include "boot_table.hpp"
#include "ipc/json.hpp"
#include "records/record.hpp"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace iscsi::adm {

/// "# BEGIN RECORD" to "# END RECORD", as open-iscsi prints it, secrets included: what the firmware does not
/// have is left out. What has been written of it is in stdout's buffer until that is used again.
base::WipedText boot_record_text(const BootTarget& target);

/// The same, {key: value}: secrets included, in memory that nobody wipes.
ipc::Json boot_record_json(const BootTarget& target);

/// Where its record is in the database.
records::NodeId boot_node_id(const BootTarget& target);

/// Its node record over `node_template` (of iscsid.conf): startup onboot, of firmware origin.
base::Result<records::Record> make_boot_node(const BootTarget& target, const records::Record& node_template);

/// Sets in a node record what the firmware says: its initiator name and CHAP, if it has any.
base::Result<void> set_from_firmware(const BootTarget& target, records::Record& node);

/// A disk to boot from: no giving up early, and no NOPs that would end the session while the system is not
/// yet able to answer them in time.
base::Result<void> prepare_for_boot(records::Record& node);

/// What the command line says of a node record that is not in the database. Errc::invalid for a name that has
/// no key, or one that identifies the record.
base::Result<void> set_parameters(records::Record& node,
                                  const std::vector<std::pair<std::string, std::string>>& parameters);

} // namespace iscsi::adm
