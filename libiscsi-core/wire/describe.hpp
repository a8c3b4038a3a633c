// Any PDU in one line, for logs and failing tests. Safe to print whatever the bytes are. Secrets cannot leak
// from here: data segments are not shown. Any thread.
#pragma once

#include "base/bytes.hpp"
#include "wire/bhs.hpp"

#include <string>

namespace iscsi::wire {

/// For example "Login Request I itt=0x00000001 T 0->1 tsih=0 cid=0 cmd_sn=1 exp_stat_sn=0 data=312".
std::string describe(const Bhs& header);

/// The same for bytes off the stream; fewer than 48 give "short header (n bytes)".
std::string describe(base::Bytes header);

template <class Pdu>
requires(sizeof(Pdu) == bhs_bytes) std::string describe_pdu(const Pdu& pdu) {
    return describe(generic(pdu));
}

} // namespace iscsi::wire
