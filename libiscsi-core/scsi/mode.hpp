// MODE SENSE data: the header's write protection and FUA bits, block descriptor, caching and control pages.
// Plain values; any thread, no allocation. SPC-4 section 7.5, SBC-3 section 6.5.
#pragma once

#include "base/bytes.hpp"
#include "base/result.hpp"

#include <cstdint>
#include <optional>

namespace iscsi::scsi {

/// Mode page 08h.
struct CachingPage {
    bool write_cache = false;         ///< WCE: writes may end before they are on the medium
    bool read_cache_disabled = false; ///< RCD
};

/// Mode page 0Ah.
struct ControlPage {
    bool software_write_protect = false; ///< SWP
    bool descriptor_sense = false;       ///< D_SENSE
    bool task_aborted_status = false;    ///< TAS
};

struct ModeBlockDescriptor {
    std::uint64_t blocks = 0; ///< all ones of the field's width: more than it can say
    std::uint32_t block_bytes = 0;
};

struct ModeData {
    bool write_protected = false; ///< WP
    bool dpofua = false;          ///< the FUA bit of reads and writes works
    std::uint8_t medium_type = 0;
    std::optional<ModeBlockDescriptor> block_descriptor; ///< the first
    std::optional<CachingPage> caching;
    std::optional<ControlPage> control;
};

/// Fails only when the header itself is short. Pages that are cut off are left out.
base::Result<ModeData> read_mode_sense6(base::Bytes data);
base::Result<ModeData> read_mode_sense10(base::Bytes data);

} // namespace iscsi::scsi
