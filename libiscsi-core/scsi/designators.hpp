// The designators of VPD page 83h: names of the logical unit and of the port that answered. Private to the
// room. The bytes are the target's; the result owns its text. Any thread; allocates. SPC-4 section 7.8.6.
#pragma once

#include "base/bytes.hpp"
#include "scsi/inquiry.hpp"

namespace iscsi::scsi {

/// `list` is the page without its header.
DeviceIdentification read_designators(base::Bytes list);

} // namespace iscsi::scsi
